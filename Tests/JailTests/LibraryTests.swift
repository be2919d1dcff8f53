import CDaemonStoreLinux
import Glibc
import Jail
import DaemonStoreKernel
import TestSupport
import Testing

// docs/jail-library.md has these two functions, word for word.

/// Runs a helper that may read one directory and has no network.
func convert(_ directory: FilePath) throws -> Bool {
  var jail = JailConfiguration()
  jail.user = .init(number: 65534)
  jail.group = .init(number: 65534)
  jail.supplementaryGroups = []
  jail.namespaces = [.mount, .network, .ipc]
  jail.mounts = [JailMount(source: "/", target: "/", kind: .bind(writable: false))]
  jail.root = .pivotRoot("/var/empty")
  jail.freshProcesses = true
  jail.fileAccess = FileAccess(rules: [.init("/", .readAndExecute), .init(directory, .read)])
  jail.program = "/bin/cat"
  jail.arguments = ["/proc/self/status"]
  let plan = try JailPlan(jail)
  for step in plan.stepDescriptions { print("will", step) }
  return try plan.start().wait() == .ended(.exited(0), programSignal: nil)
}

/// Gives up what the service needed only to start.
func giveUpPrivileges() throws {
  var jail = JailConfiguration()
  jail.user = .init(number: 65534)
  jail.group = .init(number: 65534)
  jail.supplementaryGroups = []
  jail.capabilities = .netBindService
  jail.namespaces = [.mount, .ipc, .uts]
  jail.fileAccess = FileAccess(rules: [.init("/usr", .readAndExecute), .init("/proc", .read)])
  try jail.confine()
}

@Suite struct LibraryDocumentationTests {
  @Test func theExamplesAreThoseOfThePage() throws {
    let source = try readFile(#filePath)
    let examples = try Page("docs/jail-library.md").blocks.map(\.text).filter {
      $0.hasPrefix("///")
    }
    #expect(examples.count == 2)
    for example in examples { #expect(source.contains(example), "\(example)") }
  }
}

@Suite(.needsRoot) struct LibraryTests {
  @Test func aChildIsStartedInItsJail() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try mountFilesystem("var", "/var", "tmpfs", 0, "mode=0755")
        let status = try inChild {
          guard try convert("/etc") else { throw Problem("it did not end well") }
        }
        #expect(status == 0)
      }
    }
  }

  @Test func aProcessConfinesItself() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let status = try inChild {
          let outside = try linkTarget(of: "/proc/self/ns/uts")
          try giveUpPrivileges()
          let status = try readFile("/proc/self/status")
          for line in [
            "Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534",
            "CapEff:\t0000000000000400", "CapBnd:\t0000000000000400", "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
          ] where !status.contains(line) {
            throw Problem("\(line) is missing in \(status)")
          }
          guard try linkTarget(of: "/proc/self/ns/uts") != outside else { throw Problem("uts") }
          guard open("/etc/passwd", O_RDONLY) < 0, errno == EACCES else {
            throw Problem("Landlock")
          }
        }
        #expect(status == 0)
      }
    }
  }

  @Test func whatNeedsAChildIsRefused() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        var jail = JailConfiguration()
        jail.namespaces = [.process, .mount]
        jail.processNamespace = .withInit
        #expect(throws: JailError.self) { try jail.confine() }
        // The tests' own process has many threads.
        #expect(throws: JailError.self) { try JailConfiguration().confine() }
      }
    }
  }

  @Test func aPlanIsAValue() throws {
    var jail = JailConfiguration()
    jail.program = "/bin/true"
    let plan = try JailPlan(jail)
    #expect(try plan == JailPlan(jail))
    jail.newSessionKeyring = true
    #expect(try plan != JailPlan(jail))
    jail.mounts = [JailMount(source: "/a", target: "/b", kind: .bind(writable: false))]
    #expect(throws: JailError.self) { try JailPlan(jail) }  // those would be the host's
  }
}
