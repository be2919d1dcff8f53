import Glibc
import TestSupport
import Testing

/// A kill at every operation on files: the old state or the new one, never neither.
@Suite(.needsRoot) struct VaultCrashTests {
  /// What changes files, and what makes that last.
  private static let operations =
    "mkdirat,openat2,write,fsync,renameat,renameat2,unlinkat,ioctl,fchmod,fchmodat,fchownat"

  /// Runs `cryptohome` with `arguments` again and again, killed at another operation each time, until
  /// one run ends by itself. `body` looks at what each one leaves.
  ///
  /// - Returns: how many were killed.
  private static func killEverywhere(
    _ host: Host, _ arguments: String, lines: [String], _ body: (_ wasKilled: Bool) throws -> Void
  ) throws -> Int {
    for count in 1...200 {
      let outcome = try run(
        "/usr/bin/strace",
        [
          "-qq", "-o", "/dev/null", "-e", "trace=\(operations)", "-e",
          "inject=\(operations):signal=KILL:when=\(count)", "/mnt/programs/cryptohome",
        ] + arguments.split(separator: " ").map(String.init),
        stdin: lines.map { $0 + "\n" }.joined())
      let wasKilled = outcome.status == -SIGKILL || outcome.status == 128 + SIGKILL
      guard wasKilled || outcome.status == 0 else { throw Problem("\(outcome)") }
      try body(wasKilled)
      if !wasKilled { return count - 1 }
    }
    throw Problem("\(arguments): more than 200 operations")
  }

  @Test func create() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        var isMade = false
        let killed = try Self.killEverywhere(host, "create alice", lines: ["secret"]) { wasKilled in
          let status = try host.succeed("cryptohome", "status", "alice").output
          isMade = status.contains("fscrypt, locked")
          #expect(isMade || status.contains("no vault"), "\(status)")
          #expect(wasKilled || isMade)
          guard isMade else { return }
          try host.unlock("alice")
          try host.logout("alice")
          try host.succeed("cryptohome", "remove", "alice", "--yes")
          #expect(try host.script("ls -A /home/.shadow").lines.isEmpty)
        }
        #expect(killed > 12, "\(killed)")
      }
    }
  }

  @Test(arguments: ["passwd alice", "key add alice --label other"])
  func change(arguments: String) async {
    await #expect(processExitsWith: .success) { [arguments] in
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice", "old")
        let file = "/home/.shadow/\(Host.alice)/vault.json"
        let before = try readFile(file)
        var changes = 0
        let killed = try Self.killEverywhere(host, arguments, lines: ["old", "new"]) { wasKilled in
          let after = try readFile(file)
          let isChanged = after != before
          #expect(wasKilled || isChanged)
          #expect(attributes(file) == "file 0:0 600")
          guard isChanged else { return }
          changes += 1
          try host.unlock("alice", "new")
          try host.logout("alice")
          if arguments.hasPrefix("passwd") { try host.unlock("alice", "old", status: 1) }
          // The next run begins with the old state again.
          try writeFile(file, before, mode: 0o600)
        }
        #expect(killed > 6 && changes > 1, "\(killed), \(changes)")
        let list = try host.script("ls -A /home/.shadow/\(Host.alice)")
        #expect(list.lines == ["mount", "vault.json"], "\(list)")
      }
    }
  }

  @Test func remove() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.createWithKeyFile("alice")
        var interrupted = 0
        let killed = try Self.killEverywhere(host, "remove alice --yes", lines: []) { wasKilled in
          let list = try host.vaults()
          guard wasKilled else { return #expect(list.isEmpty, "\(list)") }
          let status = try host.succeed("cryptohome", "status", "alice")
          if status.output.contains("removing") {
            interrupted += 1
            let doctor = try host.run("daemon-store", "doctor", "--json")
            #expect(doctor.output.contains("removal-unfinished"), "\(doctor)")
            try host.unlockWithKeyFile("alice", status: 1)
            // The same command finishes it.
            try host.succeed("cryptohome", "remove", "alice", "--yes")
            #expect(try host.script("ls -A /home/.shadow").lines.isEmpty)
          } else if !list.isEmpty {
            // Nothing was destroyed.
            try host.unlockWithKeyFile("alice")
            try host.logout("alice")
          }
          if try host.vaults().isEmpty { _ = try host.createWithKeyFile("alice") }
        }
        #expect(killed > 6 && interrupted > 3, "\(killed), \(interrupted)")
      }
    }
  }

  /// Of a plain vault, and of files that a making anew must not leave beside it.
  @Test func removePlain() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        func make() throws {
          try host.login("alice")
          for name in ["a", "b"] { try writeFile("/home/user/\(Host.alice)/\(name)", "text") }
          try host.logout("alice")
        }
        try make()
        var interrupted = 0
        let killed = try Self.killEverywhere(host, "remove alice --yes", lines: []) { wasKilled in
          guard wasKilled else { return }
          let status = try host.succeed("cryptohome", "status", "alice").output
          if status.contains("removing") {
            interrupted += 1
            // Alternately: the same command, or a new vault.
            if interrupted.isMultiple(of: 2) {
              try host.succeed("cryptohome", "remove", "alice", "--yes")
              #expect(try names(in: "/home/.shadow").isEmpty)
            } else {
              try host.refuse(["cryptohome remove"], "cryptohome", "mount", "alice")
            }
          }
          try make()
          #expect(try names(in: "/home/.shadow") == [Host.alice])
        }
        #expect(killed > 6 && interrupted > 3, "\(killed), \(interrupted)")
        #expect(try names(in: "/home/.shadow").isEmpty)
      }
    }
  }
}
