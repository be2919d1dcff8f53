import DaemonStoreKernel
import Seccomp
import Testing

@testable import Jail

/// Which steps a process can take for itself: all of a plan, or the plan is refused.
@Suite struct ConfinementTests {
  private static func filter() throws -> SystemCallFilter {
    // Allows everything.
    let program = try FilterProgram(bytes: [0x06, 0, 0, 0, 0, 0, 0xff, 0x7f])
    return SystemCallFilter(binary: program, name: "test")
  }

  private static func full() throws -> JailConfiguration {
    var jail = JailConfiguration()
    jail.linkage = .static  // as confine() plans
    jail.user = .init(number: 5)
    jail.group = .init(number: 6)
    jail.supplementaryGroups = []
    jail.capabilities = [.kill]
    jail.raisesAmbient = true
    jail.namespaces = [.mount, .ipc, .uts, .network, .cgroup]
    jail.hostName = "x"
    jail.newSessionKeyring = true
    jail.daemonStores = ["D"]
    jail.removesUserData = true
    jail.mounts = [JailMount(source: "/a", target: "/b", kind: .bind(writable: false))]
    jail.root = .pivotRoot("/r")
    jail.minimalDevices = true
    jail.freshProcesses = true
    jail.temporaryBytes = 1
    jail.fileAccess = FileAccess(rules: [.init("/", .read)])
    jail.limits = [ResourceLimit(.core, soft: 0, hard: 0)]
    jail.systemCallTable = "t"
    jail.filter = try filter()
    return jail
  }

  @Test func takesEveryStepOfAPlan() throws {
    let plan = try JailPlan(try Self.full())
    let confinement = try plan.steps.confinement()
    let programs = ["prepare what the program starts with", "execute the program"]
    #expect(confinement.count == plan.stepDescriptions.count - programs.count)
    #expect(plan.stepDescriptions.suffix(2).first == "load the filter of system calls of test")
    #expect(confinement.last == .loadFilter(try Self.filter()))
  }

  @Test func loadsFilterAlsoBeforePrivilegesGo() throws {
    var jail = JailConfiguration()
    jail.linkage = .static
    jail.noNewPrivileges = false
    jail.filter = try Self.filter()
    jail.user = .init(number: 5)
    let steps = try JailPlan(jail).steps.confinement()
    #expect(
      steps.suffix(2) == [.loadFilter(try Self.filter()), .privilege(.setUser(.init(number: 5)))])
  }

  typealias Edit = @Sendable (inout JailConfiguration) -> Void

  /// What only a launcher can do, and a part of the reason.
  private static let ofPrograms: [(String, Edit)] = [
    ("make a terminal", { $0.ownTerminal = true }),
    ("record each system call", { $0.learnedPolicy = "/p" }),
    ("fork", { ($0.processNamespace, $0.namespaces) = (.withInit, [.mount, .process]) }),
    ("how the program is linked", { ($0.linkage, $0.capabilities) = (.dynamic, []) }),
  ]

  @Test(arguments: ofPrograms) func refusesStepsOfAProgram(_ text: String, _ edit: Edit) throws {
    var jail = JailConfiguration()
    jail.linkage = .static
    edit(&jail)
    let steps = try JailPlan(jail).steps
    do throws(JailError) {
      Issue.record("confines: \(try steps.confinement())")
    } catch {
      #expect(error.description.contains(text), "\(error)")
    }
  }

  /// A step that finds nothing of an earlier one is an error.
  @Test func missingHandoverIsAnError() throws {
    var handover = Handover<Int>("the value")
    #expect(throws: JailError("the value: no earlier step has left it")) { try handover.get() }
    handover.leave(3)
    #expect(try handover.get() == 3)
    #expect(try handover.take() == 3)
    #expect(throws: JailError.self) { try handover.take() }
  }

  private static let mounting: [Edit] = [
    { $0.freshProcesses = true }, { $0.minimalDevices = true }, { $0.temporaryBytes = 1 },
    { $0.daemonStores = ["D"] },
  ]

  /// In the caller's mount namespace they would be the host's, or would not be there at all.
  @Test(arguments: mounting) func refusesMountsOfTheHost(_ edit: Edit) {
    var jail = JailConfiguration()
    edit(&jail)
    #expect(throws: JailError.self) { try JailPlan(jail) }
    jail.namespaces = .mount
    #expect(throws: Never.self) { try JailPlan(jail) }
  }
}
