import CDaemonStoreLinux
import DaemonStoreKernel
import Glibc
import TestSupport
import Testing

/// S16: the command of one user is stopped at any of its calls that locks, makes, clones or mounts
/// something. Commands of other users and the boot go on.
@Suite(.needsRoot) struct StoppedLoginTests {
  /// A command of alice's, and a system call that it makes several times.
  struct Moment: Codable, Sendable {
    let command: String
    let call: String
  }

  private static let moments =
    ["flock", "mkdirat", "open_tree", "move_mount"].map { Moment(command: "mount", call: $0) }
    + ["flock", "umount2", "unlinkat"].map { Moment(command: "unmount", call: $0) }

  @Test(.tags(.attack), arguments: moments)
  func delaysNoOtherUser(moment: Moment) async {
    await #expect(processExitsWith: .success) { [moment] in
      inHost(.shared) { host in
        try host.boot("alpha", "beta")
        for user in ["alice", "carol"] {
          try host.login(user)
          try host.logout(user)
        }
        var times = 0
        for time in 1...60 {
          if moment.command == "unmount" { try host.login("alice") }
          guard let stopped = try Stopped(moment, time) else { break }
          times += 1
          // The boot first: a store that is in order stays as it is.
          let startup = try host.run("daemon-store", "startup")
          #expect(startup.status == 0, "\(moment) \(time): \(startup)")
          try host.login("carol")
          try host.expectMounted(Host.carol, in: ["alpha", "beta"])
          try host.logout("carol")
          try host.expectGone(Host.carol, from: ["alpha", "beta"])
          // What was stopped has lost nothing by it.
          let (status, text) = try stopped.resume()
          #expect(status == 0, "\(moment) \(time): \(text)")
          if moment.command == "mount" {
            try host.expectMounted(Host.alice, in: ["alpha", "beta"])
            try host.logout("alice")
          }
          try host.expectGone(Host.alice, from: ["alpha", "beta"])
        }
        #expect(times > 0, "\(moment)")
      }
    }
  }

  /// The control: a process that holds the lock of the stores delays what changes stores, and names
  /// itself by it. A login that finds its stores in order needs no such lock.
  @Test(.tags(.attack)) func lockOfTheStoresDelaysOnlyWhatChangesThem() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha", "beta")
        let path = "/run/daemon-store/.lock"
        let holder = try host.helpers.start(
          "flock", "--no-fork", path, "sh", "-c", "echo held; exec sleep 1000")
        try host.refuse(
          ["\(path): is held by sleep (pid \(holder)) of root"], "daemon-store", "startup")
        try host.login("alice")
        try host.expectMounted(Host.alice, in: ["alpha", "beta"])
        try host.logout("alice")

        // One that finds a store missing goes without that one.
        try unmountFilesystem("/run/daemon-store/beta")
        try host.refuse(
          status: 3, ["\(path): is held by sleep"], "cryptohome", "mount", "alice", "--vault",
          "plain")
        #expect(try host.table().at("/run/daemon-store/alpha/\(Host.alice)").count == 1)
        #expect(!exists("/run/daemon-store/beta/\(Host.alice)"))
        try host.helpers.stop(holder)
        try host.login("carol")
        try host.login("alice")
        try host.expectMounted(Host.alice, in: ["alpha", "beta"])
      }
    }
  }

  /// The store goes while a login is about to attach a folder to it. The login reports that, and leaves
  /// nothing on bare `/run`.
  @Test(.tags(.attack), arguments: ["open_tree", "move_mount"])
  func attachesNothingToAStoreThatIsGone(call: String) async {
    await #expect(processExitsWith: .success) { [call] in
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        try host.logout("alice")
        var times = 0
        for time in 1...60 {
          guard let stopped = try Stopped(Moment(command: "mount", call: call), time) else { break }
          try unmountFilesystem("/run/daemon-store/alpha", lazily: true)
          let (_, text) = try stopped.resume()
          let store = "/run/daemon-store/alpha"
          let (stores, folders) = (
            try host.table().at(store), try host.table().at("\(store)/\(Host.alice)")
          )
          // Brought into order before the folder came, or none.
          #expect(folders.count <= stores.count, "\(call) \(time): \(text)")
          times += 1
          try host.succeed("daemon-store", "startup")
          try host.login("alice")
          try host.expectMounted(Host.alice, in: ["alpha"])
          try host.logout("alice")
        }
        #expect(times > 0)
      }
    }
  }

  /// Two users' helpers are stopped while they have the two places for trying passwords. The third
  /// user's password is tried all the same.
  @Test(.tags(.attack)) func stoppedPasswordChecksLeaveTheirPlaces() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        let outcome = try machine.run(
          "/mnt/programs/cryptohome", "create", "carol", stdin: PamMachine.password)
        #expect(outcome.status == 0, "\(outcome)")
        try writeFile(
          "/mnt/stopping",
          """
          #!/bin/sh
          case " $* " in *" alice "*) place=1;; *) place=2;; esac
          exec strace -o /dev/null -P /run/cryptohome/derive.$place -e trace=flock \\
            -e inject=flock:signal=STOP:when=1 \\
            /mnt/programs/cryptohome "$@"

          """, mode: 0o755)
        try PamMachine.write(service: "stopping", cryptohome: "/mnt/stopping")
        var logins: [Dialogue] = []
        for user in ["alice", "bob"] {
          let login = try Dialogue(
            "nsenter",
            machine.words(["pamtester", "stopping", user, "authenticate", "open_session"]))
          try login.tell(PamMachine.password)
          logins.append(login)
          // The second one finds the first place taken.
          let place: FilePath = "derive.\(logins.count)"
          let isStopped = try eventually {
            try exists("/run/cryptohome")
              && FileLock.isHeld(place, in: Directory(opening: "/run/cryptohome"))
          }
          #expect(isStopped, "\(place)")
        }
        let login = try machine.login("carol")
        #expect(!login.text.contains("daemon-store"), "\(login.text)")
        #expect(try !machine.mounts(of: Host.carol).isEmpty)
        try login.logout()
        for process in try machine.processes(with: ["pam", "open"]) { kill(process, SIGKILL) }
        for login in logins { login.kill() }
      }
    }
  }
}

