/// Turns a policy into a program.
///
/// The program looks at the architecture, then at the number, by a search tree of comparisons, then
/// at the arguments that the call's rule names.
public struct Compiler: Hashable, Sendable {
  /// For calls that no rule decides; nil for the policy's `@default`, or else ``Action/kill``.
  public var defaultAction: Action?
  /// Whether ``Action/kill`` kills the process and not the thread, as with `minijail0 -Y`.
  public var killsProcess = false
  /// Whether what would kill is allowed, and written to the audit log, as with `minijail0 -L`: to
  /// try a policy. It protects nothing.
  public var logs = false
  /// Whether the kernel lists `log` and `kill_process` in
  /// /proc/sys/kernel/seccomp/actions_avail. Without `log`, logging traps instead: the signal's
  /// handler reports the call. Without `kill_process`, `-Y` traps.
  package var hasActionLog = true
  package var hasActionKillProcess = true
  /// Allows what syslog(3) calls, whatever the policy says: for the handler just mentioned.
  package var allowsSyslog = false

  /// The policy's own default action, killing threads, and no log.
  public init() {}

  /// - Throws: ``CompileError`` when the program would be larger than the kernel takes.
  package func compile(_ policy: Policy) throws(CompileError) -> FilterProgram {
    try compile(policy, checksArchitecture: true)
  }

  func compile(
    _ policy: Policy, checksArchitecture: Bool
  ) throws(CompileError) -> FilterProgram {
    do {
      return try compile(policy, checksArchitecture, sharesLoads: true)
    } catch {
      // The quicker form of a rule can be the larger one.
      return try compile(policy, checksArchitecture, sharesLoads: false)
    }
  }

  private func compile(
    _ policy: Policy, _ checksArchitecture: Bool, sharesLoads: Bool
  ) throws(CompileError) -> FilterProgram {
    var graph = DecisionGraph()
    var decisions = ArgumentDecisions(
      is64Bit: policy.architecture.is64Bit, sharesLoads: sharesLoads)
    let standard = graph.leaf(code(nil, policy))
    var targets: [UInt32: (node: Int, weight: Int)] = [:]
    for rule in policy.rules {
      let node = decisions.node(for: rule, in: &graph) { code($0, policy) }
      targets[rule.call.number] = (node, weight(of: rule.call.number, policy))
    }
    if allowsSyslog {
      for number in syslogCalls(policy.architecture) {
        targets[number] = (graph.leaf(Action.allowCode), weight(of: number, policy))
      }
    }
    let runs = Self.runs(targets.map { ($0.key, $0.value.node, $0.value.weight) }, standard)
    // A border takes an instruction at least, so what is far too much need not be built.
    let borders = zip(runs, runs.dropFirst()).reduce(0) {
      $0 + ($1.0.target == $1.1.target ? 0 : 1)
    }
    guard borders <= FilterProgram.lengthLimit * 2 else {
      throw CompileError(instructionCount: nil)
    }
    let tree = graph.searchTree(runs, hottest: policy.frequencies.isEmpty ? 0 : 12)
    return try program(graph, tree, checksArchitecture ? policy.architecture : nil)
  }

  /// Begins with the architecture, where that is not known already, ends in a program.
  func program(
    _ graph: consuming DecisionGraph, _ tree: Int, _ architecture: Architecture?
  ) throws(CompileError) -> FilterProgram {
    var root = graph.load(CallData.numberOffset, next: tree)
    if let architecture {
      let foreign = graph.leaf(Action.kill.code(killsProcess: killsProcess && hasActionKillProcess))
      let check = graph.test(.equal, architecture.auditNumber, yes: root, no: foreign)
      root = graph.load(CallData.architectureOffset, next: check)
    }
    let instructions = Layout.instructions(of: graph, root: root)
    do throws(ProgramError) {
      return try FilterProgram(instructions)
    } catch {
      throw CompileError(instructionCount: instructions.count)
    }
  }

  /// What the program returns for an action; nil is the default one.
  package func code(_ action: Action?, _ policy: Policy) -> UInt32 {
    let action = action ?? (logs ? .kill : defaultAction ?? policy.defaultAction ?? .kill)
    switch action {
    case .kill, .killThread, .killProcess:
      if logs { return (hasActionLog ? Action.log : .trap).code(killsProcess: false) }
      let isProcess = action == .killProcess || (action == .kill && killsProcess)
      if isProcess, !hasActionKillProcess { return Action.trap.code(killsProcess: false) }
      return action.code(killsProcess: killsProcess)
    default: return action.code(killsProcess: false)
    }
  }

  /// What the program must return for a call: the policy read directly, for tests and for who asks.
  package func code(for call: CallData, _ policy: Policy) -> UInt32 {
    guard call.architecture == policy.architecture.auditNumber else {
      return Action.kill.code(killsProcess: killsProcess && hasActionKillProcess)
    }
    if allowsSyslog, syslogCalls(policy.architecture).contains(call.number) {
      return Action.allowCode
    }
    return code(policy.decision(call).action, policy)
  }

  /// Rules by number with the default action between them: the whole range of numbers, in order.
  static func runs(_ targets: [(number: UInt32, node: Int, weight: Int)], _ standard: Int) -> [Run]
  {
    var runs: [Run] = []
    runs.reserveCapacity(targets.count * 2 + 1)
    var next: UInt64 = 0
    for target in targets.sorted(by: { $0.number < $1.number }) {
      if UInt64(target.number) > next {
        runs.append(Run(start: UInt32(next), target: standard, weight: gapWeight))
      }
      runs.append(Run(start: target.number, target: target.node, weight: target.weight))
      next = UInt64(target.number) + 1
    }
    if next < 1 << 32 {
      runs.append(Run(start: UInt32(next), target: standard, weight: gapWeight))
    }
    return runs
  }

  /// A call that a policy names is made; one that it does not name ends the program.
  static let callWeight = 16
  static let gapWeight = 2

  private func weight(of number: UInt32, _ policy: Policy) -> Int {
    guard !policy.frequencies.isEmpty else { return Self.callWeight }
    return Self.callWeight * Int(max(1, policy.frequencies[number] ?? 1))
  }

  func syslogCalls(_ architecture: Architecture) -> [UInt32] {
    let names =
      switch architecture {
      case .x86_64: ["socket", "connect", "sendto", "writev"]
      case .i386: ["socketcall", "time", "writev"]
      case .arm: ["socket", "connect", "gettimeofday", "send", "writev"]
      case .aarch64: ["socket", "connect", "send", "writev"]
      case .riscv64: ["socket", "connect", "sendto"]
      }
    return names.compactMap { architecture.number(ofCall: $0) }
  }
}

/// A policy that comes to more than the kernel takes.
package struct CompileError: Error, Hashable, Sendable, CustomStringConvertible {
  /// Nil when the policy was so large that no program was made.
  package let instructionCount: Int?

  package var description: String {
    let count = instructionCount.map { "\($0)" } ?? "far more"
    return "the policy needs \(count) instructions; the kernel takes \(FilterProgram.lengthLimit)"
  }
}
