import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// A logout that cannot look everywhere never says that nobody uses anything.
@Suite(.needsRoot, .tags(.attack)) struct UnknownTests {
  /// Runs a program below a filter that lets one system call fail, as a container's does.
  private static func run(
    _ host: Host, without call: Int, error: CInt, _ arguments: String...
  ) throws -> Outcome {
    // struct sock_filter: load the number; compare; fail; allow.
    let text =
      "import ctypes, os, struct, sys\n"
      + "call, error = int(sys.argv[1]), int(sys.argv[2])\n"
      + "code = b''.join(struct.pack('HBBI', *line) for line in [(0x20, 0, 0, 0), "
      + "(0x15, 0, 1, call), (6, 0, 0, 0x50000 | error), (6, 0, 0, 0x7fff0000)])\n"
      + "buffer = ctypes.create_string_buffer(code)\n"
      + "program = struct.pack('HxxxxxxQ', 4, ctypes.addressof(buffer))\n"
      + "libc = ctypes.CDLL(None, use_errno=True)\n"
      + "libc.prctl(38, 1, 0, 0, 0)\n"
      + "if libc.prctl(22, 2, program, 0, 0) != 0: sys.exit('prctl')\n"
      + "os.execv(sys.argv[3], sys.argv[3:])\n"
    return try TestSupport.run(
      "python3",
      ["-c", text, "\(call)", "\(error)", "/mnt/programs/\(arguments[0])"]
        + arguments.dropFirst())
  }

  /// Starts a script of mallory's, who is in the group of the store, in a namespace of his.
  private static func start(_ host: Host, _ script: String) throws -> pid_t {
    let library = """
      import ctypes, os, signal, socket, sys
      libc = ctypes.CDLL(None, use_errno=True)
      def check(value):
        if value < 0: sys.exit(os.strerror(ctypes.get_errno()))

      """
    return try host.helpers.start(
      "setpriv",
      [
        "--reuid=1009", "--regid=1009", "--groups=60", "unshare", "-Urm", "--propagation",
        "private", "python3", "-IS", "-c",
        library + script + "\nprint('ready', flush=True)\nsignal.pause()",
      ])
  }

  /// The control: what find(1) sees of alice's in the open files of processes, which a naive logout takes for
  /// all that there is.
  private static func naive(
    _ host: Host, in place: String, _ wrapper: String = ""
  ) throws -> Outcome {
    try host.script("\(wrapper) find \(place) -maxdepth 3 -lname '*\(Host.alice)*' 2>/dev/null")
  }

  /// Whether the kernel has listmount(2) of another namespace, Linux 6.11.
  private static func hasListing() throws -> Bool {
    try MountListing(of: Descriptor(followingLinks: "/proc/self/ns/mnt", flags: O_RDONLY)) != nil
  }

  /// A private copy below a mount on the root of its namespace: only the kernel's list shows it.
  @Test(arguments: [457, 458], [EPERM, ENOSYS])
  func missesNoMountWhereAFilterRejectsTheList(call: Int, error: CInt) async {
    await #expect(processExitsWith: .success) { [call, error] in
      inHost(.shared) { host in
        guard try Self.hasListing() else { return }
        try host.boot("alpha")
        try host.login("alice")
        let folder = "/run/daemon-store/alpha/\(Host.alice)"
        try writeFile("\(folder)/file", "secret")
        try makeDirectory("/mnt/keep")
        let keeper = try Self.start(
          host,
          """
          check(libc.mount(b'\(folder)', b'/mnt/keep', None, 0x1000, None))
          own = os.open('/proc/self/ns/mnt', os.O_RDONLY)
          check(libc.mount(b'over', b'/', b'tmpfs', 0, None))
          check(libc.setns(own, 0x20000))
          """)
        // The control: the table of the process, which findmnt(8) reads too.
        let table = try mountTable(of: keeper)
        #expect(table.count == 1 && table.naming(Host.alice).isEmpty, "\(table)")
        let name = call == 457 ? "statmount" : "listmount"
        let outcome = try Self.run(
          host, without: call, error: error, "cryptohome", "unmount", "alice")
        #expect(outcome.status == 3 && outcome.complains(of: "cannot inspect", name), "\(outcome)")
        let allowed = try host.run("cryptohome", "unmount", "alice")
        #expect(allowed.complains(of: "/mnt/keep"), "\(allowed)")
        try host.helpers.stop(keeper)
        try host.logout("alice")
      }
    }
  }

  /// A file that waits in a socket is in no process; only a copy of the socket shows it.
  @Test(arguments: [EPERM, ENOSYS])
  func missesNoSentFileWhereAFilterRejectsTheCopy(error: CInt) async {
    await #expect(processExitsWith: .success) { [error] in
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        let path = "/run/daemon-store/alpha/\(Host.alice)/file"
        try writeFile(path, "secret")
        let holder = try Self.start(
          host,
          """
          a, b = socket.socketpair()
          file = os.open('\(path)', os.O_RDONLY)
          socket.send_fds(a, [b'x'], [file])
          os.close(file)
          """)
        let naive = try Self.naive(host, in: "/proc/\(holder)/fd")
        #expect(naive.status == 0 && naive.output.isEmpty, "\(naive)")
        let outcome = try Self.run(
          host, without: 438, error: error, "cryptohome", "unmount", "alice")
        #expect(
          outcome.status == 3
            && outcome.complains(of: "cannot inspect pidfd_getfd /proc/\(holder)"), "\(outcome)")
        try host.helpers.stop(holder)
        try host.logout("alice")
      }
    }
  }

  /// One call about the holder fails, each of those in turn.
  @Test(arguments: ["ENOMEM", "EMFILE", "EIO"])
  func missesNoHolderWhenACallFails(error: String) async {
    await #expect(processExitsWith: .success) { [error] in
      inHost(.shared) { host in
        try host.boot("alpha")
        for time in 1...16 {
          try host.login("alice")
          let path = "/home/user/\(Host.alice)/file"
          try writeFile(path, "secret")
          let holder = try host.helpers.start(
            "setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "unshare", "-Urm",
            "--propagation", "private", "sh", "-c", "exec 3<\(path); echo ready; kill -STOP $$")
          if time == 1 {
            let files = "/proc/\(holder)/fd"
            #expect(try !Self.naive(host, in: files).output.isEmpty)
            let naive = try Self.naive(
              host, in: files,
              "strace -f -o /dev/null -P \(files) -e trace=openat -e inject=openat:error=\(error)")
            #expect(naive.output.isEmpty, "\(naive)")
          }
          let places = ["", "/task", "/task/\(holder)", "/task/\(holder)/fd"].flatMap {
            ["-P", "/proc/\(holder)\($0)"]
          }
          let outcome = try TestSupport.run(
            "strace",
            ["-f", "-o", "/mnt/trace"] + places + [
              "-e", "trace=openat2", "-e", "inject=openat2:error=\(error):when=\(time)",
              "/mnt/programs/cryptohome", "unmount", "alice",
            ])
          let trace = try readFile("/mnt/trace")
          #expect(outcome.status == 3, "\(time): \(outcome)\(trace)")
          try host.helpers.stop(holder)
          try host.logout("alice")
          if !trace.contains("INJECTED") { break }
        }
      }
    }
  }

  /// A `/proc` without processes shows no holder, and is no proof that there is none.
  @Test func anEmptyProcIsNoProof() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice")
        try host.unlock("alice")
        try mountFilesystem("empty", "/proc", "tmpfs")
        let naive = try Self.naive(host, in: "/proc")
        #expect(naive.status == 0 && naive.output.isEmpty, "\(naive)")
        let outcome = try host.run("cryptohome", "unmount", "alice")
        try unmountFilesystem("/proc")
        #expect(outcome.status == 3 && outcome.complains(of: "/proc"), "\(outcome)")
        #expect(try host.keyState(of: Host.alice) == "absent")
        try host.expectGone(Host.alice, from: ["alpha"])
        try host.logout("alice")
      }
    }
  }
}
