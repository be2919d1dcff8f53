import CDaemonStoreLinux
import DaemonStoreKernel
import Glibc
import TestSupport
import Testing

/// Commands about one user that run at the same time.
@Suite(.needsRoot) struct OverlapTests {
  private static let mount = ["mount", "alice", "--key-file", "/mnt/key"]

  private static func start(_ arguments: [String]) throws -> Dialogue {
    try Dialogue("/mnt/programs/cryptohome", arguments)
  }

  /// The vault is open when the login looks at it first, and locked when it gets the lock.
  @Test func loginThatWaitsForALogoutOpensTheVaultAgain() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.createWithKeyFile("alice")
        try host.unlockWithKeyFile("alice")
        let logout = try Dialogue(
          "strace",
          [
            "-o", "/mnt/trace", "-e", "trace=umount2", "-e", "inject=umount2:signal=STOP:when=1",
            "/mnt/programs/cryptohome", "unmount", "alice",
          ])
        let isStopped = try eventually {
          try exists("/mnt/trace")
            && readFile("/mnt/trace").contains("--- stopped by SIGSTOP ---")
        }
        #expect(isStopped)
        let children = "/proc/\(logout.process)/task/\(logout.process)/children"
        let stopped = try #require(pid_t(readFile(children).split(separator: " ").first ?? ""))

        let login = try Self.start(Self.mount)
        let lock: FilePath = "/run/cryptohome/\(Host.alice).lock"
        let isWaiting = try eventually {
          let files = try Directory(opening: "/proc/\(login.process)/fd")
          return try files.names().contains { (try? files.target(ofLink: $0)) == lock }
        }
        #expect(isWaiting, "\(login.text)")
        try check("kill", nil, kill(stopped, SIGCONT))
        let ends = (try logout.end(), try login.end())
        #expect(ends == (0, 0), "\(logout.text)\(login.text)")
        try host.expectMounted(Host.alice, in: ["alpha"])
        #expect(try host.keyState(of: Host.alice) == "present")
      }
    }
  }

  /// The same with both started at once, whichever is first.
  @Test func everyLoginBesideALogoutSucceeds() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.createWithKeyFile("alice")
        let rounds = 60
        var failures: [String] = []
        for round in 1...rounds {
          try host.unlockWithKeyFile("alice")
          let commands = [["unmount", "alice"], Self.mount]
          let order = round.isMultiple(of: 2) ? commands : commands.reversed()
          let running = try order.map { try Self.start($0) }
          for command in running where try command.end() != 0 { failures.append(command.text) }
        }
        #expect(failures.isEmpty, "\(failures.count) of \(rounds): \(failures)")
      }
    }
  }

  /// Each change is made to what the one before has left: none is lost, and none is refused.
  @Test func keysThatAreAddedAtTheSameTimeAreAllThere() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        _ = try host.createWithKeyFile("alice")
        let labels = (1...6).map { "key\($0)" }
        let running = try labels.map { label in
          _ = try host.script("head -c 32 /dev/urandom >/mnt/\(label)")
          return try Self.start([
            "key", "add", "alice", "--label", label, "--raw-key", "/mnt/\(label)", "--key-file",
            "/mnt/key",
          ])
        }
        for command in running { #expect(try command.end() == 0, "\(command.text)") }
        let list = try host.succeed("cryptohome", "key", "list", "alice")
        let found = list.lines.map { String($0.prefix { $0 != " " }) }.sorted()
        #expect(found == ["key-file"] + labels, "\(list)")
      }
    }
  }

  /// What lasts until it is unmounted is recorded after the mounts. Where that cannot be, nothing is mounted.
  @Test func loginThatCannotBeRecordedMountsNothing() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        func mount() throws -> Outcome {
          try machine.run(
            "/mnt/programs/cryptohome", "mount", "alice", stdin: PamMachine.password)
        }
        let records = "/run/cryptohome/sessions"
        try writeFile(records, "")
        let refused = try mount()
        #expect(refused.status == 1 && refused.complains(of: records), "\(refused)")
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        #expect(try machine.host.keyState(of: Host.alice) == "absent")
        try remove(records)
        let mounted = try mount()
        #expect(mounted.status == 0, "\(mounted)")
        #expect(try !machine.mounts(of: Host.alice).isEmpty)
      }
    }
  }
}

/// How often a command opens what it decides by: each time is a moment at which the answer can differ.
@Suite(.needsRoot) struct RepeatedReadingTests {
  /// The system calls of one run that open `names`, in this order.
  private static func count(
    _ names: [String], in host: Host, _ arguments: [String]
  ) throws -> [Int] {
    let outcome = try TestSupport.run(
      "strace",
      ["-f", "-qq", "-o", "/mnt/trace", "-e", "trace=open,openat,openat2,open_tree"]
        + ["/mnt/programs/cryptohome"] + arguments)
    #expect(outcome.status == 0, "\(outcome)")
    let lines = try readFile("/mnt/trace").split(separator: "\n")
    return names.map { name in lines.count { $0.contains("\"\(name)\"") } }
  }

  @Test func loginAndLogoutReadTheVaultFileOnce() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.createWithKeyFile("alice")
        // The first login records the day.
        try host.unlockWithKeyFile("alice")
        try host.logout("alice")
        let login = ["mount", "alice", "--key-file", "/mnt/key"]
        // To know that a key is needed, to try it, and under the lock.
        #expect(try Self.count(["vault.json"], in: host, login) == [3])
        // Open and mounted: before the lock and under it.
        #expect(try Self.count(["vault.json"], in: host, login) == [2])
        #expect(try Self.count(["vault.json"], in: host, ["unmount", "alice"]) == [1])
      }
    }
  }
}