/// A command of alice's that was stopped by a system call.
private struct Stopped {
  private let tracer: Dialogue
  private let process: pid_t

  /// nil when the command makes no so many calls; it has ended then.
  init?(_ moment: StoppedLoginTests.Moment, _ time: Int) throws {
    let trace = "/mnt/trace"
    try? writeFile(trace, "")
    let tracer = try Dialogue(
      "strace",
      [
        "-o", trace, "-e", "trace=\(moment.call)", "-e",
        "inject=\(moment.call):signal=STOP:when=\(time)", "/mnt/programs/cryptohome",
        moment.command, "alice",
      ] + (moment.command == "mount" ? ["--vault", "plain"] : []))
    var process: pid_t = 0
    let isDone = try eventually {
      let text = try readFile(trace)
      if text.contains("+++ exited") { return true }
      let children = "/proc/\(tracer.process)/task/\(tracer.process)/children"
      process = try pid_t(readFile(children).split(separator: " ").first ?? "") ?? 0
      return process > 0 && text.contains("--- stopped by SIGSTOP ---")
    }
    guard isDone else { throw Problem("\(moment) \(time): neither stopped nor ended") }
    self.tracer = tracer
    self.process = process
    if try readFile(trace).contains("+++ exited") {
      let status = try tracer.end()
      guard status == 0 else { throw Problem("\(moment) \(time): \(tracer.text)") }
      return nil
    }
  }

  func resume() throws -> (status: CInt, text: String) {
    try check("kill", nil, kill(process, SIGCONT))
    return (try tracer.end(), tracer.text)
  }
}
