import DaemonStoreKernel
import Testing

@Suite struct FilePathTests {
  /// U+0301 makes one `Character` of itself and the slash before it.
  private let accented = FilePath(Array("out/\u{301}x.sh".utf8))

  @Test func splitsAtSlashBeforeCombiningMark() throws {
    let path = try #require(accented)
    #expect(path.components == ["out", "\u{301}x.sh"])
    #expect(!path.isName)
  }

  @Test func canonicallyEquivalentNamesDiffer() {
    let composed: FilePath = "/home/caf\u{e9}"
    let decomposed: FilePath = "/home/cafe\u{301}"
    #expect(composed != decomposed)
    #expect(Set([composed, decomposed]).count == 2)
    #expect(!"/home/cafe\u{301}/x".isBelow(composed))
  }

  @Test func refusesNUL() {
    #expect(FilePath([0x61, 0, 0x62]) == nil)
    #expect(FilePath([UInt8]())?.isEmpty == true)
  }

  @Test func keepsBytesThatAreNotUTF8() throws {
    let path = try #require(FilePath([0x2f, 0xff, 0x2f, 0xc0, 0xaf]))
    #expect(Array(path.bytes) == [0x2f, 0xff, 0x2f, 0xc0, 0xaf])
    // Overlong C0 AF is no slash.
    #expect(path.components.map { Array($0.bytes) } == [[0xff], [0xc0, 0xaf]])
    #expect(Array(("\(path)/x" as FilePath).bytes) == [0x2f, 0xff, 0x2f, 0xc0, 0xaf, 0x2f, 0x78])
    #expect(path.description == "/\\xff/\\xc0\\xaf")
  }

  @Test func showsControlCharactersEscaped() throws {
    let path = try #require(FilePath(Array("a\nb\u{1b}[31m".utf8)))
    #expect(path.description == "a\\u{0a}b\\u{1b}[31m")
  }

  @Test(arguments: [
    ("/a/b", "/a", true), ("/a", "/a", true), ("/ab", "/a", false), ("/a/b", "/", true),
    ("/a//b/", "/a/b", true), ("a/b", "/a", false), ("/", "/", true), ("/a", "/a/b", false),
  ])
  func comparesWholeComponents(path: String, directory: String, expected: Bool) {
    #expect(path.isBelow("\(directory)") == expected)
  }

  @Test func appendsOneSlash() {
    #expect(("/" as FilePath).appending("a") == "/a")
    #expect(("/a" as FilePath).appending("b") == "/a/b")
    #expect(("" as FilePath).appending("b") == "b")
  }

  @Test(arguments: ["", ".", "..", "a/b", "/", "a/"])
  func refusesWhatIsNoName(text: String) {
    #expect(!("\(text)" as FilePath).isName)
  }
}

extension String {
  fileprivate func isBelow(_ directory: FilePath) -> Bool {
    ("\(self)" as FilePath).isEqualOrBelow(directory)
  }

  @Test func dropsPrefixesAndSuffixesByBytes() {
    let path: FilePath = "/home/user/e\u{301}"
    #expect(
      path.dropping(prefix: "/home/") == "user/e\u{301}" && path.dropping(prefix: "/x") == nil)
    #expect(path.dropping(suffix: "e\u{301}") == "/home/user/" && path.dropping(suffix: "é") == nil)
    #expect(path.dropping(prefix: path) == "" && path.dropping(suffix: "/\(path)") == nil)
    #expect(("/home/.shadow\u{301}/x" as FilePath).dropping(prefix: "/home/.shadow/") == nil)
    #expect(path.text == "/home/user/e\u{301}" && FilePath([0xff])?.text == nil)
  }
}
