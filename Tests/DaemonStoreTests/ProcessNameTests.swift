import DaemonStoreKernel
import TestSupport
import Testing

@testable import DaemonStore

@Suite struct ProcessNameTests {
  /// The text of `/proc/PID/cgroup`, and the unit of systemd in it.
  @Test(arguments: [
    ("0::/system.slice/notes.service\n", "notes.service"),
    ("0::/system.slice/notes.service/payload\n", "notes.service"),
    ("0::/system.slice/system-getty.slice/getty@tty1.service\n", "getty@tty1.service"),
    ("0::/user.slice/user-1000.slice/session-2.scope\n", "session-2.scope"),
    ("0::/system.slice/_cgroup.service\n", "cgroup.service"),
    ("4:memory:/other.service\n1:name=systemd:/system.slice/a.service\n0::/\n", "a.service"),
    ("0::/\n", nil), ("0::/init.scope/x\n", "init.scope"), ("0::/docker/12ab\n", nil),
    ("0::/system.slice\n", nil), ("4:memory:/a.service\n", nil), ("", nil), ("0:\n", nil),
    ("0::/evil\u{1b}[2J.service\n", "evil\\u{1b}[2J.service"),
    // A combining mark is part of a name, and neither hides a slash nor changes a suffix.
    ("0::/a.slice/\u{301}b.service\n", "\u{301}b.service"),
    ("0::/b.slice\u{301}/c.service\n", nil), ("0::/b.service\u{301}\n", nil),
    ("0:\u{301}:/b.service\n", nil), ("0::\u{301}/b.service\n", nil),
    ("0::/a.slice\u{301}\n0::/b.service\n", "b.service"),
  ])
  func unitIsTheFirstGroupThatIsNoSlice(text: String, unit: String?) {
    #expect(ProcessName.unit(in: Array(text.utf8)) == unit)
  }
}

@Suite struct ForeignNameTests {
  /// A unit whose name is no text is shown byte by byte.
  @Test func showsBytesOfUnits() {
    let text = Array("0::/x".utf8) + [0xff, 0xc0, 0xaf] + Array(".service\n".utf8)
    #expect(ProcessName.unit(in: text) == "x\\xff\\xc0\\xaf.service")
  }

  /// Only the names that are allowed are names, of stores and of hashes, from bytes and from text.
  @Test func acceptsNoOtherBytes() {
    let hash = String(repeating: "a", count: 40)
    for mark in [
      "\u{301}", "\u{200d}", "\u{fe0f}", "\n", "\0", "/", " ", "\u{fffd}", "é", "\u{212a}",
    ] {
      for text in ["a\(mark)", "\(mark)a", "a\(mark)b", mark] {
        #expect(StoreName(text) == nil && StoreName(Array(text.utf8)) == nil)
        #expect(ObfuscatedUsername(text) == nil)
      }
      #expect(ObfuscatedUsername(hash + mark) == nil)
      #expect(ObfuscatedUsername(Array((hash + mark).utf8)) == nil)
    }
    for bytes in [[0x61, 0xff], [0xc0, 0xaf], [0x61, 0xed, 0xa0, 0x80], [0x61, 0], []] as [[UInt8]]
    {
      #expect(StoreName(bytes) == nil && ObfuscatedUsername(bytes) == nil)
    }
    #expect(StoreName(String(repeating: "a", count: 255)) != nil)
    #expect(StoreName([UInt8](repeating: 0x61, count: 256)) == nil)
    #expect(StoreName(Array("a.b-C_1".utf8))?.description == "a.b-C_1")
    #expect(ObfuscatedUsername(Array(hash.utf8))?.description == hash)
  }
}

@Suite struct ShellWordTests {
  @Test(arguments: [
    ("/run/daemon-store/notes", "/run/daemon-store/notes"), ("a_b-1.2", "a_b-1.2"),
    ("", "''"), ("a b", "'a b'"), ("it's", "'it'\\''s'"), ("$(id)", "'$(id)'"), ("a;b", "'a;b'"),
    ("~", "'~'"), ("é", "'é'"), ("/a\n'b %é", "\"$(printf '/a\\012\\047b\\040\\045\\303\\251')\""),
    ("/a\u{1b}[m", "\"$(printf '/a\\033\\133m')\""),
    ("/a\n\n", "\"$(printf '/a')${IFS#??}${IFS#??}\""), ("\u{7f}\u{85}", nil),
  ])
  func isOneWord(text: String, word: String?) throws {
    if let word { #expect(shellWord(FilePath(text)) == word) }
    // What the shell makes of it, and that it is what is shown.
    let said = try run("sh", ["-c", "printf '%s|' \(oneLine(shellWord(FilePath(text))))"])
    #expect(said.output == "\(text)|")
  }
}
