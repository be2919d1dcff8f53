import Glibc
import TestSupport
import Testing

/// Vaults of earlier versions, and keys that are weaker than those of today.
@Suite(.needsRoot) struct VaultUpgradeTests {
  /// Rewrites vault.json as version 1 had it: for each password one slot of N=2^15, r=8, p=1. The vault
  /// has the first password.
  private static func makeFirstVersion(_ host: Host, _ user: String, _ passwords: [String]) throws {
    let outcome = try host.script(
      """
      /usr/bin/python3 - /home/.shadow/\(user)/vault.json \(user) \(passwords.joined(separator: " ")) <<'end'
      import base64, hashlib, json, os, sys
      from cryptography.hazmat.primitives.ciphers.aead import AESGCM
      path, user, passwords = sys.argv[1], sys.argv[2], sys.argv[3:]
      vault = json.load(open(path))
      def wrapper(password, salt, cost):
          return AESGCM(hashlib.scrypt(password.encode(), salt=salt, n=cost["n"], r=cost["r"],
                                       p=cost["p"], dklen=32, maxmem=1 << 30))
      slot = vault["slots"][0]
      wrapped = base64.b64decode(slot["wrapped"])
      bound = "\\0".join(["daemon-store vault 2", vault["id"], slot["id"], "password", slot["label"]])
      key = wrapper(passwords[0], base64.b64decode(slot["salt"]), slot["scrypt"]).decrypt(
          wrapped[:12], wrapped[12:], bound.encode())
      slots = []
      for number, password in enumerate(passwords):
          label, salt, nonce = f"k{number}", os.urandom(32), os.urandom(12)
          cost = {"n": 32768, "r": 8, "p": 1}
          bound = "\\0".join(["daemon-store vault 1", user, vault["policy"]["identifier"], label])
          slots.append({"label": label, "scrypt": cost, "salt": base64.b64encode(salt).decode(),
              "wrapped": base64.b64encode(nonce + wrapper(password, salt, cost).encrypt(
                  nonce, key, bound.encode())).decode()})
      json.dump({"version": 1, "policy": vault["policy"], "slots": slots}, open(path, "w"))
      end
      """)
    #expect(outcome.status == 0, "\(outcome)")
  }

  @Test func firstVersionIsReadAndWrittenAnew() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice", "one")
        try Self.makeFirstVersion(host, Host.alice, ["one", "two"])
        let path = "/home/.shadow/\(Host.alice)/vault.json"
        let first = try readFile(path)
        let listed = try host.succeed("cryptohome", "key", "list", "alice")
        #expect(
          listed.lines.allSatisfy { $0.contains("32 MiB") && $0.contains("made stronger") },
          "\(listed)")
        try host.unlock("alice", "wrong", status: 1)
        #expect(try readFile(path) == first)

        try host.unlock("alice", "one")
        let second = try readFile(path)
        #expect(second.contains("\"version\": 2") && second.contains("\"name\": \"alice\""))
        #expect(attributes(path) == "file 0:0 600")
        try host.logout("alice")
        let after = try host.succeed("cryptohome", "key", "list", "alice")
        #expect(after.lines.filter { $0.contains("made stronger") }.count == 1, "\(after)")
        // The old slot is not on the disk any more.
        let wrapped = first.split(separator: "\"").first { $0.count == 124 } ?? "none"
        let found = try host.script("sync; grep -caF '\(wrapped)' /mnt/disk")
        #expect(wrapped != "none" && found.lines == ["0"], "\(found)")

        // The other password opens its slot as it was, and makes that new, too.
        try host.unlock("alice", "two")
        try host.logout("alice")
        let last = try host.succeed("cryptohome", "key", "list", "alice")
        #expect(!last.output.contains("made stronger"), "\(last)")
        let stable = try readFile(path)
        for password in ["one", "two"] {
          try host.unlock("alice", password)
          try host.logout("alice")
        }
        #expect(try readFile(path) == stable, "nothing is left to do on that day")
      }
    }
  }

  /// A vault of version 1 that was not opened since is renamed with a password.
  @Test func firstVersionIsRenamedWithAPassword() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice", "one")
        try Self.makeFirstVersion(host, Host.alice, ["one", "two"])
        try writeFile(
          "/etc/passwd", try readFile("/etc/passwd").replacing("alice:", with: "alicia:"))
        let renamed = try host.run(lines: "one", arguments: "rename", "alice", "alicia")
        #expect(renamed.status == 0, "\(renamed)")
        for password in ["two", "one"] {
          try host.unlock("alicia", password)
          try host.logout("alicia")
        }
      }
    }
  }

  @Test func plainVaultGetsItsRecord() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        let path = "/home/.shadow/\(Host.alice)/vault.json"
        let record = try readFile(path)
        #expect(record.contains("\"kind\": \"plain\"") && record.contains("\"uid\": 1000"))
        try host.logout("alice")
        try remove(path)
        try host.succeed("cryptohome", "mount", "alice")
        #expect(try readFile(path).contains("\"uid\": 1000"))
        #expect(attributes(path) == "file 0:0 600")
        try host.logout("alice")
      }
    }
  }

  @Test func keyFileOpensTheVault() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.script(
          "head -c 32 /dev/urandom > /mnt/key; head -c 32 /dev/urandom > /mnt/other; "
            + "head -c 31 /dev/urandom > /mnt/short; head -c 65 /dev/urandom > /mnt/long")
        try host.create("alice")
        let added = try host.run(
          lines: "secret", arguments: "key", "add", "alice", "--label", "machine", "--raw-key",
          "/mnt/key")
        #expect(added.status == 0, "\(added)")
        try host.refuse(["wrong"], "cryptohome", "mount", "alice", "--key-file", "/mnt/other")
        for size in ["short", "long"] {
          try host.refuse(
            ["32 to 64"], "cryptohome", "mount", "alice", "--key-file", "/mnt/\(size)")
        }
        try host.succeed("cryptohome", "mount", "alice", "--key-file", "/mnt/key")
        try host.logout("alice")
        let bytes = try host.script("cat /mnt/key | cryptohome mount alice")
        #expect(bytes.status == 1, "a key file is no password: \(bytes)")
        let list = try host.succeed("cryptohome", "key", "list", "alice")
        #expect(list.lines.last == "machine  key file, 256 bits", "\(list)")
        try host.succeed("cryptohome", "key", "remove", "alice", "--label", "password")
        try host.succeed("cryptohome", "mount", "alice", "--key-file", "/mnt/key")
      }
    }
  }

  /// One password of each user at a time, two on the machine, and one more by root.
  @Test func attemptsAtATimeAreLimited() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        for user in ["alice", "bob"] { try host.create(user) }
        let outcome = try host.script(
          """
          exec 7>/run/cryptohome/derive.\(Host.alice) 8>/run/cryptohome/derive.1
          exec 9>/run/cryptohome/derive.2
          flock 7 && flock 8 && flock 9 || exit 9
          (echo secret | cryptohome mount alice; echo status $?) 7>&- 8>&- 9>&- >/mnt/alice 2>&1 &
          (echo secret | cryptohome mount bob) 7>&- 8>&- 9>&- || exit 8
          grep -q status /mnt/alice && exit 7
          flock -u 7
          wait
          cat /mnt/alice
          """)
        #expect(outcome.status == 0 && outcome.lines.last == "status 0", "\(outcome)")
        #expect(attributes("/run/cryptohome") == "0:0 700", "no user can hold these locks")
      }
    }
  }
}
