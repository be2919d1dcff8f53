import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// A process hides what it uses of a vault from a logout: behind its first thread, which has ended, or
/// in a table of descriptors that is not the first thread's. And the other way round: a user makes a
/// logout fail by what only looks like a use.
@Suite(.needsRoot, .tags(.attack)) struct HiddenHolderTests {
  private static let mallory: uid_t = 1009
  private static let home = "/home/user/\(Host.alice)"

  /// What all scripts begin with.
  private static let library = """
    import ctypes, mmap, os, platform, signal, socket, sys, threading
    libc = ctypes.CDLL(None, use_errno=True)
    def end_thread():
      libc.syscall(60 if platform.machine() == 'x86_64' else 93, 0)
    def ready():
      print('ready', flush=True)
      signal.pause()
    def in_thread(body, ends):
      def run():
        while ends and open('/proc/self/stat').read().rsplit(')', 1)[1].split()[0] != 'Z':
          os.sched_yield()
        body()
        print('ready', flush=True)
        threading.Event().wait()
      threading.Thread(target=run).start()
      if ends: end_thread()
      threading.Event().wait()

    """

  private static func start(
    _ host: Host, _ user: uid_t, program: String = "python3", isPrivate: Bool = true,
    _ script: String
  ) throws -> pid_t {
    let space = isPrivate ? ["unshare", "-Urm", "--propagation", "private"] : []
    return try host.helpers.start(
      "setpriv",
      ["--reuid=\(user)", "--regid=\(user)", "--clear-groups"] + space
        + [program, "-IS", "-c", library + script])
  }

  private static func prepare(_ host: Host) throws {
    try host.boot("alpha")
    try host.login("alice")
    try writeFile("\(home)/file", String(repeating: "secret", count: 1000))
    chown("\(home)/file", 1000, 1000)
  }

  enum Use: String, Codable, CaseIterable {
    case mapping, program, descriptor

    var complaint: String {
      switch self {
      case .mapping: "mapped file"
      case .program: "running program"
      case .descriptor: "open file"
      }
    }
  }

  @Test(arguments: Use.allCases)
  func seesBehindAFirstThreadThatHasEnded(use: Use) async {
    await #expect(processExitsWith: .success) { [use] in
      inHost(.shared) { host in
        try Self.prepare(host)
        let program = use == .program ? "\(Self.home)/python" : "python3"
        if use == .program {
          let copied = try host.script("cp -L /usr/bin/python3 \(program)")
          #expect(copied.status == 0, "\(copied)")
        }
        let body =
          switch use {
          case .mapping: "map = mmap.mmap(file, 4096); os.closerange(3, 100)"
          case .program: "os.close(file)"
          case .descriptor: "pass"
          }
        let holder = try Self.start(
          host, 1000, program: program,
          "file = os.open('\(Self.home)/file', os.O_RDWR); os.chdir('/')\n\(body)\n"
            + "in_thread(lambda: None, True)\n")
        try host.refuse(
          status: 3, ["(pid \(holder))", use.complaint], "cryptohome", "unmount", "alice")
        try host.helpers.stop(holder)
        try host.logout("alice")
      }
    }
  }

  /// A daemon's process that holds a file is ended where the configuration says so.
  @Test func endsWhatItFindsByAnotherThread() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try Self.prepare(host)
        try writeFile("/etc/daemon-store.conf", "[home]\nholders=kill\n")
        let holder = try Self.start(
          host, 1000,
          "file = os.open('\(Self.home)/file', os.O_RDWR); os.chdir('/')\n"
            + "map = mmap.mmap(file, 4096); os.closerange(3, 100)\nin_thread(lambda: None, True)\n")
        let outcome = try host.run("cryptohome", "unmount", "alice")
        #expect(
          outcome.status == 0 && outcome.output.contains("(pid \(holder)), which held files"),
          "\(outcome)")
        try host.helpers.stop(holder)
      }
    }
  }

  /// Control: the first thread has the same on the way, and is seen by every version.
  @Test(arguments: ["first thread", "table of its own", "first thread has ended"])
  func seesDescriptorsOnTheWay(place: String) async {
    await #expect(processExitsWith: .success) { [place] in
      inHost(.shared) { host in
        try Self.prepare(host)
        let body = """
          def body():
            if \(place == "table of its own" ? 1 : 0): libc.unshare(0x400)
            global a, b
            a, b = socket.socketpair()
            file = os.open('\(Self.home)/file', os.O_RDONLY)
            socket.send_fds(a, [b'x'], [file])
            os.close(file)
            os.chdir('/')

          """
        let holder = try Self.start(
          host, 1000,
          body
            + (place == "first thread"
              ? "body()\nready()\n"
              : "in_thread(body, \(place == "first thread has ended" ? "True" : "False"))\n"))
        try host.refuse(
          status: 3, ["(pid \(holder))", "which was sent to it"], "cryptohome", "unmount", "alice")
        try host.helpers.stop(holder)
        try host.logout("alice")
      }
    }
  }

  /// A socket that is bound in the vault, and is itself on the way.
  @Test func seesBoundSocketOnTheWay() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try Self.prepare(host)
        let holder = try Self.start(
          host, 1000,
          "s = socket.socket(socket.AF_UNIX); os.chdir('\(Self.home)'); s.bind('s'); os.chdir('/')\n"
            + "a, b = socket.socketpair(); socket.send_fds(a, [b'x'], [s.fileno()]); s.close()\n"
            + "ready()\n")
        try host.refuse(
          status: 3, ["(pid \(holder))", "which was sent to it"], "cryptohome", "unmount", "alice")
        try host.helpers.stop(holder)
        try host.logout("alice")
      }
    }
  }

  enum Name: String, Codable, CaseIterable {
    case socket, forgedLine, overlay
  }

  /// The name of alice's vault is known to all users, and each may use it elsewhere.
  @Test(arguments: Name.allCases)
  func isNotMisledByNames(name: Name) async {
    await #expect(processExitsWith: .success) { [name] in
      inHost(.shared) { host in
        try Self.prepare(host)
        try makeDirectory("/mnt/t", mode: 0o777)
        try makeDirectory("/mnt/t/\(Host.alice)", mode: 0o777)
        let root = try Self.start(
          host, 0, isPrivate: false,
          "s = socket.socket(socket.AF_UNIX); s.bind('/mnt/root'); s.listen(1); ready()\n")
        let script =
          switch name {
          case .socket:
            "s = socket.socket(socket.AF_UNIX); s.bind('/mnt/t/\(Host.alice)/s')\n"
          case .forgedLine:
            """
            inode = [l.split()[6] for l in open('/proc/net/unix') if l.endswith('/mnt/root\\n')][0]
            os.chdir('/mnt/t')
            keep = []
            for k in range(60):
              n = f'{k}\\n0: 0 0 0 0 0 {inode} /\(Host.alice)/'
              os.makedirs(n)
              s = socket.socket(socket.AF_UNIX)
              s.bind(n + 's')
              keep.append(s)

            """
          case .overlay:
            """
            for n in ('a', 'b'): os.mkdir('/mnt/t/\(Host.alice)/' + n)
            layers = 'lowerdir=/mnt/t/\(Host.alice)/a:/mnt/t/\(Host.alice)/b'
            if libc.mount(b'o', b'/mnt/t', b'overlay', 0, layers.encode()): sys.exit('mount')

            """
          }
        let attacker = try Self.start(
          host, Self.mallory, isPrivate: name == .overlay, script + "ready()\n")
        let outcome = try host.run("cryptohome", "unmount", "alice")
        #expect(outcome.status == 0 && outcome.complaints.isEmpty, "\(outcome)")
        try host.helpers.stop(attacker)
        try host.helpers.stop(root)
      }
    }
  }

  /// As cryptohomed looks, which may not ask the kernel for the file of a socket. The vault is on the
  /// same file system as all other sockets here.
  @Test(arguments: [("alice", true), ("alice", false), ("mallory", false)])
  func tellsSocketsWithoutACapability(user: String, isInVault: Bool) async {
    await #expect(processExitsWith: .success) { [user, isInVault] in
      inHost(.shared) { host in
        try Self.prepare(host)
        for place in ["/mnt/t", "/mnt/t/\(Host.alice)"] { try makeDirectory(place, mode: 0o777) }
        let place = isInVault ? Self.home : "/mnt/t/\(Host.alice)"
        // By another path, in a network namespace that only this process is in.
        let holder = try Self.start(
          host, user == "alice" ? 1000 : Self.mallory, isPrivate: false,
          "os.chdir('\(place)'); s = socket.socket(socket.AF_UNIX); s.bind('s'); os.chdir('/')\n"
            + "ready()\n")
        let outcome = try TestSupport.run(
          "setpriv",
          ["--bounding-set=-net_admin", "/mnt/programs/cryptohome", "unmount", "alice"])
        if isInVault {
          #expect(outcome.status == 3 && outcome.complains(of: "(pid \(holder))"), "\(outcome)")
        } else {
          #expect(outcome.status == 0 && outcome.complaints.isEmpty, "\(outcome)")
        }
        try host.helpers.stop(holder)
        try host.logout("alice")
      }
    }
  }

  /// The owner of a store keeps a directory of the home, which is not in that store.
  @Test func takesNothingEmptiedForAUse() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.template("open", owner: 5, group: 60, mode: 0o755)
        try host.succeed("daemon-store", "startup")
        try host.create("alice")
        try host.unlock("alice")
        chmod(Self.home, 0o755)
        let daemon = try Self.start(
          host, 5, isPrivate: false, "os.chdir('\(Self.home)')\nready()\n")
        for _ in 0..<2 {
          let outcome = try host.run("cryptohome", "unmount", "alice")
          #expect(
            outcome.status == 0 && outcome.complains(of: "user 5 keeps an empty directory"),
            "\(outcome)")
        }
        #expect(try host.keyState(of: Host.alice) != "present")
        try host.helpers.stop(daemon)
        try host.logout("alice")
      }
    }
  }

  /// On btrfs `maps` has one device for all subvolumes, and each has its own numbers: a file elsewhere with
  /// the number of alice's is mapped before hers.
  @Test func seesEachMappingOnBtrfs() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        let made = try host.script(
          "truncate -s 128M /mnt/disk && mkfs.btrfs -q /mnt/disk && mount -o loop /mnt/disk /home")
        #expect(made.status == 0, "\(made)")
        try mountFilesystem("none", "/home", nil, MS_SHARED)
        try Self.prepare(host)
        let decoy = try host.script(
          "set -e; btrfs -q subvolume create /home/other; cd /home/other; "
            + "number=$(stat -c %i \(Self.home)/file); "
            + "until test -n \"$(find . -inum $number)\"; do mktemp -p . >/dev/null; done; "
            + "file=$(find /home/other -inum $number); echo x >$file; "
            + "chmod 755 .; chmod 644 $file; echo $file")
        let other = try #require(decoy.lines.last, "\(decoy)")
        let holder = try Self.start(
          host, 1000,
          """
          names = ('\(Self.home)/file', '\(other)')
          maps = [mmap.mmap(os.open(n, os.O_RDONLY), 0, prot=mmap.PROT_READ) for n in names]
          os.closerange(3, 100)
          os.chdir('/')
          ready()

          """)
        try host.refuse(
          status: 3, ["(pid \(holder))", "mapped file"], "cryptohome", "unmount", "alice")
        try host.helpers.stop(holder)
        try host.logout("alice")
      }
    }
  }
}
