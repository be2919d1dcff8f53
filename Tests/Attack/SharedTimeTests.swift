import CDaemonStoreLinux
import Glibc
import TestSupport
import Testing

/// mallory has more than a search for holders has time for. The others' processes are looked at all the same,
/// and mallory is named.
@Suite(.needsRoot, .serialized, .tags(.attack)) struct SharedTimeTests {
  /// No vault of another suite belongs to this user.
  private static let mallory: uid_t = 1009

  enum Flood: String, Codable, CaseIterable {
    /// Six million, in as many processes as that takes: each has as many as the kernel allows.
    case descriptors
    /// The same, each with another id, in a user namespace of mallory's.
    case descriptorsOfManyIDs
    /// Many namespaces with many mounts.
    case mounts
    /// A FUSE server that answers within a second, as often as it is asked.
    case slowServer

    func begin(_ host: Host) throws -> pid_t {
      let start = Self.start.replacing("MALLORY", with: "\(SharedTimeTests.mallory)")
      switch self {
      case .descriptors:
        return try host.helpers.start(
          "python3", "-c", start + Self.descriptorScript.replacing("IDENTIFY", with: "pass"))
      case .descriptorsOfManyIDs:
        return try host.helpers.start(
          "python3", "-c",
          start + "enter()\n"
            + Self.descriptorScript.replacing(
              "IDENTIFY", with: "os.setresuid(n % 100, n % 100, n % 100)"))
      case .mounts:
        return try host.helpers.start(
          "python3", "-c", start + "enter()\n" + Self.mountScript)
      case .slowServer:
        return try HungInspectionTests.Attack.beginServer(
          host, HungInspectionTests.Attack.slowServer, Self.sent)
      }
    }

    /// Becomes mallory; `enter` leads into new user and mount namespaces, with many ids.
    private static let start = """
      import ctypes, os, signal, sys
      libc = ctypes.CDLL(None, use_errno=True)
      def check(value):
        if value < 0: sys.exit(os.strerror(ctypes.get_errno()))
      def fork():
        process = os.fork()
        if process == 0: libc.prctl(1, 9, 0, 0, 0)
        return process
      asked, ask = os.pipe()
      told, tell = os.pipe()
      user = fork()
      if user:
        if os.read(asked, 1) == b'x':
          for name in 'uid', 'gid':
            with open(f'/proc/{user}/{name}_map', 'w') as file:
              file.write('0 MALLORY 1\\n1 300000 100\\n')
          os.write(tell, b'x')
        os.close(asked); os.close(ask)
        signal.pause()
      os.setgroups([])
      os.setresgid(MALLORY, MALLORY, MALLORY); os.setresuid(MALLORY, MALLORY, MALLORY)
      libc.prctl(1, 9, 0, 0, 0)
      def ready():
        os.write(1, b'ready\\n'); signal.pause()
      def enter():
        check(libc.unshare(0x10020000))
        os.write(ask, b'x'); os.read(told, 1)
        os.setresuid(0, 0, 0)
        libc.prctl(1, 9, 0, 0, 0)

      """

    private static let descriptorScript = """
      import resource
      limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
      resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
      try:
        while True: last = os.dup(0)
      except OSError: pass
      for n in range(1, 6000000 // last + 1):
        if fork() == 0:
          IDENTIFY
          libc.prctl(1, 9, 0, 0, 0)
          signal.pause()
      ready()
      """

    private static let mountScript = """
      def mount(source, target, type, flags):
        check(libc.mount(source, target.encode(), type, flags, None))
      mount(None, '/', None, 0x44000)
      mount(b'none', '/mnt', b'tmpfs', 0)
      os.mkdir('/mnt/a')
      mount(b'/mnt/a', '/mnt/a', None, 0x1000)
      for n in range(1000):
        os.mkdir(f'/mnt/a/{n}')
        mount(b'/mnt', f'/mnt/a/{n}', None, 0x1000)
      for n in range(24):
        os.mkdir(f'/mnt/b{n}')
        mount(b'/mnt/a', f'/mnt/b{n}', None, 0x5000)
      for n in range(100):
        if fork() == 0:
          check(libc.unshare(0x20000))
          signal.pause()
      ready()
      """

    /// The client of the server: it has tried how long it takes to close one.
    private static let sent = """
      pass
        before = time.monotonic(); os.close(os.dup(file))
        if time.monotonic() - before < 0.4: sys.exit('the server is not slow')
        for n in range(4):
          a, b = socket.socketpair(); socket.send_fds(a, [b'x'], [file] * 250)
        ready(); signal.pause()
      """
  }

  /// How a command ended, and whether it took less time than all looks together may take.
  private static func run(_ host: Host, _ command: String...) throws -> Outcome {
    let start = ContinuousClock.now
    let outcome = try TestSupport.run(
      "/mnt/programs/\(command[0])", Array(command.dropFirst()))
    let time = ContinuousClock.now - start
    #expect(time < .seconds(30), "\(time): \(outcome)")
    return outcome
  }

  /// Ends mallory with all that mallory has started.
  private static func end(_ attacker: pid_t, _ host: Host) throws {
    try host.helpers.stop(attacker)
    // One that was not waited for yet has nothing any more.
    let rest =
      "for f in $(grep -lsE '^Uid:.(\(mallory)|3000[0-9]{2})' /proc/[0-9]*/status); do "
      + "grep -qsE '^State:.[ZX]' $f || ! test -e $f || echo $f; done"
    #expect(try eventually { try host.script(rest).lines.isEmpty })
  }

  /// A plain vault, of which no kernel says that it is in use: the search alone shows that.
  @Test(arguments: Flood.allCases)
  func hidesNoHolder(flood: Flood) async {
    await #expect(processExitsWith: .success) { [flood] in
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        let path = "/home/user/\(Host.alice)/file"
        try writeFile(path, "secret")
        let attacker = try flood.begin(host)
        // After mallory's in the order of the numbers.
        let holder = try host.helpers.start(
          "sh", "-c",
          "exec 3<\(path); echo ready; exec setpriv --reuid=1001 --regid=1001 --clear-groups "
            + "sleep 1000")
        let outcome = try Self.run(host, "cryptohome", "unmount", "alice")
        #expect(outcome.status == 3, "\(outcome)")
        #expect(outcome.complains(of: "(pid \(holder)): open file"), "\(outcome)")
        let named = outcome.complaints.filter { $0.contains("cannot inspect") }
        #expect(!named.isEmpty && named.allSatisfy { $0.contains("of user \(Self.mallory)") })
        try host.helpers.stop(holder)
        try Self.end(attacker, host)
        try host.logout("alice")
      }
    }
  }

  /// The kernel says that nothing of it is in use, so what was not inspected is no obstacle.
  @Test(arguments: [Flood.descriptors, .mounts])
  func keepsNoEncryptedVaultOpen(flood: Flood) async {
    await #expect(processExitsWith: .success) { [flood] in
      inEncryptedHost { host in
        try host.boot("alpha")
        _ = try host.createWithKeyFile("alice")
        let attacker = try flood.begin(host)
        try host.unlockWithKeyFile("alice")
        let outcome = try Self.run(host, "cryptohome", "unmount", "alice")
        #expect(outcome.status == 0, "\(outcome)")
        #expect(try host.keyState(of: Host.alice) == "absent")
        try host.expectGone(Host.alice, from: ["alpha"])
        try Self.end(attacker, host)
      }
    }
  }

  /// The control: a naive search, which looks at all that there is three times as a logout does, takes longer
  /// than a logout may.
  @Test func takesLongerThanTheTimeOfALogout() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        let attacker = try Flood.descriptors.begin(host)
        let search = try TestSupport.run(
          "python3",
          [
            "-c",
            """
            import glob, os, time
            def status(name):
              try: return open(name + '/status').read()
              except OSError: return ''
            processes = [name for name in glob.glob('/proc/[0-9]*')
                         if 'Uid:\\t\(Self.mallory)\\t' in status(name)]
            start, count = time.monotonic(), 0
            for entry in os.scandir(processes[-1] + '/fd'):
              os.readlink(entry.path); os.stat(entry.path); count += 1
            print(count, len(processes), (time.monotonic() - start) * len(processes) * 3)
            """,
          ])
        let words = search.output.split(separator: " ").compactMap {
          Double($0.filter { $0 != "\n" })
        }
        #expect(words.count == 3 && words[0] * words[1] > 5_000_000, "\(search)")
        #expect(words.count == 3 && words[2] > 22, "\(search)")
        try Self.end(attacker, host)
      }
    }
  }
}
