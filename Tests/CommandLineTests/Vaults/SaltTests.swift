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

  @Test func olderPlaceCountsFirst() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try makeDirectory("/home/.shadow", mode: 0o700)
        try writeFile(Self.legacy, Host.salt)
        try writeFile(Self.path, "another salt")
        #expect(try host.succeed("cryptohome", "sanitize", "alice").output == Host.alice + "\n")
        try remove(Self.path)
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

  @Test(arguments: ["empty", "oversized", "directory", "link"])
  func oneThatCannotBeUsedIsNeverReplaced(kind: String) async {
    await #expect(processExitsWith: .success) { [kind] in
      for place in [Self.path, Self.legacy] {
        inHost(.shared) { host in
          try host.template("alpha")
          try makeDirectory("/home/.shadow", mode: 0o700)
          if place == Self.path { try remove(Self.path) }
          switch kind {
          case "empty": try writeFile(place, "")
          case "oversized": try writeFile(place, [UInt8](repeating: 1, count: (1 << 20) + 1))
          case "directory": try makeDirectory(place)
          default: try makeLink(place, to: "/etc/passwd")
          }
          let before = attributes(place)
          let startup = try host.run("daemon-store", "startup")
          #expect(startup.status == 3 && startup.complains(of: place), "\(startup)")
          _ = try host.mount(at: "/run/daemon-store/alpha")
          let table = try host.table()
          try host.refuse([place], "cryptohome", "mount", "alice", "--vault", "plain")
          try host.refuse([place], "cryptohome", "sanitize", "alice")
          try host.refuse([place], "cryptohome", "unmount", "alice")
          #expect(try host.table() == table)
          #expect(attributes(place) == before)
          #expect(try names(in: "/home/.shadow") == (place == Self.legacy ? ["salt"] : []))
        }
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

  @Test func absentIsMadeOnlyOnANewSystem() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try remove(Self.path)
        try host.refuse([Self.path, "no salt"], "cryptohome", "sanitize", "alice")
        #expect(!exists(Self.path), "asking makes none")
        try host.refuse([Self.path, "no salt"], "cryptohome", "unmount", "alice")
        try makeDirectory("/home/.shadow/\(Host.alice)/mount", mode: 0o700)
        for arguments in [["cryptohome", "mount", "bob"], ["daemon-store", "startup"]] {
          let outcome = try host.script(arguments.joined(separator: " "))
          #expect(outcome.status != 0, "\(outcome)")
          #expect(outcome.complains(of: Self.path, "backup"), "\(outcome)")
          #expect(!exists(Self.path))
        }
        // A known hash needs no salt.
        try host.succeed("cryptohome", "mount", Host.alice, "--owner", "9:9")
        try host.succeed("cryptohome", "unmount", Host.alice)
        _ = try host.script("rm -r /home/.shadow/\(Host.alice)")
        try host.succeed("daemon-store", "startup")
        #expect(attributes(Self.path) == "file 0:0 644")
        let size = try host.script("wc -c <\(Self.path)").output
        #expect(size == "16\n", "\(size)")
        let salt = try host.script("sha1sum \(Self.path)").output
        try host.succeed("daemon-store", "startup")
        #expect(try host.script("sha1sum \(Self.path)").output == salt, "and kept")
      }
    }
  }
}
