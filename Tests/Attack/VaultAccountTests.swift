import Glibc
import TestSupport
import Testing

/// One account must never get the vault of another, whatever the two are called.
@Suite(.needsRoot, .tags(.attack)) struct VaultAccountTests {
  /// Accounts of the machine, each with the uid as its group.
  private static func write(accounts: [(name: String, user: Int)]) throws {
    try writeFile(
      "/etc/passwd",
      "root:x:0:0:root:/root:/bin/sh\n"
        + accounts.map { "\($0.name):x:\($0.user):\($0.user)::/home/\($0.name):/bin/sh\n" }
        .joined())
  }

  private static func removeRecord(of hash: String) throws {
    try remove("/home/.shadow/\(hash)/vault.json")
  }

  /// Accounts whose names differ in case have one hash, and one of them the vault.
  @Test(arguments: ["plain", "fscrypt", "plain without vault.json"])
  func refusesOtherSpellingOfName(kind: String) async {
    await #expect(processExitsWith: .success) { [kind] in
      inEncryptedHost { host in
        try host.boot("alpha")
        try Self.write(accounts: [("alice", 1000), ("Alice", 2010)])
        if kind == "fscrypt" {
          try host.create("alice")
          try host.unlock("alice")
        } else {
          try host.login("alice")
        }
        try writeFile("/home/user/\(Host.alice)/diary", "of alice")
        if kind == "plain without vault.json" { try Self.removeRecord(of: Host.alice) }
        for isOpen in [true, false] {
          if !isOpen { try host.logout("alice") }
          let before = try host.table()
          let outcome = try host.unlock("Alice", status: 1)
          #expect(outcome.complaints.count == 1, "\(outcome)")
          #expect(outcome.complains(of: "2010", "cryptohome remove \(Host.alice)"), "\(outcome)")
          #expect(try host.table() == before)
        }
        if kind == "fscrypt" { try host.unlock("alice") } else { try host.login("alice") }
        #expect(attributes("/home/user/\(Host.alice)") == "1000:1000 700")
        try host.logout("alice")
        // Nor is it destroyed, or its keys changed, under that name.
        if kind != "plain without vault.json" {
          try host.refuse(["belongs to alice"], "cryptohome", "remove", "Alice", "--yes")
        }
        if kind == "fscrypt" {
          try host.refuse(
            ["belongs to alice"], "cryptohome", "key", "remove", "Alice", "--label", "password")
        }
        // A spelling that is no account is that of the account.
        if kind == "fscrypt" { try host.unlock("ALICE") }
      }
    }
  }

  /// The control, for names that differ in case and for a name that is used again: a login that goes by the
  /// name in lower case.
  @Test(arguments: ["Alice", "alice"])
  func naiveLoginOpensVaultOfOtherAccount(name: String) async {
    await #expect(processExitsWith: .success) { [name] in
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        try writeFile("/home/user/\(Host.alice)/diary", "of alice")
        try host.logout("alice")
        try Self.write(
          accounts: name == "alice" ? [("alice", 2077)] : [("alice", 1000), ("Alice", 2077)])
        let outcome = try NaiveLogin.run("mount", name)
        #expect(outcome.status == 0, "\(outcome)")
        let read = try run(
          "setpriv",
          ["--reuid=2077", "--regid=2077", "--clear-groups", "cat", "/mnt/naive/diary"])
        #expect(read.output == "of alice", "\(read)")
      }
    }
  }

  @Test(arguments: ["plain", "fscrypt", "plain without vault.json"])
  func refusesAccountMadeAgainWithOtherUid(kind: String) async {
    await #expect(processExitsWith: .success) { [kind] in
      inEncryptedHost { host in
        try host.boot("alpha")
        try Self.write(accounts: [("bob", 1001)])
        if kind == "fscrypt" {
          try host.create("bob")
          try host.unlock("bob")
        } else {
          try host.login("bob")
        }
        try host.logout("bob")
        if kind == "plain without vault.json" { try Self.removeRecord(of: Host.bob) }
        try Self.write(accounts: [("bob", 2077)])
        let refused = try host.unlock("bob", status: 1)
        #expect(refused.complains(of: "2077", "cryptohome adopt bob"), "\(refused)")
        #expect(refused.complaints.count == 1 && !exists("/home/user/\(Host.bob)"), "\(refused)")
        if kind != "plain without vault.json" {
          let doctor = try host.run("daemon-store", "doctor", "--json")
          #expect(doctor.output.contains("vault-foreign-uid"), "\(doctor)")
        }
        // The way out that the line names.
        if kind == "fscrypt" {
          let wrong = try host.run(lines: "wrong", arguments: "adopt", "bob")
          #expect(wrong.status == 1 && wrong.complains(of: "wrong password"), "\(wrong)")
          try host.unlock("bob", status: 1)
        }
        let adopted = try host.run(lines: "secret", arguments: "adopt", "bob")
        #expect(adopted.status == 0, "\(adopted)")
        try host.unlock("bob")
        #expect(attributes("/home/user/\(Host.bob)") == "2077:2077 700")
      }
    }
  }

  /// An edit of the file gives the vault to no other uid: the key has sealed the account.
  @Test func refusesAccountThatWasNotSealed() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try Self.write(accounts: [("alice", 1000)])
        try host.create("alice")
        let path = "/home/.shadow/\(Host.alice)/vault.json"
        let file = try readFile(path)
        try Self.write(accounts: [("alice", 4000)])
        let edited = file.replacing("\"uid\": 1000", with: "\"uid\": 4000")
        #expect(edited != file)
        try writeFile(path, edited, mode: 0o600)
        // The control: the account that the file names is the one that there is.
        let naive = try host.script(
          "python3 -c 'import json, pwd; uid = pwd.getpwnam(\"alice\").pw_uid; "
            + "assert json.load(open(\"\(path)\"))[\"account\"][\"uid\"] == uid'")
        #expect(naive.status == 0, "\(naive)")
        let refused = try host.unlock("alice", status: 1)
        #expect(refused.complains(of: "vault.json", "not sealed"), "\(refused)")
        #expect(try host.keyState(of: Host.alice) == "absent")
        try Self.write(accounts: [("alice", 1000)])
        try writeFile(path, file, mode: 0o600)
        try host.unlock("alice")
      }
    }
  }

  /// This is the way on for a renamed account, and no attack: it has no control.
  @Test(arguments: ["plain", "fscrypt"])
  func vaultFollowsRenamedAccount(kind: String) async {
    await #expect(processExitsWith: .success) { [kind] in
      inEncryptedHost { host in
        try host.boot("alpha")
        try Self.write(accounts: [("alice", 1000)])
        if kind == "fscrypt" { try host.create("alice") } else { try host.login("alice") }
        if kind == "plain" { try host.logout("alice") }
        try Self.write(accounts: [("alicia", 1000)])
        for name in ["alicia", "alice"] {
          let refused = try host.unlock(name, status: 1)
          #expect(refused.complains(of: "cryptohome rename alice"), "\(refused)")
        }
        let doctor = try host.run("daemon-store", "doctor", "--json")
        #expect(doctor.output.contains("vault-without-user"), "\(doctor)")
        #expect(doctor.output.contains("cryptohome rename alice alicia"), "\(doctor)")
        let blocked = try host.run(lines: "secret", arguments: "create", "alicia")
        #expect(blocked.complains(of: "cryptohome rename alice alicia"), "\(blocked)")
        try host.refuse(["no passwd entry"], "cryptohome", "rename", "alice", "carol")
        let renamed = try host.succeed("cryptohome", "rename", "alice", "alicia")
        let new = String(renamed.output.split(separator: " ").last?.prefix(40) ?? "")
        #expect(exists("/home/.shadow/\(new)") && !exists("/home/.shadow/\(Host.alice)"))
        for _ in 0..<2 {
          try host.unlock("alicia")
          #expect(attributes("/home/user/\(new)") == "1000:1000 700")
          try host.logout("alicia")
        }
        #expect(try !readFile("/home/.shadow/\(new)/vault.json").contains("sealedName"))
        let healthy = try host.run("daemon-store", "doctor", "--json")
        #expect(healthy.status == 0, "\(healthy)")
      }
    }
  }

  /// The control is that of the names that differ in case: a login of the other account neither opens the vault nor keeps it open.
  @Test func refusesLoginOfOtherSpelling() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        try writeFile(
          "/etc/passwd", try readFile("/etc/passwd") + "Alice:x:2010:2010::/home/user:/bin/sh\n")
        let shadow = try readFile("/etc/shadow")
        let line = shadow.split(separator: "\n").first { $0.hasPrefix("alice:") } ?? ""
        try writeFile("/etc/shadow", shadow + "A" + line.dropFirst() + "\n", mode: 0o600)
        let login = try machine.login("alice")
        #expect(try machine.mounts(of: Host.alice).count == 4)
        let other = try machine.login("Alice")
        #expect(other.text.contains("belongs to alice (uid 1000)"), "\(other.text)")
        #expect(machine.records(of: Host.alice).filter { $0 != "unmount" }.count == 1)
        try login.logout()
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        #expect(try machine.host.keyState(of: Host.alice) == "absent")
        other.kill()
      }
    }
  }
}
