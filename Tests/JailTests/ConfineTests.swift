import CDaemonStoreLinux
import Glibc
import Jail
import DaemonStoreKernel
import Seccomp
import TestSupport
import Testing

/// A process that confines itself is what a program is that `minijail0` starts.
@Suite(.needsRoot) struct ConfineTests {
  /// Load the number; mkdir(2) or mkdirat(2) fails with EPERM; everything else is allowed.
  private static func program() throws -> [UInt8] {
    guard let architecture = Architecture.current,
      let number = architecture.number(ofCall: "mkdir") ?? architecture.number(ofCall: "mkdirat")
    else { throw Problem("unknown architecture") }
    return [
      [0x20, 0, 0, 0, 0, 0, 0, 0], [0x15, 0, 0, 1, UInt8(number), 0, 0, 0],
      [0x06, 0, 0, 0, 1, 0, 5, 0], [0x06, 0, 0, 0, 0, 0, 0xff, 0x7f],
    ].flatMap { $0 }
  }

  private static func configuration(
    noNewPrivileges: Bool
  ) throws -> JailConfiguration {
    var jail = JailConfiguration()
    jail.noNewPrivileges = noNewPrivileges
    jail.user = .init(number: 65534)
    jail.group = .init(number: 65534)
    jail.supplementaryGroups = []
    jail.capabilities = .netBindService
    jail.namespaces = [.ipc, .uts, .mount]
    jail.hostName = "confined"
    jail.limits = [ResourceLimit(.openFiles, soft: 40, hard: 41)]
    jail.fileAccess = FileAccess(rules: [
      .init("/proc", .read), .init("/usr", .readAndExecute), .init("/lib", .readAndExecute),
      .init("/lib64", .readAndExecute),
    ])
    jail.filter = SystemCallFilter(binary: try FilterProgram(bytes: try program()), name: "test")
    return jail
  }

  /// The same for the command line.
  private static let options = [
    "-u", "65534", "-g", "65534", "-c", "400", "-l", "--uts=confined", "-v", "-Kprivate", "-R",
    "RLIMIT_NOFILE,40,41", "--fs-path-ro", "/proc", "--fs-path-rx", "/usr", "--fs-path-rx", "/lib",
    "--fs-path-rx", "/lib64", "--seccomp-bpf-binary", "/mnt/filter",
  ]

  private static let fields: Set<String> = [
    "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs",
    "Seccomp",
  ]

  /// What can be seen of a confinement, one line each.
  private static func visible(_ status: String, _ limits: String, _ hostName: String) -> [String] {
    let lines = status.split(separator: "\n").filter { line in
      fields.contains(String(line.prefix { $0 != ":" }))
    }
    let files = limits.split(separator: "\n").filter { $0.hasPrefix("Max open files") }
    return (lines + files).map(String.init) + [hostName]
  }

  /// Without no_new_privs too, which a filter and rules for files bring along.
  @Test(arguments: [true, false]) func isWhatTheProgramMakesOfAnother(
    _ noNewPrivileges: Bool
  ) async {
    await #expect(processExitsWith: .success) { [noNewPrivileges] in
      inMountNamespace {
        try writeFile("/mnt/filter", try Self.program())
        let program =
          "cat /proc/self/status /proc/self/limits; cat /proc/sys/kernel/hostname; "
          + "mkdir /mnt/x 2>/dev/null || echo mkdir denied; "
          + "cat /etc/hostname 2>/dev/null || echo file denied; readlink /proc/self/ns/mnt"
        let outcome = try run(
          "\(try builtPrograms())/minijail0",
          Self.options + (noNewPrivileges ? ["-n"] : []) + ["--", "/bin/sh", "-c", program])
        #expect(outcome.status == 0, "\(outcome)")
        let expected = Self.visible(outcome.output, outcome.output, "confined")
        #expect(outcome.lines.contains("mkdir denied") && outcome.lines.contains("file denied"))
        #expect(outcome.lines.contains("confined") && expected.count == Self.fields.count + 2)
        let status = try inChild {
          let outside = try linkTarget(of: "/proc/self/ns/mnt")
          try Self.configuration(noNewPrivileges: noNewPrivileges).confine()
          let name = try readFile("/proc/sys/kernel/hostname").split(separator: "\n").joined()
          // The capabilities of a program of /bin/sh are gone: it is the one that had them.
          let found = Self.visible(
            try readFile("/proc/self/status"), try readFile("/proc/self/limits"), name)
          let different = zip(found, expected).filter { own, other in
            own != other && !own.hasPrefix("Cap")
          }
          guard found.count == expected.count, different.isEmpty else {
            throw Problem("\(found) is not \(expected)")
          }
          for line in ["CapEff:\t0000000000000400", "CapBnd:\t0000000000000400"]
          where !found.contains(line) { throw Problem("\(line) is missing in \(found)") }
          guard mkdir("/mnt/x", 0o700) != 0, errno == EPERM else { throw Problem("mkdir") }
          guard open("/etc/hostname", O_RDONLY) < 0, errno == EACCES else { throw Problem("file") }
          guard try linkTarget(of: "/proc/self/ns/mnt") != outside else { throw Problem("mnt") }
        }
        #expect(status == 0)
      }
    }
  }

  @Test func refusesWhatOnlyAProgramHas() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let edits: [(inout JailConfiguration) -> Void] = [
          { $0.program = "/bin/true" }, { $0.arguments = ["x"] }, { $0.environment = [.reset] },
          { $0.preservedDescriptors = [3] }, { $0.pidFile = "/mnt/pid" }, { $0.background = true },
          { $0.forwardsSignals = false }, { $0.linkage = .static }, { $0.completion = .preload },
          { $0.startTimeout = nil }, { $0.preloadLibrary = "/x" }, { $0.learnedPolicy = "/mnt/p" },
          { $0.logging = .syslog },
        ]
        let status = try inChild {
          for (index, edit) in edits.enumerated() {
            var jail = JailConfiguration()
            edit(&jail)
            do {
              try jail.confine()
              throw Problem("edit \(index) was accepted")
            } catch let error as JailError {
              guard error.description.contains("is about a program") else { throw error }
            }
          }
        }
        #expect(status == 0)
      }
    }
  }
}
