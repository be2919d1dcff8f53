import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// Key files beside passwords: what opens, and what a change leaves alone.
@Suite(.needsRoot) struct RecoveryKeyTests {
  private static func labels(_ host: Host) throws -> [String] {
    try host.succeed("cryptohome", "key", "list", "alice").lines
  }

  private static func addKeyFile(_ host: Host, _ label: String, _ path: String) throws {
    _ = try host.script("head -c 32 /dev/urandom > \(path)")
    let added = try host.run(
      lines: "first", arguments: "key", "add", "alice", "--label", label, "--raw-key", path)
    #expect(added.status == 0, "\(added)")
  }

  @Test func setsNewPasswordAfterForgottenOne() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice", "first")
        try Self.addKeyFile(host, "recovery", "/mnt/key")
        let before = try Self.labels(host)
        let set = try host.run(
          lines: "second", arguments: "passwd", "alice", "--key-file", "/mnt/key")
        #expect(set.status == 0, "\(set)")
        #expect(set.output.contains("password for the key password"), "\(set)")
        #expect(set.output.contains("recovery is as it was"), "\(set)")
        #expect(try Self.labels(host) == before)
        try host.unlock("alice", "first", status: 1)
        try host.unlock("alice", "second")
        try host.logout("alice")
        try host.unlockWithKeyFile("alice")
        try host.logout("alice")

        // A label names the password, and never the key file.
        let file = try host.run(
          lines: "x", arguments: "passwd", "alice", "--key-file", "/mnt/key", "--label", "recovery")
        #expect(file.status == 1 && file.complains(of: "alice", "key file"), "\(file)")
        let unknown = try host.run(
          lines: "x", arguments: "passwd", "alice", "--key-file", "/mnt/key", "--label", "other")
        #expect(unknown.status == 1 && unknown.complains(of: "alice", "no key"), "\(unknown)")
        #expect(try Self.labels(host) == before)

