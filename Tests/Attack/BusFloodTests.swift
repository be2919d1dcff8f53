import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// What one user can do to cryptohomed from the bus.
@Suite(.needsRoot) struct BusFloodTests {
  private static func status(_ name: String, of process: pid_t) throws -> Int {
    let lines = try readFile("/proc/\(process)/status").split(separator: "\n")
    guard let line = lines.first(where: { $0.hasPrefix("\(name):") }),
      let number = Int(line.dropFirst(name.count + 1).filter(\.isNumber))
    else { throw Problem("no \(name)") }
    return number
  }

  private static func descriptors(of process: pid_t) throws -> Int {
    try names(in: "/proc/\(process)/fd").count
  }

  /// Starts a process that looks at another until SIGUSR1, and then writes to `/run/most` the most descriptors
  /// and the most memory that it has had meanwhile, and how often that was looked at.
  private static func startSampling(_ process: pid_t) throws -> pid_t {
    if let sampler = try fork() { return sampler }
    _ = linux_prctl(1, UInt(SIGKILL), 0, 0)  // PR_SET_PDEATHSIG
    do {
      try sample(process)
      _exit(0)
    } catch {
      _exit(1)
    }
  }

  private static func sample(_ process: pid_t) throws {
    var set = sigset_t()
    sigemptyset(&set)
    sigaddset(&set, SIGUSR1)
    sigprocmask(SIG_BLOCK, &set, nil)
    var most = (descriptors: 0, memory: 0)
    var count = 0
    var pause = timespec(tv_sec: 0, tv_nsec: 1_000_000)
    while sigtimedwait(&set, nil, &pause) != SIGUSR1 {
      most.descriptors = max(most.descriptors, try descriptors(of: process))
      most.memory = max(most.memory, try status("VmRSS", of: process))
      count += 1
    }
    try writeFile("/run/most.new", "\(most.descriptors) \(most.memory) \(count)")
    rename("/run/most.new", "/run/most")
  }

