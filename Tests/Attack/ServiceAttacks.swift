import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// What one user, or a part of the system that does not answer, can do to all others by way of
/// cryptohomed.
@Suite(.needsRoot) struct ServiceAttacks {
  private static let control: FilePath = "/run/cryptohome/control"

  private static func isListening() -> Bool {
    let connection = linux_connect_packets(control.cString)
    if connection >= 0 { close(connection) }
    return connection >= 0
  }

  /// Waits for the first packet that comes in time.
  private static func reply(_ socket: borrowing PacketSocket) throws -> String? {
    let packet = try socket.receive(atMost: 1 << 16, until: .now + .seconds(15))
    return packet.map { String(decoding: $0.bytes, as: UTF8.self) }
  }

  private static func words(_ words: String...) -> [UInt8] {
    words.flatMap { Array($0.utf8) + [0] }
  }

  /// Whether root is answered, whatever else there is.
  private static func isRootServed() throws -> Bool {
    let socket = try PacketSocket(connectingTo: control)
    let pipe = try Pipe()
    try socket.send(words("announce", Host.alice), [pipe.reading.number])
    let answer = try reply(socket)
    return answer == "taken"
  }

  /// Connects so often, or until that is refused.
  private static func connect(_ times: Int) -> [CInt] {
    var connections: [CInt] = []
    for _ in 0..<times {
      let connection = linux_connect_packets(control.cString)
      if connection < 0 { break }
      connections.append(connection)
    }
    return connections
  }

  /// Asks for a session of alice's, waits until the request is taken, and goes on with `body`.
  private static func request(
    of leader: CInt, then body: (borrowing PacketSocket) throws -> Void
  ) throws {
    let socket = try PacketSocket(connectingTo: control)
    let null = try Descriptor(opening: "/dev/null", flags: O_RDONLY)
    try socket.send(words("open", "0123456789abcdef", "alice"), [null.number, leader])
    let answer = try reply(socket)
    #expect(answer == "taken")
    try body(socket)
  }

