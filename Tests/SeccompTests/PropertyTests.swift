import Seccomp
import Testing

/// What the program says is what the policy says, whatever they are.
@Suite struct PropertyTests {
  @Test(arguments: Architecture.allCases, Dialect.allCases)
  func programAgreesWithPolicy(_ architecture: Architecture, _ dialect: Dialect) throws {
    for seed in 1...UInt64(25) {
      var random = RandomPolicies(seed: seed, architecture: architecture)
      let policy = random.policy(dialect)
      let compiler = random.compiler()
      let program = try compiler.compile(policy)
      for call in random.calls(for: policy, count: 200) {
        let expected = compiler.code(for: call, policy)
        let found = program.run(call)
        try #require(
          found.code == expected,
          "seed \(seed): \(call)\n\(compiler)\n\(policy.text(dialect))\n\(program.assembly(for: architecture))"
        )
        try #require(found.steps <= program.instructions.count)
      }
      try expectNothingLoadedTwice(program, "seed \(seed)")
    }
  }

  /// Words that are loaded on the way from the start, on every path at once.
  private func expectNothingLoadedTwice(_ program: FilterProgram, _ comment: Comment) throws {
    var loaded = [Set<Set<UInt32>>](repeating: [], count: program.instructions.count)
    loaded[0] = [[]]
    for (index, instruction) in program.instructions.enumerated() {
      for before in loaded[index] {
        var after = before
        var next: [Int] = [index + 1]
        switch instruction.code {
        case OperationCode.loadAbsolute:
          try #require(after.insert(instruction.operand).inserted, comment)
        case OperationCode.jump: next = [index + 1 + Int(instruction.operand)]
        case OperationCode.returnOperand: next = []
        default:
          next = [index + 1 + Int(instruction.jumpTrue), index + 1 + Int(instruction.jumpFalse)]
        }
        for index in next { loaded[index].insert(after) }
      }
    }
  }

  @Test(arguments: Architecture.allCases, Dialect.allCases)
  func textReadsBackToTheSameMeaning(_ architecture: Architecture, _ dialect: Dialect) throws {
    for seed in 1...UInt64(25) {
      var random = RandomPolicies(seed: seed &+ 1000, architecture: architecture)
      let original = random.policy(dialect)
      let text = original.text(dialect)
      let again: Policy
      do throws(PolicyError) {
        again = try policy(text, on: architecture, dialect: dialect)
      } catch {
        Issue.record("seed \(seed): \(error)\n\(text)")
        return
      }
      #expect(again.text(dialect) == text, "seed \(seed)")
      for call in random.calls(for: original, count: 100) {
        let expected = original.decision(call).action
        try #require(again.decision(call).action == expected, "seed \(seed): \(call)\n\(text)")
      }
    }
  }

  @Test func manyRulesNeedFarJumps() throws {
    // Different blocks for every call: more than 255 instructions lie between tree and block.
    var text = ""
    for call in Architecture.x86_64.systemCalls.prefix(300) {
      text +=
        "\(call.name): arg0 == \(call.number + 7) || arg1 == \(call.number * 3 + 1); return 7\n"
    }
    let policy = try policy(text)
    let program = try Compiler().compile(policy)
    #expect(program.instructions.count > 1000)
    var random = RandomPolicies(seed: 5, architecture: .x86_64)
    for call in random.calls(for: policy, count: 5000) {
      try #require(program.run(call).code == Compiler().code(for: call, policy), "\(call)")
    }
  }
}