  /// S20, S21: as many connections as the bus gives one user. Root logs users in and out meanwhile, the
  /// service stays small, and another user is answered afterwards.
  @Test(.tags(.attack)) func floodOfOneUserDelaysNoLogoutByRoot() async {
    let seconds = environment("DAEMON_STORE_FLOOD_SECONDS").flatMap(Int.init) ?? 5
    let result = await #expect(
      processExitsWith: .success, observing: [\.standardOutputContent]
    ) { [seconds = seconds as Int] in
      inBusMachine { machine in
        let service = try machine.startService()
        func logInAndOut() throws -> Duration {
          let start = ContinuousClock.now
          try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
          try machine.succeed("cryptohome", "unmount", "alice")
          return ContinuousClock.now - start
        }
        _ = try logInAndOut()
        let alone = try logInAndOut()
        let idle = (
          descriptors: try Self.descriptors(of: service.process),
          memory: try Self.status("VmRSS", of: service.process)
        )
        let sampler = try Self.startSampling(service.process)
        let attacker = try machine.client("flood", "\(seconds)", "256", as: "bob")
        try attacker.wait(for: "flooding")
        let last = ContinuousClock.now + .seconds(seconds)
        var times: [Duration] = []
        while ContinuousClock.now < last { times.append(try logInAndOut()) }
        try attacker.wait(for: "sent ")
        kill(sampler, SIGUSR1)
        let end = try DaemonStoreKernel.wait(for: sampler).end
        #expect(end == .exited(0))
        let numbers = try readFile("/run/most").split(separator: " ").compactMap { Int($0) }
        try #require(numbers.count == 3 && numbers[2] > 10, "\(numbers)")
        let most = (descriptors: numbers[0], memory: numbers[1])
        print(
          "flood: \(times.count) logouts, the slowest \((times.max() ?? alone) / alone) times as "
            + "long as alone; at most \(most.descriptors - idle.descriptors) descriptors and "
            + "\(most.memory - idle.memory) KiB above idle; \(attacker.text.split(separator: "\n"))"
        )
        #expect(service.isRunning && !times.isEmpty)
        #expect(most.descriptors - idle.descriptors <= 64)
        #expect(most.memory - idle.memory <= 32 * 1024)
        try machine.expect("(@a(sbas) [],)", from: "Manager1.List", as: "carol")
        #expect(machine.log == "", "\(machine.log)")
        attacker.kill()
        service.kill()
      }
    }
    let output = String(decoding: result?.standardOutputContent ?? [], as: UTF8.self)
    print(output.split(separator: "\n").filter { $0.utf8.starts(with: "flood: ".utf8) }.joined())
  }

  /// The control: a service that keeps each call until the bus has said whose it is.
  @Test(.tags(.attack)) func floodEndsNaiveService() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.client("naive", "1024")
        try service.wait(for: "named")
        let attacker = try machine.client("flood", "20", "256", as: "bob")
        try attacker.wait(for: "flooding")
        try service.wait(for: "a descriptor is lost")
        attacker.kill()
      }
    }
  }

  /// S23: a limit for a user, and not for a connection.
  @Test(.tags(.attack)) func delaysOfOneUserAreFew() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        // The bus takes no user who has no entry.
        let known = try machine.host.script("echo owner:x:5:60::/:/bin/false >> /etc/passwd")
        #expect(known.status == 0)
        let service = try machine.startService("--delay", "100ms")
        let attacker = try machine.client("delays", "alpha", "70", as: "5")
        try attacker.wait(for: "given 16\n")
        // That is looked at before the templates are.
        let more = try machine.call("Manager1.Delay", "nowhere", "why", as: "5")
        #expect(more.errors.contains("LimitsExceeded"), "\(more)")
        // Root's are others.
        let holder = try machine.client("delay", "alpha", "mine")
        try holder.wait(for: "done")
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        let outcome = try machine.run(["/mnt/programs/cryptohome", "unmount", "alice"])
        #expect(outcome.status == 0 && outcome.complaints.count == 17, "\(outcome)")
        attacker.kill()
        service.kill()
      }
    }
  }

  /// The control: a limit for each connection is no limit for a user.
  @Test(.tags(.attack)) func delaysOfOneUserAreManyForNaiveService() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let known = try machine.host.script("echo owner:x:5:60::/:/bin/false >> /etc/passwd")
        #expect(known.status == 0)
        let service = try machine.client("naive")
        try service.wait(for: "named")
        let attacker = try machine.client("delays", "alpha", "20", as: "5")
        try attacker.wait(for: "given 320\n")
      }
    }
  }

  /// S22: a descriptor from which no password comes takes a slot for ten seconds, and no longer.
  @Test(.tags(.attack)) func silentPasswordGivesTheSlotBack() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        do {
          let machine = try BusMachine(host)
          let outcome = try machine.run([
            "sh", "-c", "echo 'correct horse' | /mnt/programs/cryptohome create alice",
          ])
          #expect(outcome.status == 0, "\(outcome)")
          let service = try machine.startService()
          let attacker = try machine.client("silent", "alice", as: "alice")
          for _ in 0..<2 { try attacker.wait(for: "password: has not come in time") }
          try attacker.wait(for: "wrong password")
          #expect(service.isRunning && machine.log == "", "\(machine.log)")
          service.kill()
          // The control: a program that reads the password as long as the pipe is open.
          let naive = try machine.run([
            "sh", "-c", "mkfifo /run/silent; exec 3<> /run/silent; timeout 11 head -n 1 <&3",
          ])
          #expect(naive.status == 124, "\(naive)")
        }
      }
    }
  }

  /// S30: only root's service is heard, also by a listener that does not look at the sender.
  @Test(.tags(.attack)) func signalsOfOthersAreNotDelivered() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        let listener = try machine.client("hear", "org.daemonstore.Manager1")
        let control = try machine.client("hear", "org.example.Manager1")
        for listener in [listener, control] { try listener.wait(for: "listening") }
        for interface in ["org.daemonstore", "org.example"] {
          let outcome = try machine.run(
            [
              "gdbus", "emit", "--system", "--object-path", "/org/daemonstore/Manager1", "--signal",
              "\(interface).Manager1.StoreUnmounting", "alpha", Host.alice,
            ], as: "bob")
          #expect(interface == "org.daemonstore" || outcome.status == 0, "\(outcome)")
        }
        // The same attack on an interface without a rule.
        try control.wait(for: "heard StoreUnmounting")
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        try listener.wait(for: "heard UserMounted")
        #expect(!listener.text.contains("StoreUnmounting"), "\(listener.text)")
        service.kill()
      }
    }
  }

  /// S26: what a user mounts in a session ends with the session; elsewhere it stays.
  @Test(.tags(.attack)) func mountInASessionEndsWithIt() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        try machine.succeed("cryptohome", "unmount", "alice")
        let service = try machine.startService()
        // The control: mount(8) binds a mount to no session.
        let naive = try machine.run([
          "sh", "-c", "mkdir /run/naive && mount -t tmpfs naive /run/naive",
        ])
        #expect(naive.status == 0, "\(naive)")
        let session = try machine.client("within", "alice", "1000", "\(BusMachine.group)")
        try session.wait(for: "done \(Host.alice)")
        #expect(try machine.mounts(of: Host.alice).count == 6)
        session.kill()
        let isOver = try eventually { try machine.mounts(of: Host.alice).isEmpty }
        #expect(isOver)
        #expect(try mountTable(of: machine.first).at("/run/naive").count == 1)
        // Outside of any, beside another session.
        let other = try machine.client("session", "alice")
        try other.wait(for: "open")
        try machine.succeed("cryptohome", "unmount", "alice")
        try machine.expect(
          "('\(Host.alice)', @as [])", from: "Manager1.Mount", "alice", "0", "{}", as: "alice")
        try other.tell("kill the leader")
        let isForgotten = eventually { !exists("/run/cryptohome/sessions/\(Host.alice)") }
        #expect(isForgotten)
        // Where the kernel's audit system counts all of this as one session, it is one.
        let isOutside = try readFile("/proc/self/sessionid") == "\(UInt32.max)"
        let isAsExpected = try eventually {
          try machine.mounts(of: Host.alice).count == (isOutside ? 6 : 0)
        }
        #expect(isAsExpected)
        service.kill()
      }
    }
  }
}
