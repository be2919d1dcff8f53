import Glibc
import Jail
import DaemonStoreKernel
import TestSupport
import Testing

/// A program that a process executes after it has confined itself, and one that `minijail0` starts, in
/// every part of a process's state that a configuration can change.
@Suite(.needsRoot) struct ConfinedStateTests {
  private static func configuration() -> JailConfiguration {
    var jail = JailConfiguration()
    jail.user = .init(number: 65534)
    jail.group = .init(number: 65534)
    jail.supplementaryGroups = [5, 6]
    jail.capabilities = [.netBindService, .kill]
    jail.raisesAmbient = true
    jail.namespaces = [.ipc, .uts, .mount, .network, .cgroup]
    jail.hostName = "confined"
    jail.propagation = .set(.slave)
    jail.mounts = [
      JailMount(source: "/usr/share", target: "/srv", kind: .bind(writable: false))
    ]
    jail.minimalDevices = true
    jail.temporaryBytes = 1 << 20
    jail.newSessionKeyring = true
    jail.limits = [
      ResourceLimit(.openFiles, soft: 40, hard: 41), ResourceLimit(.core, soft: 0, hard: 0),
    ]
    return jail
  }

  /// The same for the command line.
  private static let options = [
    "-u", "65534", "-g", "65534", "--add-suppl-group", "5", "--add-suppl-group", "6", "-c", "420",
    "--ambient", "-l", "--uts=confined", "-v", "-e", "-N", "-Kslave", "-b", "/usr/share,/srv", "-d",
    "-t1M", "-w", "-R", "RLIMIT_NOFILE,40,41", "-R", "RLIMIT_CORE,0,0",
  ]

  /// Prints the state of its process, one fact in a line.
  private static let report = """
    import ctypes, os, re, socket, sys
    libc = ctypes.CDLL(None)
    fields = {'Uid', 'Gid', 'Groups', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs',
              'Seccomp', 'THP_enabled'}
    for line in open('/proc/self/status'):
      if line.split(':')[0] in fields: print(line.strip())
    print(open('/proc/self/limits').read())
    for line in open('/proc/self/mountinfo'):
      words = line.split()
      print('mount', re.sub(r':\\\\d+', '', ' '.join(words[3:])))
    for name in sorted(os.listdir('/proc/self/ns')):
      print(name, 'is new:', os.readlink('/proc/self/ns/' + name) not in sys.argv)
    print('securebits', libc.prctl(27, 0, 0, 0, 0), 'dumpable', libc.prctl(3, 0, 0, 0, 0))
    text = ctypes.create_string_buffer(200)
    libc.syscall(250, 6, -3, text, 200, 0)
    print('session keyring', text.value.decode())
    print(socket.gethostname(), os.getcwd(), os.readlink('/proc/self/root'), oct(os.umask(0)))
    print(socket.if_nameindex(), sorted(os.listdir('/dev')), os.statvfs('/tmp').f_blocks)
    """

  @Test func isThatOfAJailedProgram() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try check("chdir", "/", chdir("/"))
        let python = "/usr/bin/python3"
        let names = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"]
        let words =
          try ["-ISc", Self.report] + names.map { "\(try linkTarget(of: "/proc/self/ns/\($0)"))" }
        let jailed = try run(
          "\(try builtPrograms())/minijail0", Self.options + ["-n", "--", python] + words)
        let status = try inChild {
          let file = open("/mnt/out", O_WRONLY | O_CREAT | O_TRUNC, 0o644)
          try check("dup2", "/mnt/out", dup2(file, 1))
          try Self.configuration().confine()
          var arguments = ([python] + words).map { strdup($0) } + [nil]
          execv(python, &arguments)
          throw Problem("execv")
        }
        let own = try readFile("/mnt/out").split(separator: "\n").map(String.init)
        #expect(status == 0 && jailed.status == 0 && own.count > 60, "\(own)\n\(jailed)")
        for line in ["CapAmb:\t0000000000000420", "mnt is new: True", "net is new: True"] {
          #expect(own.contains(line), "\(own)")
        }
        let other = jailed.lines.filter { !$0.isEmpty }
        for line in Set(own).symmetricDifference(other).sorted() {
          Issue.record("\(own.contains(line) ? "confine()" : "minijail0") alone: \(line)")
        }
        #expect(own == other)
      }
    }
  }
}
