import CDaemonStoreLinux
import Glibc
import TestSupport
import Testing

/// A look at a process of mallory's waits for a FUSE server of mallory's, which never answers, and
/// through SIGKILL. No logout waits for that.
@Suite(.needsRoot, .serialized, .tags(.attack)) struct HungInspectionTests {
  enum Attack: String, Codable, CaseIterable {
    /// A file on FUSE was sent and never received: who takes a copy of it has to close that.
    case sentFile
    /// A socket is being read from into memory that is backed by FUSE: it is locked meanwhile.
    case lockedSocket
    /// The map of the memory is locked by a fault in a file on FUSE.
    case lockedMap

    /// What the server's child does with `file`, a file on FUSE that is open.
    private var script: String {
      switch self {
      case .sentFile:
        "a, b = socket.socketpair(); socket.send_fds(a, [b'x'], [file]); ready(); signal.pause()"
      case .lockedSocket:
        "place = libc.mmap(None, 8192, 3, 2, file, 0); a, b = socket.socketpair()\n"
          + "  null = os.open('/dev/null', 0); socket.send_fds(a, [b'x' * 64], [null])\n"
          + "  libc.read(b.fileno(), ctypes.c_void_p(place), 64); signal.pause()"
      case .lockedMap:
        "place = libc.mmap(None, 4096, 1, 2, file, 0); data = ctypes.create_string_buffer(1)\n"
          + "  copy = lambda: libc.memcpy(data, ctypes.c_void_p(place), 1)\n"
          + "  threading.Thread(target=copy).start(); os.read(told, 1); ready()\n"
          + "  libc.munmap(ctypes.c_void_p(place), 4096); signal.pause()"
      }
    }

    /// Starts the server, in a user namespace: it says when the trap is set. When it ends, the kernel
    /// ends its connection, and whoever waits goes on.
    func begin(_ host: Host) throws -> pid_t {
      try Self.beginServer(
        host, Self.server.replacing("SILENT", with: self == .lockedSocket ? "1" : "2"), script)
    }

    static func beginServer(_ host: Host, _ server: String, _ client: String) throws -> pid_t {
      let devices = try host.script(
        "mkdir -p /mnt/dev && mount -t tmpfs -o mode=755,dev none /mnt/dev "
          + "&& mknod -m 666 /mnt/dev/fuse c 10 229 && mount --bind /mnt/dev/fuse /dev/fuse")
      guard devices.status == 0 else { throw Problem("\(devices)") }
      return try host.helpers.start(
        "setpriv", "--reuid=1009", "--regid=1009", "--clear-groups", "python3", "-c",
        server.replacing("BODY", with: client))
    }

    /// One that answers, but takes its time when a file is closed.
    static let slowServer =
      server.replacing("code in (2, 25, 36, 42)", with: "code in (2, 36, 42)")
      .replacing("if code == 1:", with: "if code == 25: time.sleep(0.5)\n  elif code == 1:")
      .replacing("SILENT", with: "9")
      .replacing("import ctypes", with: "import time, ctypes")

    private static let server = """
      import ctypes, os, signal, socket, struct, sys, threading
      libc = ctypes.CDLL(None, use_errno=True)
      libc.mmap.restype = ctypes.c_void_p
      libc.mmap.argtypes = [ctypes.c_void_p] + [ctypes.c_long] * 5
      def check(value):
        if value < 0: sys.exit(os.strerror(ctypes.get_errno()))
      def put(path, text):
        with open(path, 'w') as file: file.write(text)
      def ready():
        os.write(1, b'ready\\n')
      check(libc.unshare(0x10020000))
      put('/proc/self/setgroups', 'deny')
      put('/proc/self/uid_map', '0 1009 1'); put('/proc/self/gid_map', '0 1009 1')
      check(libc.mount(b'none', b'/', None, 0x44000, None))
      device = os.open('/dev/fuse', os.O_RDWR)
      options = f'fd={device},rootmode=40000,user_id=0,group_id=0'.encode()
      check(libc.mount(b'server', b'/mnt', b'fuse', 0, options))
      told, tell = os.pipe()
      if os.fork() == 0:
        libc.prctl(1, 9, 0, 0, 0)
        os.close(device)
        file = os.open('/mnt/x', os.O_RDONLY)
        BODY
      reads = 0
      def attributes(node):
        mode, size = (0o40755, 0) if node == 1 else (0o100644, 8192)
        return struct.pack('<6Q10I', node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
      while True:
        request = os.read(device, 200000)
        code, unique, node = struct.unpack_from('<4xIQQ', request)
        if code in (2, 25, 36, 42): continue  # FORGET, FLUSH, INTERRUPT, BATCH_FORGET
        answer, error = b'', 0
        if code == 1: answer = struct.pack('<4Q2I', 2, 0, 1000, 1000, 0, 0) + attributes(2)
        elif code == 3: answer = struct.pack('<Q2I', 1000, 0, 0) + attributes(node)
        elif code == 26: answer = struct.pack('<4I2HI', 7, 31, 0, 0, 0, 0, 4096) + bytes(40)
        elif code in (14, 27): answer = bytes(16)
        elif code == 15:
          reads += 1
          if reads >= SILENT:
            if SILENT == 1: ready()
            os.write(tell, b'x')
            continue
          error = -5
        else: error = -38
        os.write(device, struct.pack('<IiQ', 16 + len(answer), error, unique) + answer)
      """
  }

  private static let folder = "/run/daemon-store/open/\(Host.alice)"

  private static func prepare(_ host: Host) throws {
    try host.template("open", owner: 5, group: 60, mode: 0o755)
    try host.succeed("daemon-store", "startup")
    _ = try host.createWithKeyFile("alice")
    try host.unlockWithKeyFile("alice")
    try writeFile("\(folder)/diary", "contents")
  }

  /// Runs a command that may hang, and through SIGKILL: status 99 then.
  private static func run(
    _ host: Host, _ command: String, within seconds: Int = 40
  ) throws -> Outcome {
    try TestSupport.run(
      "bash",
      [
        "-c",
        "\(command) >/mnt/out 2>&1 & p=$!; timeout \(seconds) tail --pid=$p -f /dev/null; "
          + "if kill -0 $p 2>/dev/null; then s=99; else wait $p; s=$?; fi; cat /mnt/out >&2; exit $s",
      ],
      environment: ["PATH=/mnt/programs:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"])
  }

  /// The inspecting processes that are left; one that has answered has another name until it is reaped.
  private static func left(_ host: Host) throws -> [String] {
    try host.script("grep -lE '^(look|list) [0-9]' /proc/[0-9]*/comm").lines
  }

  @Test(arguments: Attack.allCases)
  func delaysNoLogout(attack: Attack) async {
    await #expect(processExitsWith: .success) { [attack] in
      inEncryptedHost(megabytes: 32) { host in
        try Self.prepare(host)
        let mallory = try attack.begin(host)
        let start = ContinuousClock.now
        let outcome = try Self.run(host, "cryptohome unmount alice")
        let time = ContinuousClock.now - start
        #expect(outcome.status == 0 && time < .seconds(30), "\(time): \(outcome)")
        #expect(try host.keyState(of: Host.alice) == "absent")
        try host.expectGone(Host.alice, from: ["open"])

        // Again and again: no more processes are lost, and a process that has alice's file is named
        // as before.
        for _ in 0..<2 {
          try host.unlockWithKeyFile("alice")
          let holder = try host.holder { _ = open("\(Self.folder)/diary", O_RDONLY) }
          let again = try Self.run(host, "cryptohome unmount alice")
          #expect(again.status == 3 && again.complains(of: "open file"), "\(again)")
          #expect(again.complains(of: "cannot inspect", "did not end"), "\(again)")
          #expect(try Self.left(host).count <= 1)
          try host.helpers.stop(holder)
          let last = try Self.run(host, "cryptohome unmount alice")
          #expect(last.status == 0, "\(last)")
        }
        try host.helpers.stop(mallory)
      }
    }
  }

  /// The control: a program that looks itself at what was sent to the processes. It does not end before mallory
  /// does. The lock of a map has none: newer kernels let those who read maps go on.
  @Test(arguments: [Attack.sentFile, .lockedSocket])
  func delaysNaiveInspection(attack: Attack) async {
    await #expect(processExitsWith: .success) { [attack] in
      inHost(.shared) { host in
        try writeFile("/etc/naive.py", Self.naive)
        let alone = try Self.run(host, "python3 /etc/naive.py", within: 10)
        #expect(alone.status == 0 && alone.errors == "looked\n", "\(alone)")
        let mallory = try attack.begin(host)
        let outcome = try Self.run(host, "python3 /etc/naive.py", within: 10)
        #expect(outcome.status == 99, "\(outcome)")
        try host.helpers.stop(mallory)
      }
    }
  }

  private static let naive = """
    import ctypes, os, socket, sys
    libc = ctypes.CDLL(None)
    for process in filter(str.isdigit, os.listdir('/proc')):
      try:
        if '\\nUid:\\t1009\\t' not in open(f'/proc/{process}/status').read(): continue
        numbers = os.listdir(f'/proc/{process}/fd')
        handle = os.pidfd_open(int(process))
      except OSError: continue
      for number in numbers:
        # Of the server's end of FUSE no copy may stay: it would keep the trap shut.
        if not os.readlink(f'/proc/{process}/fd/{number}').startswith('socket:'): continue
        copy = libc.syscall(438, handle, int(number), 0)  # pidfd_getfd
        if copy < 0: continue
        end = socket.socket(fileno=copy)
        try:
          flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
          for _, _, sent in end.recvmsg(64, socket.CMSG_SPACE(4), flags)[1]:
            os.close(int.from_bytes(sent[:4], sys.byteorder))
        except BlockingIOError: pass
        end.close()
    print('looked')
    """

  @Test(arguments: Attack.allCases)
  func delaysNoOtherCommand(attack: Attack) async {
    await #expect(processExitsWith: .success) { [attack] in
      inEncryptedHost(megabytes: 32) { host in
        try Self.prepare(host)
        let mallory = try attack.begin(host)
        for command in [
          "daemon-store status", "daemon-store doctor", "daemon-store tree",
          "daemon-store who open",
          "cryptohome status", "daemon-store shutdown", "daemon-store startup",
          "cryptohome unmount alice",
        ] {
          let outcome = try Self.run(host, command)
          #expect([0, 3].contains(outcome.status), "\(outcome)")
        }
        #expect(try Self.left(host).count <= 1)
        try host.helpers.stop(mallory)
        try host.logout("alice")
      }
    }
  }

  /// An inspection of another command that takes a moment to end has not been lost: nothing is skipped
  /// for its sake. This is the other side of the attack and has no control.
  @Test func ignoresInspectionThatIsEnding() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        try host.boot("open")
        let ending = try host.helpers.start("python3", "-c", Self.slowEnds)
        for _ in 0..<5 {
          try host.login("alice")
          try host.logout("alice")
        }
        try host.helpers.stop(ending)
        #expect(try eventually { try Self.left(host).isEmpty })
      }
    }
  }

  /// A process with the name of an inspection that has been killed, and half a second later the next one.
  /// The first process of a PID namespace ends only when the others are reaped (pid_namespaces(7)).
  private static let slowEnds = """
    import ctypes, os, signal, time
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(1, 9, 0, 0, 0)
    own, told = os.open('/proc/self/ns/pid', 0), 0
    while True:
      if libc.unshare(0x20000000) < 0: raise SystemExit(os.strerror(ctypes.get_errno()))
      started, start = os.pipe()
      first = os.fork()
      if first == 0:
        libc.prctl(15, b'look 1', 0, 0, 0); os.write(start, b'x'); signal.pause()
      os.read(started, 1); os.close(started); os.close(start)
      second = os.fork()
      if second == 0: signal.pause()
      os.kill(first, 9)
      if not told: told = os.write(1, b'ready\\n')
      time.sleep(0.5); os.waitpid(second, 0); os.waitpid(first, 0)
      libc.setns(own, 0x20000000)
    """
}
