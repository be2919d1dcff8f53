import Glibc
import TestSupport
import Testing

/// Another process has what a command needs, and keeps it: the command ends in time, and names the
/// process or what is being waited for.
@Suite(.needsRoot, .serialized) struct LockDeadlineTests {
  private static let lock = "/run/cryptohome/\(Host.alice).lock"

  /// Takes a lock file and keeps it.
  private static func hold(_ path: String, _ host: Host) throws -> pid_t {
    try host.helpers.start(
      "flock", "--no-fork", path, "sh", "-c", "echo held; exec sleep 1000")
  }

  /// Takes a lock file as a process does that tries a password: it computes all the time.
  private static func compute(with path: String, _ host: Host) throws -> pid_t {
    try host.helpers.start(
      "flock", "--no-fork", path, "python3", "-IS", "-c",
      "import time\nprint('held', flush=True)\nwhile True: sum(range(100000)); time.sleep(0.03)")
  }

  /// A command beside the test, and what it says on standard error.
  private struct Waiting {
    private let process: Launched
    private let errors: String

    init(_ words: String..., password: String = "") throws {
      errors = "/run/errors.\(words.joined(separator: "-"))"
      process = try Launched(
        "sh",
        [
          "-c", "echo \"$0\" | /mnt/programs/\(words.joined(separator: " ")) 2>'\(errors)'",
          password,
        ])
    }

    /// Waits for its end, which comes after a minute at most; its status, and what it has complained of.
    func end() throws -> (status: CInt, text: String) {
      _ = eventually(within: 100) { !process.isRunning }
      return (try process.finish(), try readFile(errors))
    }
  }

  @Test func bootNamesTheHolderOfTheStores() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        let holder = try Self.hold("/run/daemon-store/.lock", host)
        try host.refuse(
          ["/run/daemon-store/.lock: is held by sleep (pid \(holder)) of root, which is still"],
          "daemon-store", "startup")
        try host.helpers.stop(holder)
        try host.succeed("daemon-store", "startup")
      }
    }
  }

  /// A logout and a shutdown, at the same time. What does not need the lock is done.
  @Test func logoutNamesTheHolderOfItsUser() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice", "carol")
        let holder = try Self.hold(Self.lock, host)
        let waiting = [
          try Waiting("cryptohome", "unmount", "alice"), try Waiting("daemon-store", "shutdown"),
        ]
        let isDone = try eventually {
          try host.table().at("/run/daemon-store/alpha/\(Host.carol)").isEmpty
        }
        #expect(isDone)
        for (command, status) in zip(waiting, [1, 3] as [CInt]) {
          let outcome = try command.end()
          #expect(
            outcome.status == status
              && outcome.text.contains("\(Self.lock): is held by sleep (pid \(holder)) of root"),
            "\(outcome)")
        }
        #expect(try host.table().at("/run/daemon-store/alpha/\(Host.alice)").count == 1)
        try host.helpers.stop(holder)
        try host.logout("alice")
      }
    }
  }

  /// Two passwords of all users are tried at a time, and beside them one for root.
  @Test func rootTriesAPasswordBesideTwoOthers() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        let holders = try [1, 2].map {
          try Self.compute(with: "/run/cryptohome/derive.\($0)", machine.host)
        }
        // A login waits for half a minute, and is told why it goes on without the vault.
        let login = try Dialogue(
          "nsenter",
          machine.words(["pamtester", "login", "alice", "authenticate", "open_session"]))
        try login.tell(PamMachine.password)
        let mounted = try machine.run(
          "/mnt/programs/cryptohome", "mount", "bob", stdin: PamMachine.password)
        #expect(mounted.status == 0, "\(mounted)")
        #expect(try login.end() == 0, "\(login.text)")
        #expect(
          login.text.contains("passwords of other users have been tried for 30 seconds"),
          "\(login.text)")
        #expect(try machine.mounts(of: Host.alice).isEmpty)

        // With one place free it takes that.
        try machine.host.helpers.stop(holders[1])
        let next = try machine.login("alice")
        #expect(try !machine.mounts(of: Host.alice).isEmpty)
        try next.logout()
        // Without root's place, root waits as all others.
        let more = try ["derive.2", "derive.root"].map {
          try Self.compute(with: "/run/cryptohome/\($0)", machine.host)
        }
        let refused = try machine.run(
          "/mnt/programs/cryptohome", "mount", "alice", stdin: PamMachine.password)
        #expect(
          refused.status == 1 && refused.complains(of: "of other users", "30 seconds"),
          "\(refused)")
        for holder in more + [holders[0]] { try machine.host.helpers.stop(holder) }
      }
    }
  }

  /// Of one user, one password is tried at a time, and no place of others is taken meanwhile.
  @Test func passwordsOfOneUserAreTriedOneByOne() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        for user in ["alice", "bob"] { try host.create(user) }
        let holder = try Self.compute(with: "/run/cryptohome/derive.\(Host.alice)", host)
        let waiting = try Waiting("cryptohome", "mount", "alice", password: "secret")
        try host.unlock("bob")
        #expect(try names(in: "/run/cryptohome").filter { $0.hasPrefix("derive.") }.count == 1)
        let outcome = try waiting.end()
        #expect(
          outcome.status == 1
            && outcome.text.contains("passwords of this user have been tried for 30 seconds"),
          "\(outcome)")
        try host.helpers.stop(holder)
        try host.unlock("alice")
      }
    }
  }
}
