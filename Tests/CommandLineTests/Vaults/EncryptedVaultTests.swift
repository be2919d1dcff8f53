import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// Vaults that the kernel encrypts, on a real ext4.
@Suite(.needsRoot) struct EncryptedVaultTests {
  @Test(arguments: Machine.allCases)
  func nothingIsReadableButWhileLoggedIn(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inEncryptedHost(machine) { host in
        try host.boot("alpha")
        let follower = try host.follower()
        try host.create("alice")
        #expect(try host.policy(of: Host.alice).hasPrefix("2 1 4 3 "), "AES-256, padding 32")
        #expect(try host.keyState(of: Host.alice) == "absent")
        #expect(attributes("/home/.shadow/\(Host.alice)/vault.json") == "file 0:0 600")
        let flags = try host.script("lsattr -d /home/.shadow/\(Host.alice)/mount")
        #expect(flags.output.prefix(20).contains("E"), "\(flags)")

        try host.refuse(["empty"], "cryptohome", "mount", "alice")
        try host.unlock("alice")
        #expect(try host.keyState(of: Host.alice) == "present")
        try host.expectMounted(Host.alice, in: ["alpha"])
        try writeFile("/run/daemon-store/alpha/\(Host.alice)/plainname", "plaintext-of-alice")
        #expect(try mountTable(of: follower).below("/run").naming(Host.alice).count == 2)
        try host.succeed("cryptohome", "mount", "alice")
        try host.logout("alice")
        try host.expectGone(Host.alice, from: ["alpha"])
        #expect(try host.keyState(of: Host.alice) == "absent")
        #expect(try mountTable(of: follower).naming(Host.alice).isEmpty)

        // Root, who has the whole disk, finds neither the names nor the contents.
        let vault = "/home/.shadow/\(Host.alice)/mount"
        let found = try host.script(
          "sync; find \(vault) | grep -E 'plainname|alpha|root$'; grep -c plaintext-of-alice /mnt/disk; "
            + "debugfs -R 'ls -l /.shadow/\(Host.alice)/mount' /mnt/disk 2>/dev/null | grep -c root; "
            + "find \(vault) -type f | head -1 | xargs -d '\\n' cat")
        #expect(found.lines == ["0", "0"], "\(found)")
        #expect(found.errors.contains("Required key not available"), "\(found)")

        try host.unlock("alice")
        #expect(
          try readFile("/run/daemon-store/alpha/\(Host.alice)/plainname") == "plaintext-of-alice")
      }
    }
  }

  @Test func passwordsOpenWhatTheyShould() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice", "first")
        let file = "/home/.shadow/\(Host.alice)/vault.json"
        let before = try host.table()
        let written = try readFile(file)
        let wrong = try host.unlock("alice", "wrong", status: 1)
        #expect(
          wrong.complaints == ["cryptohome: mount: alice: wrong password; the vault stays locked"])
        let changed = try host.run(lines: "wrong", "new", arguments: "passwd", "alice")
        #expect(
          changed.status == 1 && changed.complains(of: "passwd", "wrong password"), "\(changed)")
        #expect(try host.table() == before && host.keyState(of: Host.alice) == "absent")
        #expect(try readFile(file) == written)

        let passwd = try host.run(lines: "first", "second", arguments: "passwd", "alice")
        #expect(passwd.status == 0, "\(passwd)")
        try host.unlock("alice", "first", status: 1)
        try host.unlock("alice", "second")
        try host.logout("alice")

        // A login tries three, or the one that is named.
        for number in 2...4 {
          let added = try host.run(
            lines: "second", "password\(number)", arguments: "key", "add", "alice", "--label",
            "key\(number)")
          #expect(added.status == 0, "\(added)")
        }
        let list = try host.succeed("cryptohome", "key", "list", "alice")
        #expect(list.lines.map { $0.prefix { $0 != " " } } == ["password", "key2", "key3", "key4"])
        try host.unlock("alice", "password3")
        try host.logout("alice")
        try host.unlock("alice", "password4", status: 1)
        let named = try host.run(
          lines: "password4", arguments: "mount", "alice", "--label", "key4")
        #expect(named.status == 0, "\(named)")
        try host.logout("alice")
        let other = try host.run(
          lines: "password3", arguments: "mount", "alice", "--label", "key4")
        let unknown = try host.run(
          lines: "password3", arguments: "mount", "alice", "--label", "nokey")
        #expect(other.status == 1 && unknown.status == 1, "\(other)\(unknown)")
        #expect(
          other.errors.replacing("key4", with: "nokey") == unknown.errors, "\(other)\(unknown)")

        for label in ["password", "key2", "key3"] {
          try host.succeed("cryptohome", "key", "remove", "alice", "--label", label)
        }
        try host.refuse(
          ["no other key"], "cryptohome", "key", "remove", "alice", "--label", "key4")
        try host.refuse(["no key"], "cryptohome", "key", "remove", "alice", "--label", "key2")
        try host.unlock("alice", "second", status: 1)
        try host.unlock("alice", "password4")
      }
    }
  }

  @Test func whatIsOpenKeepsTheVaultBusy() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice")
        try host.unlock("alice")
        let folder = "/run/daemon-store/alpha/\(Host.alice)"
        try writeFile("\(folder)/file", "contents")
        try writeFile("\(folder)/other", "contents")
        let holder = try host.holder {
          try check("open", folder, open("\(folder)/file", O_RDONLY))
        }
        let busy = try host.run("cryptohome", "unmount", "alice", "--force")
        #expect(busy.status == 3, "\(busy)")
        #expect(busy.complains(of: "locked, but still open in", "\(holder)"), "\(busy)")
        #expect(try host.keyState(of: Host.alice) == "busy")
        try host.expectGone(Host.alice, from: ["alpha"])
        let status = try host.succeed("cryptohome", "status", "alice")
        #expect(status.lines == ["\(Host.alice) (alice)  fscrypt, busy  not mounted"], "\(status)")
        try host.refuse(["still open"], "cryptohome", "remove", "alice", "--yes")

        try host.helpers.stop(holder)
        let done = try host.succeed("cryptohome", "unmount", "alice")
        #expect(done.lines == ["alice is not mounted, and the vault is locked"], "\(done)")
        #expect(try host.keyState(of: Host.alice) == "absent")

        // A mount that is in use stays, but nothing more can be opened through it.
        try host.unlock("alice")
        let other = try host.holder {
          try check("open", folder, open("\(folder)/file", O_RDONLY))
        }
        let held = try host.run("cryptohome", "unmount", "alice")
        #expect(held.status == 3 && held.complains(of: "still open in", "\(other)"), "\(held)")
        #expect(try host.table().at(folder).count == 1)
        #expect(open("\(folder)/other", O_RDONLY) == -1, "no more is opened")
        // Logging in again makes it whole.
        try host.unlock("alice")
        #expect(try readFile("\(folder)/other") == "contents")
        try host.expectMounted(Host.alice, in: ["alpha"])
      }
    }
  }

  @Test func usersAreApart() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice", "of alice")
        try host.create("bob", "of bob")
        // Somebody with root's rights moves a slot: it does not open the other vault.
        let slot = "/home/.shadow/\(Host.alice)/vault.json"
        let own = try readFile("/home/.shadow/\(Host.bob)/vault.json")
        try host.unlock("bob", "of alice", status: 1)
        try host.unlock("bob", "of bob")
        try host.unlock("alice", "of alice")
        #expect(try host.table().naming(Host.bob).count == 4)
        try host.logout("alice")
        #expect(try host.keyState(of: Host.alice) == "absent")
        #expect(try host.keyState(of: Host.bob) == "present")
        try host.expectMounted(Host.bob, in: ["alpha"])
        try host.logout("bob")
        try writeFile("/home/.shadow/\(Host.bob)/vault.json", try readFile(slot), mode: 0o600)
        try host.refuse(["of another vault"], "cryptohome", "mount", "bob")
        try writeFile("/home/.shadow/\(Host.bob)/vault.json", own, mode: 0o600)
        try host.unlock("bob", "of bob")
        let all = try host.succeed("cryptohome", "unmount", "--all")
        #expect(all.lines.count == 1, "\(all)")
        #expect(try host.keyState(of: Host.bob) == "absent")
      }
    }
  }

  @Test func nothingIsWrittenInClearInItsPlace() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice")
        let vault = "/home/.shadow/\(Host.alice)"
        let file = try readFile("\(vault)/vault.json")
        let before = try host.table()
        for (text, words) in [
          ("", ["damaged"]), ("{", ["damaged"]), ("{\"version\": 3}", ["version 3"]),
          (file.replacing("\"fscrypt\"", with: "\"luks\""), ["kind luks"]),
          (file.replacing("AES-256-CTS", with: "AES-128-CTS"), ["policy"]),
          (file.replacing("\"n\": ", with: "\"n\": 1"), ["damaged"]),
          (file.replacing("\"p\": ", with: "\"p\": -"), ["damaged"]),
          (file.replacing("\"label\": \"password\"", with: "\"label\": \"../x\""), ["damaged"]),
          (String(repeating: " ", count: 1 << 20) + file, ["larger than 1 MiB"]),
        ] {
          try writeFile("\(vault)/vault.json", text, mode: 0o600)
          let outcome = try host.unlock("alice", status: 1)
          #expect(
            outcome.complaints.count == 1 && words.allSatisfy(outcome.errors.contains),
            "\(outcome)")
        }
        try remove("\(vault)/vault.json")
        let missing = try host.unlock("alice", status: 1)
        #expect(missing.complains(of: "vault.json", "missing"), "\(missing)")
        try makeLink("\(vault)/vault.json", to: "/etc/passwd")
        _ = try host.unlock("alice", status: 1)
        try remove("\(vault)/vault.json")
        try writeFile("\(vault)/vault.json", file, mode: 0o600)

        try check("rename", vault, rename("\(vault)/mount", "\(vault)/away"))
        for plain in [false, true] {
          if plain { try makeDirectory("\(vault)/mount", mode: 0o700) }
          let outcome = try host.unlock("alice", status: 1)
          #expect(outcome.complains(of: "not encrypted"), "\(outcome)")
        }
        #expect(try names(in: "\(vault)/mount").isEmpty)
        try host.refuse(["not encrypted"], "cryptohome", "mount", "alice", "--vault", "plain")
        try remove("\(vault)/mount")
        try check("rename", vault, rename("\(vault)/away", "\(vault)/mount"))
        #expect(try host.table() == before)
        try host.refuse(["already"], "cryptohome", "create", "alice")
        try host.unlock("alice")
      }
    }
  }

  /// What stops a login takes the key away again.
  @Test func aFailedLoginLocksAgain() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice")
        try makeDirectory("/home/user")
        try writeFile("/home/user/\(Host.alice)", "in the way")
        let before = try host.table()
        let outcome = try host.unlock("alice", status: 1)
        #expect(outcome.complains(of: "/home/user/\(Host.alice)", "is a file"), "\(outcome)")
        #expect(try host.keyState(of: Host.alice) == "absent")
        #expect(try host.table() == before)
        try remove("/home/user/\(Host.alice)")
        try host.unlock("alice")
      }
    }
  }

  @Test func whereNothingCanBeEncryptedItSaysHow() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost(features: "^encrypt") { host in
        try host.boot("alpha")
        let outcome = try host.run(lines: "secret", arguments: "create", "alice")
        #expect(outcome.status == 1, "\(outcome)")
        #expect(outcome.complains(of: "/dev/loop", "tune2fs -O encrypt /dev/loop"), "\(outcome)")
        #expect(try names(in: "/home/.shadow").isEmpty)
        try mountFilesystem("tmpfs", "/home", "tmpfs", 0, "mode=0755")
        let memory = try host.run(lines: "secret", arguments: "create", "alice")
        #expect(memory.complains(of: "tmpfs", "ext4", "--vault plain"), "\(memory)")
        try host.succeed("cryptohome", "create", "alice", "--vault", "plain")
        try host.succeed("cryptohome", "mount", "alice")
      }
    }
  }

  @Test func aFullDiskChangesNothing() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost(megabytes: 4) { host in
        try host.boot("alpha")
        try host.create("alice")
        let written = try readFile("/home/.shadow/\(Host.alice)/vault.json")
        _ = try host.script(
          "cat /dev/zero > /home/filler; for i in 1 2 3 4 5 6 7 8 9; do "
            + "cat /dev/zero > /home/filler$i; done; "
            + "i=0; while mkdir /home/filler.$i; do i=$((i + 1)); done")
        let create = try host.run(lines: "secret", arguments: "create", "bob")
        #expect(create.status == 1 && create.complains(of: "No space left"), "\(create)")
        #expect(try host.vaults() == [Host.alice])
        let passwd = try host.run(lines: "secret", "new", arguments: "passwd", "alice")
        #expect(passwd.status == 1 && passwd.complains(of: "No space left"), "\(passwd)")
        let list = try host.script("ls -A /home/.shadow/\(Host.alice)")
        #expect(list.lines == ["mount", "vault.json"], "\(list)")
        #expect(try readFile("/home/.shadow/\(Host.alice)/vault.json") == written)
        _ = try host.script("rm -r /home/filler*")
        try host.unlock("alice")
      }
    }
  }

  @Test func theHomeOfPasswdIsCovered() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.makePasswdHome()
        try writeFile("/home/alice/below", "in clear")
        let made = try host.run(lines: "secret", arguments: "create", "alice", "--home")
        #expect(made.status == 0, "\(made)")
        #expect(attributes("/home/alice") == "0:1000 550")
        try host.unlock("alice")
        let mount = try host.mount(at: "/home/alice")
        #expect(mount.options.isSuperset(of: ["nosuid", "nodev"]) && !exists("/home/alice/below"))
        #expect(attributes("/home/alice") == "1000:1000 700")
        try writeFile("/home/alice/file", "contents")
        #expect(try readFile("/home/user/\(Host.alice)/file") == "contents")
        try host.succeed("cryptohome", "mount", "alice")
        try host.logout("alice")
        let before = "/home/.shadow/\(Host.alice)/before"
        #expect(try readFile("\(before)/below") == "in clear" && !exists("/home/alice/file"))
        #expect(try host.keyState(of: Host.alice) == "absent")

        // Without the directory the rest is mounted all the same, and it is said.
        try remove("/home/alice")
        let partial = try host.unlock("alice", status: 3)
        #expect(partial.complains(of: "/home/alice", "missing"), "\(partial)")
        try host.expectMounted(Host.alice, in: ["alpha"])
        try host.refuse(["/home/user"], "cryptohome", "create", "bob", "--home")
      }
    }
  }

  @Test func aVaultIsRemovedForGood() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice")
        try host.unlock("alice")
        // Deeper than a process has descriptors, and than a path is long.
        let deep = try host.script(
          "cd /home/user/\(Host.alice) && python3 -c \"import os\nfor i in range(3000):\n  "
            + "os.mkdir('d'); os.chdir('d')\nopen('leaf', 'w').write('x')\"")
        #expect(deep.status == 0, "\(deep)")
        try host.refuse(["logged in"], "cryptohome", "remove", "alice", "--yes")
        try host.logout("alice")
        try host.refuse(["--yes"], "cryptohome", "remove", "alice")
        let limited = try host.script("ulimit -n 64; cryptohome remove alice --yes")
        #expect(limited.status == 0 && limited.complaints.isEmpty, "\(limited)")
        #expect(try host.script("ls -A /home/.shadow").lines.isEmpty)
        try host.refuse(["no vault"], "cryptohome", "remove", "alice", "--yes")
        try host.create("alice", "again")
        try host.unlock("alice", "again")
        #expect(try names(in: "/home/user/\(Host.alice)").isEmpty)
      }
    }
  }

  @Test func aUserWithoutPasswdEntryHasAnOwnerInTheVault() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.refuse(["--owner"], "cryptohome", "create", "guest")
        let made = try host.run(lines: "secret", arguments: "create", "guest", "--owner", "70:71")
        #expect(made.status == 0, "\(made)")
        try host.unlock(Host.guest)
        #expect(attributes("/home/user/\(Host.guest)") == "70:71 700")
        try host.logout("guest")
        let other = try host.run(
          lines: "secret", arguments: "mount", "guest", "--owner", "72:71")
        #expect(other.status == 1 && other.complains(of: "70:71"), "\(other)")
        #expect(try host.keyState(of: Host.guest) == "absent")
      }
    }
  }

  /// The format is open: Python's cryptography finds the key, and the kernel's name for it.
  @Test func anotherProgramOpensVaultJson() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice", "pässword")
        let outcome = try host.script(
          """
          /usr/bin/python3 - /home/.shadow/\(Host.alice)/vault.json <<'end'
          import base64, hashlib, hmac, json, sys
          from cryptography.hazmat.primitives import hashes
          from cryptography.hazmat.primitives.ciphers.aead import AESGCM
          from cryptography.hazmat.primitives.kdf.hkdf import HKDF
          vault = json.load(open(sys.argv[1]))
          slot, name = vault["slots"][0], vault["policy"]["identifier"]
          cost, wrapped = slot["scrypt"], base64.b64decode(slot["wrapped"])
          wrapper = hashlib.scrypt("pässword".encode(), salt=base64.b64decode(slot["salt"]),
                                   n=cost["n"], r=cost["r"], p=cost["p"], dklen=32, maxmem=1 << 30)
          bound = "\\0".join(["daemon-store vault 2", vault["id"], slot["id"], slot["type"],
                              slot["label"]])
          key = AESGCM(wrapper).decrypt(wrapped[:12], wrapped[12:], bound.encode())
          own = HKDF(hashes.SHA512(), 16, None, b"fscrypt\\0\\1").derive(key).hex()
          sealing = HKDF(hashes.SHA256(), 32, bytes.fromhex(vault["id"]),
                         b"daemon-store vault 2 account").derive(key)
          account = "\\0".join(["daemon-store vault 2", vault["id"], vault["kind"],
                                str(vault["account"]["uid"]), vault["account"]["name"], "", "no home"])
          seal = hmac.digest(sealing, account.encode(), "sha256")
          print(len(key), own == name, seal == base64.b64decode(vault["seal"]))
          end
          """)
        #expect(outcome.lines == ["64 True True"], "\(outcome)")
      }
    }
  }
}
