@testable import Seccomp

// The first byte chooses the architecture and the dialect, the rest is a policy. Whatever is
// accepted must print back to the same meaning, and its program must do what the policy says.

func fuzzPolicy(_ bytes: [UInt8]) {
  guard bytes.count > 1 else { return }
  let architecture = Architecture.allCases[Int(bytes[0]) % Architecture.allCases.count]
  let dialect: Dialect = bytes[0] & 0x80 == 0 ? .minijail : .compileTool
  let text = Array(bytes.dropFirst())
  let parser = PolicyParser(
    architecture: architecture, dialect: dialect, toleratesUnknownCalls: bytes[0] & 0x40 != 0
  ) { (path) throws(ReadFailure) in
    // A policy that includes itself, through whatever path.
    if path.utf8.last == UInt8(ascii: "a") { return text }
    throw ReadFailure(isMissing: true, reason: "no file")
  }
  let policy: Policy
  do { policy = try parser.parse(text, name: "a") } catch {
    precondition(!error.lines.isEmpty, "an error without words")
    return
  }
  let printed = policy.text(dialect)
  guard let again = try? parser.parse(Array(printed.utf8), name: "printed") else {
    fatalError("what was accepted is refused when it is printed:\n\(printed)")
  }
  var compiler = Compiler()
  compiler.logs = bytes[0] & 0x20 != 0
  let program = try? compiler.compile(policy)
  let startup = try? compiler.startupFilter(for: policy)
  for call in calls(policy, text) {
    let code = compiler.code(for: call, policy)
    precondition(
      code == compiler.code(for: call, again), "\(call) means another thing:\n\(printed)")
    if let program {
      precondition(program.run(call).code == code, "\(call) in the program of:\n\(printed)")
    }
    if let startup, Action(code: code) == .allow {
      let result = startup.program.run(call)
      precondition(result.action == .allow && result.steps <= StartupFilter.stepLimit)
    }
  }
}

/// A few calls that the policy names, with arguments out of its own text.
private func calls(_ policy: Policy, _ text: [UInt8]) -> [CallData] {
  var numbers = policy.rules.prefix(20).map(\.call.number)
  numbers += [0, 59, .max, numbers.first.map { $0 &+ 1 } ?? 1]
  let values: [UInt64] = policy.rules.prefix(20).flatMap { rule in
    rule.clauses.flatMap(\.condition).flatMap { $0 }.flatMap { comparison in
      [comparison.value.bits, comparison.value.bits &+ 1, comparison.value.bits &- 1]
    }
  }
  let arguments = values.prefix(12) + [0, .max, UInt64(text.count)]
  return numbers.flatMap { number in
    arguments.map { value in
      CallData(
        number: number, architecture: policy.architecture.auditNumber,
        arguments: Array(repeating: value, count: 6))
    }
  }
}
