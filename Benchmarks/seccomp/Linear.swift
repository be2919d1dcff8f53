import Seccomp

/// The program that the reference makes for `-S`: rules in file order, then the argument blocks
/// with their labels, which are jumps to the next instruction.
enum Linear {
  static func program(for policy: Policy) -> FilterProgram? {
    var code: [Instruction] = [
      Instruction(code: OperationCode.loadAbsolute, operand: 4),
      Instruction(
        code: OperationCode.jumpEqual, jumpTrue: 1, operand: policy.architecture.auditNumber),
      Instruction(code: OperationCode.returnOperand, operand: 0),
      Instruction(code: OperationCode.loadAbsolute, operand: 0),
    ]
    var blocks: [[Instruction]] = []
    var jumps: [Int] = []
    for rule in policy.rules {
      code.append(
        Instruction(code: OperationCode.jumpEqual, jumpFalse: 1, operand: rule.call.number))
      if rule.clauses.isEmpty, rule.otherwise == .allow {
        code.append(Instruction(code: OperationCode.returnOperand, operand: 0x7fff_0000))
      } else {
        jumps.append(code.count)
        code.append(Instruction(code: OperationCode.jump, operand: 0))
        blocks.append(block(rule))
      }
    }
    code.append(Instruction(code: OperationCode.returnOperand, operand: 0))
    for (block, jump) in zip(blocks, jumps) {
      code[jump] = Instruction(code: OperationCode.jump, operand: UInt32(code.count - jump - 1))
      code += block
    }
    return try? FilterProgram(code)
  }

  private static func jump(_ distance: Int) -> Instruction {
    Instruction(code: OperationCode.jump, operand: UInt32(distance))
  }

  private static func block(_ rule: Rule) -> [Instruction] {
    let failed = Instruction(
      code: OperationCode.returnOperand,
      operand: (rule.otherwise ?? .kill).code(killsProcess: false))
    guard let condition = rule.clauses.first?.condition else { return [jump(0), failed] }
    let groups = condition.map { $0.map(atom) }
    var block = [jump(0)]
    // Each group ends in a jump to success and a label.
    let sizes = groups.map { $0.map { $0.count + 1 }.reduce(2, +) }
    var left = sizes.reduce(0, +)
    for (group, size) in zip(groups, sizes) {
      left -= size
      var rest = size
      for atom in group {
        rest -= atom.count + 1
        block += atom
        block.append(jump(rest - 1))  // to the label
      }
      block.append(jump(1 + left + 1))  // over the label, what is left and the return
      block.append(jump(0))
    }
    block.append(failed)
    block.append(jump(0))
    block.append(Instruction(code: OperationCode.returnOperand, operand: 0x7fff_0000))
    return block
  }

  /// Falls through to the jump behind it when the comparison fails, skips it when it holds.
  private static func atom(_ comparison: Comparison) -> [Instruction] {
    let offset = UInt32(16 + comparison.argument * 8)
    let low = UInt32(truncatingIfNeeded: comparison.value.bits)
    let high = UInt32(truncatingIfNeeded: comparison.value.bits >> 32)
    let loads = [
      Instruction(code: OperationCode.loadAbsolute, operand: offset),
      Instruction(code: OperationCode.store, operand: 0),
      Instruction(code: OperationCode.loadAbsolute, operand: offset + 4),
      Instruction(code: OperationCode.store, operand: 1),
    ]
    let lower = Instruction(code: OperationCode.loadMemory, operand: 0)
    switch comparison.operation {
    case .equal:
      return loads + [
        Instruction(code: OperationCode.jumpEqual, jumpFalse: 2, operand: high), lower,
        Instruction(code: OperationCode.jumpEqual, jumpTrue: 1, operand: low),
      ]
    case .notEqual:
      return loads + [
        Instruction(code: OperationCode.jumpEqual, jumpFalse: 3, operand: high), lower,
        Instruction(code: OperationCode.jumpEqual, jumpFalse: 1, operand: low),
      ]
    case .intersects:
      return loads + [
        Instruction(code: OperationCode.jumpSet, jumpTrue: 3, operand: high), lower,
        Instruction(code: OperationCode.jumpSet, jumpTrue: 1, operand: low),
      ]
    case .within:
      return loads + [
        Instruction(code: OperationCode.jumpSet, jumpTrue: 2, operand: ~high), lower,
        Instruction(code: OperationCode.jumpSet, jumpFalse: 1, operand: ~low),
      ]
    case .less, .lessOrEqual, .greater, .greaterOrEqual:
      let isAbove = comparison.operation == .greater || comparison.operation == .greaterOrEqual
      let isStrict = comparison.operation == .greater || comparison.operation == .lessOrEqual
      let code = isStrict ? OperationCode.jumpGreater : OperationCode.jumpGreaterOrEqual
      return loads + [
        Instruction(
          code: OperationCode.jumpGreater, jumpTrue: isAbove ? 4 : 3, operand: high),
        Instruction(code: OperationCode.jumpEqual, jumpFalse: isAbove ? 2 : 3, operand: high),
        lower,
        Instruction(
          code: code, jumpTrue: isAbove ? 1 : 0, jumpFalse: isAbove ? 0 : 1, operand: low),
      ]
    }
  }
}