        // Without a password, one is added.
        try host.succeed("cryptohome", "key", "remove", "alice", "--label", "password")
        let added = try host.run(
          lines: "third", arguments: "passwd", "alice", "--key-file", "/mnt/key")
        #expect(added.status == 0 && added.output.contains("added a password"), "\(added)")
        try host.unlock("alice", "third")
        try host.logout("alice")
        try host.unlockWithKeyFile("alice")
      }
    }
  }

  @Test func everyKeyFileOpens() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.createWithKeyFile("alice")
        #expect(try Self.labels(host) == ["key-file  key file, 256 bits"])
        for number in 2...6 {
          let path = "/mnt/key\(number)"
          _ = try host.script("head -c 32 /dev/urandom > \(path)")
          try host.succeed(
            "cryptohome", "key", "add", "alice", "--key-file", "/mnt/key", "--label",
            "file\(number)", "--raw-key", path)
        }
        try host.succeed("cryptohome", "mount", "alice", "--key-file", "/mnt/key6")
        try host.logout("alice")
        _ = try host.script("head -c 32 /dev/urandom > /mnt/wrong; : > /mnt/empty")
        let wrong = try host.refuse(
          ["alice", "wrong key file"], "cryptohome", "mount", "alice", "--key-file", "/mnt/wrong")
        #expect(!wrong.errors.contains("password"), "\(wrong)")
        try host.refuse(
          ["/mnt/empty", "has 0 bytes"], "cryptohome", "mount", "alice", "--key-file", "/mnt/empty")
        try host.refuse(
          ["/dev/zero", "more than 64 bytes"], "cryptohome", "mount", "alice", "--key-file",
          "/dev/zero")
      }
    }
  }

  /// Only three passwords are tried, as each takes long: the line says so, and what to do.
  @Test func fourthPasswordIsNamedByItsLabel() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice", "password1")
        for number in 2...4 {
          let added = try host.run(
            lines: "password1", "password\(number)", arguments: "key", "add", "alice", "--label",
            "key\(number)")
          #expect(added.status == 0, "\(added)")
        }
        let refused = try host.unlock("alice", "password4", status: 1)
        #expect(refused.complains(of: "alice", "first 3 passwords", "--label"), "\(refused)")
        let changed = try host.run(
          lines: "password4", "new", arguments: "passwd", "alice", "--label", "key4")
        #expect(changed.status == 0, "\(changed)")
      }
    }
  }

  /// What the file's reader would refuse, no command makes.
  @Test(
    arguments: [
      "a:b", "a\nb", "a\tb", "a\u{1b}[2Jb", "a\u{7f}", String(repeating: "x", count: 4000),
    ])
  func makesNoVaultForNameThatCannotBeRead(name: String) async {
    await #expect(processExitsWith: .success) { [name] in
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.script("head -c 32 /dev/urandom > /mnt/key")
        for arguments in [
          ["create", name, "--owner", "9:9", "--key-file", "/mnt/key"],
          ["create", name, "--owner", "9:9", "--vault", "plain"],
          ["mount", name, "--owner", "9:9", "--vault", "plain"],
        ] {
          let refused = try run("/mnt/programs/cryptohome", arguments)
          #expect(refused.status == 1 && refused.complaints.count == 1, "\(refused)")
          #expect(refused.complains(of: "is no name of an account"), "\(refused)")
        }
        let left = try host.script("ls -A /home/.shadow /home/user 2>/dev/null")
        #expect(left.lines.filter { $0.count == 40 }.isEmpty, "\(left)")
      }
    }
  }

  /// The user is called as the command line did.
  @Test func messagesNameTheUserAsTyped() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        for arguments in [
          ["key", "list", "alice"], ["key", "remove", "alice", "--label", "x"],
          ["key", "add", "alice", "--label", "x"], ["passwd", "alice"],
          ["remove", "alice", "--yes"],
          ["adopt", "alice"], ["repair-home", "alice"],
        ] {
          let outcome = try run("/mnt/programs/cryptohome", arguments)
          #expect(outcome.status == 1 && outcome.complaints.count == 1, "\(outcome)")
          #expect(outcome.complains(of: ": alice: "), "\(outcome)")
        }
        _ = try host.createWithKeyFile("alice")
        try host.refuse(
          [": alice: ", "already", Host.alice], "cryptohome", "create", "alice", "--key-file",
          "/mnt/key")
        try host.refuse(
          [": alice: "], "cryptohome", "key", "remove", "alice", "--label", "key-file")
        try host.unlockWithKeyFile("alice")
        let file = "/home/user/\(Host.alice)/file"
        try writeFile(file, "text")
        for command in [["remove", "alice", "--yes"], ["rename", "alice", "alice"]] {
          let outcome = try run("/mnt/programs/cryptohome", command)
          #expect(outcome.complains(of: ": alice: ", "is logged in"), "\(outcome)")
        }
        let holder = try host.holder { try check("open", file, open(file, O_RDONLY)) }
        #expect(try host.run("cryptohome", "unmount", "alice", "--force").status == 3)
        try host.refuse(
          [": alice: ", "still open", "cryptohome unmount alice"], "cryptohome", "remove", "alice",
          "--yes")
        try host.helpers.stop(holder)
        try host.logout("alice")
      }
    }
  }

  /// The advice of a refused rename leads to the end.
  @Test func renameToOtherUidIsDoneInTheStepsThatAreNamed() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        func accounts(_ name: String) throws {
          try writeFile(
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\n\(name):x:2000:2000::/home/user:/bin/sh\n")
        }
        _ = try host.createWithKeyFile("alice")
        try accounts("alicia")
        let steps = "usermod -l alice alicia && cryptohome adopt alice && usermod -l alicia alice"
        try host.refuse([steps], "cryptohome", "rename", "alice", "alicia")
        try accounts("alice")
        let adopted = try host.succeed(
          "cryptohome", "adopt", "alice", "--key-file", "/mnt/key")
        #expect(
          adopted.output.contains(
            "find /home/user/\(Host.alice) -uid 1000 -exec chown -h alice: {} +"), "\(adopted)")
        try accounts("alicia")
        try host.succeed("cryptohome", "rename", "alice", "alicia")
        try host.unlockWithKeyFile("alicia")
      }
    }
  }
}
