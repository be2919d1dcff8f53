import Glibc
import TestSupport
import Testing

/// An attacker who has the disk of `/home` edits vault.json while the machine is off.
@Suite(.needsRoot, .tags(.attack)) struct VaultDowngradeTests {
  private static let home = "/home/.shadow/\(Host.alice)"
  private static let record = "/var/lib/daemon-store/vaults/\(Host.alice)"

  /// Makes vault.json say that the vault is in clear, and removes the encrypted directory.
  private static func makePlain(_ host: Host) throws {
    let edited = try host.script(
      """
      rm -rf \(home)/mount
      python3 - \(home)/vault.json <<'end'
      import json, sys
      vault = json.load(open(sys.argv[1]))
      for name in ("policy", "seal", "slots"):
          vault.pop(name, None)
      vault["kind"] = "plain"
      json.dump(vault, open(sys.argv[1], "w"))
      end
      """)
    #expect(edited.status == 0, "\(edited)")
  }

  @Test func opensNoPlainVaultInPlaceOfEncrypted() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.createWithKeyFile("alice")
        #expect(attributes(Self.record) == "file 0:0 600")
        #expect(attributes("/var/lib/daemon-store/vaults") == "0:0 700")
        try Self.makePlain(host)
        let before = try host.table()
        for arguments in [["mount", "alice"], ["mount", "alice", "--vault", "plain"]] {
          let refused = try run(
            "/mnt/programs/cryptohome", arguments, stdin: "any password\n")
          #expect(refused.status == 1 && refused.complaints.count == 1, "\(refused)")
          #expect(
            refused.complains(of: Self.record, "not encrypted", "cryptohome remove"), "\(refused)")
        }
        #expect(try host.table() == before && !exists("/home/user/\(Host.alice)"))
        let doctor = try host.run("daemon-store", "doctor")
        #expect(doctor.output.contains("is not encrypted"), "\(doctor)")

        // Without a trace of it, too.
        _ = try host.script("rm -r \(Self.home)")
        for vault in ["plain", "ephemeral"] {
          try host.refuse(
            [Self.record, "is missing"], "cryptohome", "mount", "alice", "--vault", vault)
        }
        try host.refuse(
          [Self.record, "is missing"], "cryptohome", "create", "alice", "--vault", "plain")
        #expect(try host.run("daemon-store", "doctor", "--json").output.contains("vault-missing"))

        // The way out that the line names.
        let removed = try host.succeed("cryptohome", "remove", "alice", "--yes")
        #expect(removed.output.contains("only a record"), "\(removed)")
        #expect(!exists(Self.record))
        try host.login("alice")
      }
    }
  }

  /// The control: a login that believes vault.json opens a vault in clear, also over a directory that root
  /// alone should change, and puts a directory of the attacker's there at its removal.
  @Test func naiveLoginBelievesVaultFile() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.createWithKeyFile("alice")
        try Self.makePlain(host)
        let plain = try NaiveLogin.run("mount", "alice")
        #expect(plain.status == 0, "\(plain)")
        #expect(try host.table().at("/mnt/naive").count == 1)
        try makeDirectory("/home/trusted")
        try Self.edit(
          "\"home\": \"/home/trusted\", "
            + "\"before\": {\"user\": 1001, \"group\": 1001, \"mode\": 511}")
        let covered = try NaiveLogin.run("mount", "alice")
        #expect(covered.status == 0, "\(covered)")
        #expect(try host.table().at("/home/trusted").count == 1)
        try unmountFilesystem("/home/trusted")
        try makeDirectory("\(Self.home)/before", mode: 0o700)
        try writeFile("\(Self.home)/before/program", "of the attacker")
        let removed = try NaiveLogin.run("remove", "alice")
        #expect(removed.status == 0, "\(removed)")
        #expect(attributes("/home/trusted") == "1001:1001 777")
        #expect(try names(in: "/home/trusted") == ["program"])
      }
    }
  }

  /// Adds keys to vault.json.
  private static func edit(_ keys: String, of hash: String = Host.alice) throws {
    let path = "/home/.shadow/\(hash)/vault.json"
    let edited = try readFile(path).replacing("\"format\"", with: "\(keys), \"format\"")
    try writeFile(path, edited, mode: 0o600)
  }

  /// No attack, and so no control: a machine whose vaults are older than the record: the first login with the key makes it.
  @Test func recordsVaultAtItsFirstUnlock() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.createWithKeyFile("alice")
        _ = try host.script("rm -r /var/lib/daemon-store /home/.shadow/salt.copy")
        try host.unlockWithKeyFile("alice")
        #expect(attributes(Self.record) == "file 0:0 600")
        #expect(try readFile("/home/.shadow/salt.copy") == Host.salt)
        try host.logout("alice")
        try Self.makePlain(host)
        try host.unlockWithKeyFile("alice", status: 1)
      }
    }
  }

  /// No attack, and so no control.
  @Test func recordFollowsRenameAndRemoval() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.createWithKeyFile("alice")
        let passwd = try readFile("/etc/passwd")
        try writeFile("/etc/passwd", passwd.replacing("alice:x", with: "alicia:x"))
        try host.succeed("cryptohome", "rename", "alice", "alicia")
        let hash = try host.succeed("cryptohome", "sanitize", "alicia").lines[0]
        #expect(try names(in: "/var/lib/daemon-store/vaults") == [hash])
        try host.succeed("cryptohome", "remove", "alicia", "--yes")
        #expect(try names(in: "/var/lib/daemon-store/vaults").isEmpty)
      }
    }
  }

  /// `home` names a directory that root alone should change.
  @Test(arguments: ["owner", "passwd"])
  func coversNoDirectoryOfOthers(account: String) async {
    await #expect(processExitsWith: .success) { [account] in
      inEncryptedHost { host in
        try host.boot("alpha")
        let user = account == "owner" ? "guest" : "alice"
        let hash = account == "owner" ? Host.guest : Host.alice
        let options = account == "owner" ? ["--owner", "1000:1000"] : []
        _ = try host.script("head -c 32 /dev/urandom > /mnt/key")
        let made = try run(
          "/mnt/programs/cryptohome", ["create", user, "--key-file", "/mnt/key"] + options)
        #expect(made.status == 0, "\(made)")
        try makeDirectory("/etc/trusted")
        try Self.edit("\"home\": \"/etc/trusted\"", of: hash)
        let login = try run(
          "/mnt/programs/cryptohome", ["mount", user, "--key-file", "/mnt/key"])
        #expect(login.status != 0, "\(login)")
        #expect(try host.table().at("/etc/trusted").isEmpty, "\(login)")
        #expect(attributes("/etc/trusted") == "0:0 755")
      }
    }
  }

  /// `home` and `before` decide where a removal puts files back, and whose they are.
  @Test func putsNoDirectoryBackElsewhere() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.createWithKeyFile("alice")
        try makeDirectory("/home/trusted")
        try makeDirectory("\(Self.home)/before", mode: 0o700)
        try writeFile("\(Self.home)/before/program", "of the attacker")
        try Self.edit(
          "\"home\": \"/home/trusted\", "
            + "\"before\": {\"user\": 1001, \"group\": 1001, \"mode\": 511}")
        let removed = try host.succeed("cryptohome", "remove", "alice", "--yes")
        #expect(removed.output.contains("kept the files"), "\(removed)")
        #expect(attributes("/home/trusted") == "0:0 755")
        #expect(try names(in: "/home/trusted").isEmpty)
      }
    }
  }
}
