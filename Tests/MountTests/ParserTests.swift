import DaemonStoreKernel
import Testing

@Suite struct ParserTests {
  private func parse(_ text: String) throws -> [Mount] {
    try MountTable(parsing: Array(text.utf8), from: "mountinfo").mounts
  }

  @Test func readsEveryField() throws {
    let mounts = try parse(
      "36 35 98:1 /mnt1 /mnt2 ro,noatime master:1 - ext3 /dev/root rw,errors=continue\n")
    #expect(
      mounts == [
        Mount(
          id: 36, parent: 35, device: 98 << 8 | 1, root: "/mnt1", target: "/mnt2",
          attributes: [.readOnly, .noAccessTime], fileSystem: "ext3", source: "/dev/root", master: 1
        )
      ])
  }

  @Test func readsOptionalFields() throws {
    let mounts = try parse(
      """
      1 0 0:1 / / rw - tmpfs a rw
      2 1 0:1 / /b rw shared:7 - tmpfs b rw
      3 1 0:1 / /c rw shared:8 master:7 propagate_from:2 - tmpfs c rw
      4 1 0:1 / /d rw unbindable - tmpfs d rw

      """)
    #expect(mounts.map(\.peerGroup) == [nil, 7, 8, nil])
    #expect(mounts.map(\.master) == [nil, nil, 7, nil])
    #expect(
      mounts.map(\.propagation) == ["private", "shared:7", "shared:8, slave of 7", "private"])
  }

  @Test(arguments: [
    "rw,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow", "ro,relatime", "rw", "rw,nodiratime",
    "ro,nodev,nodiratime,relatime,nosymfollow,idmapped",
  ])
  func attributesAreTheOptions(options: String) throws {
    let mounts = try parse("1 0 0:1 / / \(options) - tmpfs t rw\n")
    #expect(mounts.map(\.attributes.options) == [options])
    let later = try parse("1 0 0:1 / / \(options),fromalaterkernel - tmpfs t rw\n")
    #expect(later == mounts)
  }

  @Test func aBackslashWithoutDigitsIsItself() throws {
    let mounts = try parse(#"1 1 0:1 / /a\0\99\777\04 rw - tmpfs none rw"# + "\n")
    #expect(mounts.map(\.target) == [#"/a\0\99\777\04"#])
  }

  @Test func undoesEscapes() throws {
    let mount = try #require(
      try parse(#"1 0 0:1 /r\040oot /tab\011new\012line\134back rw - tmpfs no\043ne rw"# + "\n")
        .first)
    #expect(mount.root == "/r oot")
    #expect(mount.target == "/tab\tnew\nline\\back")
    #expect(mount.source == "no#ne")
  }

  @Test func emptyIsNoMounts() throws {
    #expect(try parse("").isEmpty)
  }

  @Test func keepsTheOrder() throws {
    let lines = (1...500).map { "\($0) 0 0:1 / /mnt/\($0) rw shared:\($0) - tmpfs t rw\n" }
    let mounts = try parse(lines.joined())
    #expect(mounts.map(\.id) == Array(1...500))
    #expect(mounts.map(\.target) == (1...500).map { "/mnt/\($0)" as FilePath })
  }

  /// A path of PATH_MAX in which every byte is escaped, and an overlay with hundreds of layers.
  @Test func readsLongLines() throws {
    let path = "/" + String(repeating: #"\040"#, count: 4094)
    let layers = (0..<2_000).map { "/layers/\($0)" }.joined(separator: ":")
    let mounts = try parse(
      "1 0 0:1 / \(path) rw shared:3 - overlay none rw,lowerdir=\(layers)\n"
        + "2 1 0:1 / /next rw - tmpfs none rw\n")
    #expect(mounts.count == 2)
    #expect(mounts.first?.target.text == "/" + String(repeating: " ", count: 4094))
    #expect(mounts.last?.target == "/next")
  }

  @Test(arguments: [
    "garbage", "1 0 0:1 / /mnt rw", "x 0 0:1 / /mnt rw - tmpfs t rw", "1 0 0:1 /",
    "1 0 0:1 / /mnt rw shared:2", "1 0 0;1 / /mnt rw - tmpfs t rw", "", " ",
    "-1 0 0:1 / /mnt rw - tmpfs t rw", "+1 0 0:1 / /mnt rw - tmpfs t rw",
    "1  0 0:1 / /mnt rw - tmpfs t rw", "1 0 0:1  /mnt rw - tmpfs t rw",
    "1 0 0:1 / mnt rw - tmpfs t rw", "1 0 0:1 / /mnt  - tmpfs t rw",
    "1 0 0:1 / /mnt rw shared: - tmpfs t rw", "1 0 0:1 / /mnt rw master:x - tmpfs t rw",
    "1 0 0:1 / /mnt rw -", "1 0 0:1 / /mnt rw - tmpfs", "1 0 0:1 / /mnt rw - tmpfs t",
    "1 0 0:1 / /mnt rw -  t rw", "1 0 4294967296:1 / /mnt rw - tmpfs t rw",
    "99999999999999999999 0 0:1 / /mnt rw - tmpfs t rw", "1 0 0:1 / /m\\000nt rw - tmpfs t rw",
    "1 0 0:1 / /m\0nt rw - tmpfs t rw", "1 0 0:1 / /mnt rw - tmpfs t r\0w",
    "1 0 0:1 /\u{301} /mnt rw \u{301}- tmpfs t rw",
  ])
  func aLineThatIsNoneFailsTheWhole(line: String) {
    let good = "1 0 0:1 / / rw - tmpfs t rw\n"
    #expect(throws: MountTableError.self) { try parse(good + line + "\n" + good) }
    #expect(throws: MountTableError.self) { try parse(line + "\n") }
  }

  @Test func errorsNameTheLine() {
    let error = MountTableError.malformed("/proc/7/mountinfo", line: 3)
    #expect(error.description == "/proc/7/mountinfo: line 3 is not a line of mountinfo")
  }

  @Test func isPathGoesByComponents() {
    for (path, directory, expected) in [
      ("/a/b", "/a", true), ("/a", "/a", true), ("/ab", "/a", false), ("/", "/a", false),
      ("/a/b", "/a/b/c", false), ("/a", "/", true), ("/", "/", true), ("", "/", false),
      ("a", "/", false), ("/é/x", "/é", true), ("/e\u{301}", "/é", false),
    ] {
      #expect(
        ("\(path)" as FilePath).isAtOrBelow("\(directory)") == expected,
        "\(path) below \(directory)")
    }
  }
}
