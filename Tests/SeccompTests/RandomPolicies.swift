import Seccomp

/// Makes policies and calls that go to the borders of everything.
struct RandomPolicies {
  var numbers: Numbers
  let architecture: Architecture
  private let calls: [SystemCall]

  init(seed: UInt64, architecture: Architecture) {
    numbers = Numbers(seed: seed)
    self.architecture = architecture
    calls = architecture.systemCalls
  }

  private mutating func chance(_ percent: Int) -> Bool {
    Int.random(in: 0..<100, using: &numbers) < percent
  }

  private mutating func pick<Element>(_ elements: [Element]) -> Element {
    elements[Int.random(in: 0..<elements.count, using: &numbers)]
  }

  mutating func value() -> UInt64 {
    let small = UInt64.random(in: 0...8, using: &numbers)
    let bit = UInt64(1) << UInt64.random(in: 0..<64, using: &numbers)
    let wide: UInt64 =
      switch Int.random(in: 0..<10, using: &numbers) {
      case 0...3: small
      case 4: bit
      case 5: bit &- 1
      case 6: small << 32 | UInt64.random(in: 0...8, using: &numbers)
      case 7: .max &- small
      case 8: 0xffff_ffff &+ small &- 4
      default: UInt64.random(in: 0 ... .max, using: &numbers)
      }
    return architecture.is64Bit ? wide : wide & 0xffff_ffff
  }

  mutating func action() -> Action {
    pick(
      [.allow, .allow, .kill, .killProcess, .killThread, .trap, .trace, .log, .userNotify]
        + [.errno(0), .errno(1), .errno(4095)])
  }

  mutating func comparison(of argument: Int) -> Comparison {
    if chance(6) {
      let bits: UInt64 = architecture.is64Bit ? 0xffff_ffff_ffff_ff9c : 0xffff_ff9c
      let value = Value(text: "AT_FDCWD", bits: bits, isInt: architecture.is64Bit)
      return Comparison(argument: argument, operation: pick([.equal, .notEqual]), value: value)
    }
    return Comparison(
      argument: argument, operation: pick(Operator.allCases), value: Value(value()))
  }

  mutating func condition() -> [[Comparison]] {
    let arguments = chance(60) ? [Int.random(in: 0...5, using: &numbers)] : [0, 2, 5]
    return (0..<Int.random(in: 1...(chance(10) ? 12 : 3), using: &numbers)).map { _ in
      (0..<Int.random(in: 1...3, using: &numbers)).map { _ in comparison(of: pick(arguments)) }
    }
  }

  mutating func policy(_ dialect: Dialect) -> Policy {
    var policy = Policy(architecture: architecture)
    let count = Int.random(in: 0...pick([4, 30, 120]), using: &numbers)
    let place = Place(file: "random", line: 1)
    var shared: [Clause] = []
    for call in calls.shuffled(using: &numbers).prefix(count) {
      var clauses: [Clause] = []
      var otherwise: Action? = chance(80) ? .allow : action()
      if chance(25) {
        clauses = (0..<Int.random(in: 1...3, using: &numbers)).map { _ in
          Clause(condition: condition(), action: chance(60) ? .allow : action(), place: place)
        }
        if chance(30), !shared.isEmpty { clauses = shared }
        shared = clauses
        otherwise = chance(50) ? nil : action()
      } else if dialect == .minijail, chance(5) {
        otherwise = nil
      }
      if policy.rules.contains(where: { $0.call.number == call.number }) { continue }
      policy.rules.append(Rule(call: call, clauses: clauses, otherwise: otherwise, place: place))
      if chance(10) {
        policy.frequencies[call.number] = UInt64.random(in: 0...100_000, using: &numbers)
      }
    }
    if chance(20) { policy.defaultAction = pick([.trap, .killProcess, .userNotify]) }
    return policy
  }

  mutating func compiler() -> Compiler {
    var compiler = Compiler()
    compiler.killsProcess = chance(30)
    compiler.logs = chance(20)
    compiler.hasActionLog = chance(80)
    compiler.hasActionKillProcess = chance(80)
    compiler.allowsSyslog = chance(10)
    if chance(10) { compiler.defaultAction = action() }
    return compiler
  }

  /// Calls at the borders of what a policy says, and some beyond.
  mutating func calls(for policy: Policy, count: Int) -> [CallData] {
    var calls: [CallData] = []
    for _ in 0..<count {
      var call = CallData(number: 0, architecture: architecture.auditNumber)
      let rule = policy.rules.isEmpty || chance(20) ? nil : pick(policy.rules)
      call.number =
        rule?.call.number
        ?? pick([0, 1, .max, 0x4000_0000, 0x4000_0001, UInt32.random(in: 0...600, using: &numbers)])
      if rule != nil, chance(10) { call.number = call.number &+ (chance(50) ? 1 : .max) }
      var arguments = (0..<6).map { _ in value() }
      for group in rule?.clauses.flatMap(\.condition) ?? [] {
        for comparison in group where chance(70) {
          let value = comparison.value.bits
          let near: [UInt64] = [
            value, value &+ 1, value &- 1, ~value, value ^ 1 << 32, value | 1 << 63, 0,
            value & 0xffff_ffff, value &+ 1 << 32, value & ~(value &- 1),
          ]
          let argument = pick(near + [value, value])
          arguments[comparison.argument] =
            architecture.is64Bit ? argument : argument & 0xffff_ffff
        }
      }
      let foreign: UInt32 = pick([0, 0x4000_0003, 0xc000_003e])
      calls.append(
        CallData(
          number: call.number, architecture: chance(2) ? foreign : call.architecture,
          instructionPointer: value(), arguments: arguments))
    }
    return calls
  }
}
