import Glibc
import TestSupport
import Testing

@Suite(.needsRoot) struct SaltFileTests {
  private static let path = "/var/lib/system_salt"
  private static let legacy = "/home/.shadow/salt"

  @Test func namesComeFromTheSalt() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        for (name, hash) in [
          ("alice", Host.alice), ("ALICE", Host.alice), ("bob", Host.bob),
          // Python: sha1(b"0123456789abcdef" + "émile".encode()), and of "Émile".
          ("émile", "d4a307fdd58198e9f6da4ee13d999c45ed2c4162"),
          ("éMILE", "d4a307fdd58198e9f6da4ee13d999c45ed2c4162"),
          ("Émile", "a515f813b5e66c179a01f7be8aab9c103839eb3a"),
        ] {
          #expect(try host.succeed("cryptohome", "sanitize", name).output == hash + "\n", "\(name)")
        }
        let nobody = try host.runAsNobody("cryptohome", "sanitize", "alice")
        #expect(nobody.status == 0 && nobody.output == Host.alice + "\n", "\(nobody)")
      }
    }
  }

  @Test func olderPlaceCountsWhereTheOtherIsAbsent() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try makeDirectory("/home/.shadow", mode: 0o700)
        try writeFile(Self.legacy, "another salt, of 16 bytes or more")
        #expect(try host.succeed("cryptohome", "sanitize", "alice").output == Host.alice + "\n")
        try writeFile(Self.legacy, Host.salt)
        try remove(Self.path)
        #expect(try host.succeed("cryptohome", "sanitize", "alice").output == Host.alice + "\n")
        try host.boot("alpha")
        #expect(!exists(Self.path), "no second one is made")
        try host.login("alice")
        try host.expectMounted(Host.alice, in: ["alpha"])
        try remove(Self.legacy)
        let ordinary = try host.runAsNobody("cryptohome", "sanitize", "alice")
        #expect(ordinary.status == 1 && ordinary.complaints.count == 1, "\(ordinary)")
      }
    }
  }

  /// It may list a /home that is not mounted.
  @Test func fstabThatCannotBeReadKeepsVaultsFromBeingMade() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try writeFile("/etc/fstab", "UUID=1 / ext4 defaults 0 1\n")
        try remove(Self.path)
        let create = "/mnt/programs/cryptohome create alice --vault plain"
        let hidden = try host.script(
          """
          unshare -m sh -c '
          for file in $(ldconfig -p | sed -n "s/.*libmount.so.1 .*=> //p"); do
            mount --bind /dev/null "$file" || exit 9
          done
          \(create); echo status $?; ls /var/lib/system_salt; \(create) --force'
          """)
        #expect(hidden.status == 0 && hidden.lines.first == "status 1", "\(hidden)")
        #expect(hidden.complains(of: "/etc/fstab", "libmount.so.1", "--force"), "\(hidden)")
        try host.succeed("cryptohome", "mount", "alice")
      }
    }
  }

  @Test(arguments: ["empty", "cut", "oversized", "directory", "link"], [Self.path, Self.legacy])
  func oneThatCannotBeUsedIsNeverReplaced(kind: String, place: String) async {
    await #expect(processExitsWith: .success) { [kind, place] in
      inHost(.shared) { host in
        try host.boot("alpha")
        try makeDirectory("/home/.shadow", mode: 0o700)
        try remove(Self.path)
        switch kind {
        case "empty": try writeFile(place, "")
        case "cut": try writeFile(place, "012")
        case "oversized": try writeFile(place, [UInt8](repeating: 1, count: (1 << 20) + 1))
        case "directory": try makeDirectory(place)
        default: try makeLink(place, to: "/etc/passwd")
        }
        let before = attributes(place)
        try host.succeed("daemon-store", "startup")
        let table = try host.table()
        try host.refuse([place], "cryptohome", "mount", "alice", "--vault", "plain")
        try host.refuse([place], "cryptohome", "sanitize", "alice")
        try host.refuse([place], "cryptohome", "unmount", "alice")
        let doctor = try host.run("daemon-store", "doctor")
        #expect(doctor.output.contains("no user can log in"), "\(doctor)")
        #expect(try host.table() == table)
        #expect(attributes(place) == before)
        #expect(try names(in: "/home/.shadow") == (place == Self.legacy ? ["salt"] : []))
      }
    }
  }

  @Test func largestIsUsed() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try writeFile(Self.path, [UInt8](repeating: 1, count: 1 << 20))
        // Python: hashlib.sha1(bytes([1]) * (1 << 20) + b"alice").hexdigest()
        let hash = "f4fd505bd62c5cc796764c16f5a1249c2126caaa"
        #expect(try host.succeed("cryptohome", "sanitize", "alice").output == hash + "\n")
      }
    }
  }

  @Test func absentIsMadeOnlyForTheFirstVault() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try remove(Self.path)
        try host.boot("alpha")
        let nobody = try host.runAsNobody("cryptohome", "sanitize", "alice")
        #expect(nobody.complains(of: Self.path, "no salt yet"), "\(nobody)")
        try host.refuse([Self.path, "no salt yet"], "cryptohome", "unmount", "alice")
        try host.refuse(["alice", "has no vault"], "cryptohome", "mount", "alice")
        #expect(!exists(Self.path), "neither boot nor a question makes one")
        #expect(try host.run("daemon-store", "doctor").status == 0)
        try makeDirectory("/home/.shadow/\(Host.alice)/mount", mode: 0o700)
        for command in ["mount bob", "mount bob --vault plain", "create bob --vault plain"] {
          let outcome = try host.script("cryptohome \(command)")
          #expect(outcome.status == 1 && outcome.complaints.count == 1, "\(outcome)")
          #expect(outcome.complains(of: Self.path, "is gone", "backup"), "\(outcome)")
          #expect(!exists(Self.path))
        }
        // A known hash needs no salt.
        try host.succeed("cryptohome", "mount", Host.alice, "--owner", "9:9")
        try host.succeed("cryptohome", "unmount", Host.alice)
        _ = try host.script("rm -r /home/.shadow/\(Host.alice)")
        let hash = try host.succeed("cryptohome", "sanitize", "alice").lines
        #expect(attributes(Self.path) == "file 0:0 644")
        let size = try host.script("wc -c <\(Self.path)").output
        #expect(size == "16\n", "\(size)")
        #expect(try host.succeed("cryptohome", "sanitize", "alice").lines == hash, "and kept")
      }
    }
  }

  /// The copy beside the vaults: every bad state has one line with the command that ends it.
  @Test(arguments: ["gone", "cut", "another"])
  func lostSaltIsRestoredByTheCommandThatIsNamed(loss: String) async {
    await #expect(processExitsWith: .success) { [loss] in
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.createWithKeyFile("alice")
        #expect(attributes("/home/.shadow/salt.copy") == "file 0:0 600")
        let before = try names(in: "/home/.shadow")
        switch loss {
        case "gone": try remove(Self.path)
        case "cut": try writeFile(Self.path, "012")
        default: try writeFile(Self.path, "fedcba9876543210")
        }
        let restore = "install -m 644 /home/.shadow/salt.copy \(Self.path)"
        for command in ["create", "mount", "unmount", "sanitize", "status", "key list", "remove"] {
          let options = command == "create" ? " --key-file /mnt/key" : ""
          let outcome = try host.script("cryptohome \(command) alice\(options) </dev/null")
          let isAsked = command == "remove"  // --yes is missing, and that is said first
          #expect(outcome.status == 1 && outcome.complaints.count == 1, "\(outcome)")
          #expect(isAsked || outcome.complains(of: Self.path, restore), "\(outcome)")
        }
        #expect(try names(in: "/home/.shadow") == before, "no second vault")
        let doctor = try host.run("daemon-store", "doctor")
        #expect(doctor.status == 3 && doctor.output.contains("fix: \(restore)"), "\(doctor)")
        #expect(!doctor.output.contains("away"), "\(doctor)")
        #expect(try host.script(restore).status == 0)
        #expect(try host.run("daemon-store", "doctor").status == 0)
        try host.unlockWithKeyFile("alice")
      }
    }
  }
}
