import Kernel
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
  ])
  func unitIsTheFirstGroupThatIsNoSlice(text: String, unit: String?) {
    #expect(ProcessName.unit(in: Array(text.utf8)) == unit)
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
    if let word { #expect(shellWord(text) == word) }
    // What the shell makes of it, and that it is what is shown.
    let said = try run("sh", ["-c", "printf '%s|' \(oneLine(shellWord(text)))"])
    #expect(said.output == "\(text)|")
  }
}
