import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

private struct UserState: Decodable {
  let user: String
  let name: String?
  let lock: String?
  let mounted: Bool
  let missing: [String]
  let stillMounted: [String]
  let problem: String?
}

/// What `cryptohome status` and doctor say of a vault in each state.
@Suite(.needsRoot) struct VaultStatusTests {
  private static func state(_ host: Host) throws -> UserState {
    let output = try host.succeed("cryptohome", "status", "alice", "--json").output
    return try decode([UserState].self, output)[0]
  }

  @Test func unfinishedLogoutIsNoLogin() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.createWithKeyFile("alice")
        let locked = try host.succeed("cryptohome", "status")
        #expect(locked.lines == ["\(Host.alice) (alice)  fscrypt, locked  not mounted"])
        try host.unlockWithKeyFile("alice")
        let mounted = try host.succeed("cryptohome", "status")
        #expect(mounted.lines == ["\(Host.alice) (alice)  fscrypt, unlocked  mounted in alpha"])
        let folder = "/run/daemon-store/alpha/\(Host.alice)"
        let holder = try host.holder { try check("chdir", folder, chdir(folder)) }
        #expect(try host.run("cryptohome", "unmount", "alice").status == 3)
        let busy = try host.succeed("cryptohome", "status")
        #expect(
          busy.lines == [
            "\(Host.alice) (alice)  fscrypt, busy  logout unfinished", "  still mounted: \(folder)",
          ], "\(busy)")
        let state = try Self.state(host)
        #expect(state.name == "alice" && state.mounted && state.missing.isEmpty)
        #expect(state.stillMounted == [folder] && state.lock == "busy")
        let doctor = try host.run("daemon-store", "doctor")
        #expect(!doctor.output.contains("sessions have ended"), "\(doctor)")
        #expect(doctor.output.contains("a logout was begun"), "\(doctor)")
        try host.helpers.stop(holder)
        try host.logout("alice")
      }
    }
  }

  @Test(arguments: ["missing", "damaged"])
  func vaultThatCannotBeOpenedIsNotLikeOthers(kind: String) async {
    await #expect(processExitsWith: .success) { [kind] in
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.createWithKeyFile("alice")
        let path = "/home/.shadow/\(Host.alice)/vault.json"
        if kind == "missing" { try remove(path) } else { try writeFile(path, "{", mode: 0o600) }
        let status = try host.succeed("cryptohome", "status", "alice")
        #expect(status.lines.count == 2, "\(status)")
        #expect(
          status.lines[1].contains("cannot be opened: \(path): is \(kind)"), "\(status)")
        #expect(try Self.state(host).problem?.contains(path) == true)
      }
    }
  }

  /// Files that are open after a logout: the key is gone, and doctor does not say both.
  @Test func keyThatIsGoneIsNotCalledReadable() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.createWithKeyFile("alice")
        try host.unlockWithKeyFile("alice")
        let file = "/home/user/\(Host.alice)/file"
        try writeFile(file, "text")
        let holder = try host.holder { try check("open", file, open(file, O_RDONLY)) }
        #expect(try host.run("cryptohome", "unmount", "alice", "--force").status == 3)
        let doctor = try host.run("daemon-store", "doctor")
        #expect(doctor.output.contains("files of the vault are still open"), "\(doctor)")
        #expect(!doctor.output.contains("the vault can be read"), "\(doctor)")
        try host.helpers.stop(holder)
        try host.logout("alice")
      }
    }
  }

  /// rmdir(2) says "read-only" of a name that does not exist, too.
  @Test func logoutEndsWellThoughHomeIsReadOnly() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.createWithKeyFile("alice")
        try host.unlockWithKeyFile("alice")
        let readOnly = try host.script(
          "mount -o remount,ro,bind /home && mount -o remount,ro /mnt/disk /home")
        #expect(readOnly.status == 0, "\(readOnly)")
        try host.logout("alice")
        #expect(try host.keyState(of: Host.alice) == "absent")
        try host.logout("alice")
        try host.logout("bob")
        #expect(try host.table().naming(Host.alice).isEmpty)
      }
    }
  }

  /// A name that turns the direction of the line shows its bytes.
  @Test func nameDoesNotReorderTheLine() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        let outcome = try host.run("cryptohome", "mount", "al\u{202e}ice\u{2066}\u{200f}")
        #expect(outcome.status == 1, "\(outcome)")
        #expect(outcome.errors.contains("al\\u{202e}ice\\u{2066}\\u{200f}"), "\(outcome)")
        #expect(!outcome.errors.unicodeScalars.contains("\u{202e}"), "\(outcome)")
      }
    }
  }
}