  @Test(.tags(.attack)) func logoutThatHangsKeepsNoOtherVaultOpen() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        try machine.succeed("mount", "bob", "--vault", "plain")
        try machine.succeed("unmount", "bob")
        let service = try machine.startService()
        let (alice, bob) = (try machine.login("alice"), try machine.login("bob"))
        let holder = try machine.host.helpers.start(
          "nsenter",
          machine.words([
            "flock", "--close", "/run/cryptohome/\(Host.alice).lock", "sh", "-c",
            "echo held; exec sleep 1000",
          ]))
        alice.kill()
        let isAtWork = try eventually { try !machine.processes(with: ["pam"]).isEmpty }
        #expect(isAtWork)
        bob.kill()
        let isLocked = try eventually { try machine.mounts(of: Host.bob).isEmpty }
        #expect(isLocked)
        #expect(try machine.mounts(of: Host.alice).count == 4)
        try machine.host.helpers.stop(holder)
        let isOver = try eventually { try machine.mounts(of: Host.alice).isEmpty }
        #expect(isOver)
        service.kill()
      }
    }
  }

  /// What the helper has started keeps its messages open, and is not waited for.
  @Test(.tags(.attack)) func processLeftByHelperDelaysNoLogin() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        try writeFile("/run/slow", "#!/bin/sh\nsleep 1000 &\necho said >&2\nexit 1\n", mode: 0o755)
        try PamMachine.write(service: "login", with: "cryptohome=/run/slow")
        let login = try machine.login("alice")
        #expect(login.text.contains("said"), "\(login.text)")
        login.kill()
      }
    }
  }

  /// A helper that does not end is killed after three minutes, and the login goes on.
  @Test(.tags(.attack)) func helperThatDoesNotEndIsKilled() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        try writeFile("/run/slow", "#!/bin/sh\nexec sleep 1000\n", mode: 0o755)
        try PamMachine.write(service: "login", with: "cryptohome=/run/slow")
        let words = ["pamtester", "login", "alice", "authenticate", "open_session"]
        let output = "/run/output"
        let login = try Launched(
          "nsenter",
          machine.words(
            ["sh", "-c", "echo \"$0\" | \"$@\" 2>&1", PamMachine.password] + words),
          output: output)
        let hasEnded = eventually(within: 240) { !login.isRunning }
        #expect(hasEnded)
        let text = try readFile(output)
        #expect(
          text.contains("cryptohome could not be run")
            && text.contains("successfully opened a session"), "\(text)")
        #expect(try machine.processes(with: ["sleep"]).isEmpty)
      }
    }
  }

  /// Messages of four and a half thousand bytes arrive whole.
  @Test func longAnswerIsNotCut() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        let script = """
          #!/bin/sh
          i=0
          while [ $i -lt 100 ]; do echo "line $i of one hundred, and some more of it" >&2; i=$((i + 1)); done
          exit 1
          """
        try writeFile("/run/talks", script + "\n", mode: 0o755)
        try PamMachine.write(service: "login", with: "cryptohome=/run/talks")
        let login = try machine.login("alice")
        #expect(login.text.contains("line 99 of one hundred, and some more of it"))
        login.kill()
      }
    }
  }

  /// A service whose queue is full is there: its daemons are told.
  @Test(.tags(.attack)) func fullQueueIsNotTakenForAbsence() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService("--delay", "100ms")
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        let daemon = try machine.client("delay", "alpha", "mine")
        try daemon.wait(for: "done")
        kill(service.process, SIGSTOP)
        let crowd = Self.connect(10_000)
        #expect(crowd.count > 10 && crowd.count < 10_000)
        let unmount = try Launched(
          "nsenter",
          BusMachine.words(
            machine.first,
            ["sh", "-c", "exec /mnt/programs/cryptohome unmount alice 2>/run/unmount.log"]))
        let isWaiting = eventually {
          let place = (try? readFile("/proc/\(unmount.process)/wchan")) ?? ""
          return !unmount.isRunning || place.contains("nanosleep")
        }
        #expect(isWaiting && unmount.isRunning)
        for connection in crowd { close(connection) }
        kill(service.process, SIGCONT)
        #expect(try unmount.finish() == 0)
        let complaints = try readFile("/run/unmount.log")
        #expect(
          complaints.contains("not waiting any longer for the store alpha: mine"), "\(complaints)")
        service.kill()
      }
    }
  }

  /// A bus that takes connections and does not answer.
  @Test(.tags(.attack)) func stoppedBusDelaysNoRoot() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        kill(machine.bus.process, SIGSTOP)
        let service = try Launched(
          "nsenter", BusMachine.words(machine.first, ["/mnt/programs/cryptohomed"]))
        #expect(eventually { Self.isListening() })
        #expect(try Self.isRootServed())
        kill(machine.bus.process, SIGCONT)
        let outcome = try machine.run(
          ["gdbus", "wait", "--system", "--timeout", "30", "org.chromium.UserDataAuth"])
        #expect(outcome.status == 0, "\(outcome)")
        try machine.expect("(@a(sbas) [],)", from: "Manager1.List", as: "carol")
        service.kill()
      }
    }
  }

  /// The names of accounts and groups come from a pipe that has nothing in it.
  @Test(.tags(.attack)) func directoryServiceThatHangsDelaysNoRoot() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        let alice = try machine.client("later", "alice", as: "alice")
        try alice.wait(for: "connected")
        try check("mkfifo", nil, mkfifo("/etc/pipe", 0o644))
        try check("rename", nil, rename("/etc/group", "/etc/group.old"))
        try check("rename", nil, rename("/etc/pipe", "/etc/group"))
        try alice.tell("call")
        try alice.wait(for: "called")
        // It has come to the service when that has asked the bus whose call it is.
        let isLookedUp = try eventually {
          try !commandLines(of: machine.first).filter { $0.words.contains("account") }.isEmpty
        }
        #expect(isLookedUp)
        #expect(try Self.isRootServed())
        try alice.wait(for: "could not be looked up in time")
        service.kill()
      }
    }
  }

  /// Without a free descriptor it turns callers away, does not spin, and goes on afterwards.
  @Test(.tags(.attack)) func lackOfDescriptorsEndsByItself() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try Launched(
          "nsenter",
          BusMachine.words(
            machine.first,
            [
              "prlimit", "--nofile=40", "sh", "-c",
              "exec /mnt/programs/cryptohomed 2>>/run/service.log",
            ]))
        #expect(eventually { Self.isListening() })
        let crowd = Self.connect(50)
        #expect(eventually { machine.log.contains("Too many open files") })
        // Each has five seconds for its request.
        let isServed = eventually { (try? Self.isRootServed()) == true }
        #expect(isServed && service.isRunning)
        let lines = machine.log.split(separator: "\n").count
        #expect(lines < 50, "\(lines)")
        for connection in crowd { close(connection) }
        service.kill()
      }
    }
  }

  /// A client that has given up does the work itself: the service does not do it too.
  @Test(.tags(.attack)) func workBeginsWhenTheClientWaits() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        let service = try machine.startService()
        let leader = try machine.host.helpers.start(
          "nsenter", machine.words(["sh", "-c", "echo there; exec sleep 1000"]))
        let handle = try Descriptor(process: leader)
        try Self.request(of: handle.number) { _ in }
        // Its turn would have come before that of the next.
        let login = try machine.login("alice")
        #expect(machine.records(of: Host.alice) == [try login.leaderName(), "unmount"])
        try login.logout()
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        try Self.request(of: handle.number) { socket in
          try socket.send(Array("go".utf8))
          let answer = try Self.reply(socket)
          #expect(answer == "0\n")
        }
        #expect(try machine.mounts(of: Host.alice).count == 4)
        service.kill()
      }
    }
  }

  /// A parent that ignores SIGCHLD has the kernel throw the ends of children away.
  @Test func endsOfChildrenAreNoticedThoughTheParentIgnoredThem() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        let start = """
          import os, signal
          signal.signal(signal.SIGCHLD, signal.SIG_IGN)
          os.execv("/mnt/programs/cryptohomed", ["cryptohomed"])
          """
        let service = try Launched("nsenter", machine.words(["python3", "-c", start]))
        #expect(eventually { Self.isListening() })
        try machine.login("alice").logout()
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        service.kill()
      }
    }
  }

  /// The user is told what is wrong with a password.
  @Test(arguments: ["correct\nhorse", String(repeating: "x", count: 5000)])
  func passwordThatNoVaultCanHaveIsNamed(password: String) async {
    await #expect(processExitsWith: .success) { [password] in
      inEncryptedPamMachine { machine in
        try writeFile(
          "/etc/pam.d/login",
          try readFile("/etc/pam.d/login").replacing(
            "auth [success=1 default=ignore] pam_unix.so\nauth requisite pam_deny.so",
            with: "auth optional pam_unix.so"))
        let client = try PamClient(machine, password: password)
        try client.tell("open alice")
        #expect(
          client.text.contains(
            "your daemon-store vault stays locked: the password "
              + (password.utf8.count > 4096 ? "is longer than" : "has a line end")),
          "\(client.text)")
        #expect(!client.text.contains("could not be run"))
        // A user without a vault has no use for it.
        try client.tell("open carol")
        #expect(client.text.ranges(of: "stays locked").count == 1, "\(client.text)")
      }
    }
  }

  /// A caller on the bus is told what is so, and not what to type.
  @Test func errorsOnTheBusNameNoCommand() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        let outcome = try machine.call("Manager1.Mount", "alice", "0", "{}", as: "alice")
        #expect(
          outcome.status == 1 && outcome.errors.contains("has no vault")
            && !outcome.errors.contains("cryptohome create"), "\(outcome)")
        service.kill()
      }
    }
  }
}
