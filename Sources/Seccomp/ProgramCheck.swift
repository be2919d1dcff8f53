/// The rules of the kernel: bpf_check_classic() and check_load_and_stores() of net/core/filter.c,
/// and seccomp_check_filter() of kernel/seccomp.c (Linux 6.18).
extension FilterProgram {
  static func check(_ instructions: [Instruction]) throws(ProgramError) {
    guard !instructions.isEmpty else { throw ProgramError(.empty) }
    guard instructions.count <= lengthLimit else { throw ProgramError(.long(instructions.count)) }
    for (index, instruction) in instructions.enumerated() {
      try check(instruction, at: index, of: instructions.count)
    }
    switch instructions[instructions.count - 1].code {
    case OperationCode.returnOperand, OperationCode.returnAccumulator: break
    default: throw ProgramError(.noReturn, at: instructions.count - 1)
    }
    try checkMemory(instructions)
  }

  private static func check(
    _ instruction: Instruction, at index: Int, of count: Int
  ) throws(ProgramError) {
    let operand = instruction.operand
    switch instruction.code {
    case OperationCode.loadAbsolute:
      guard operand < CallData.size, operand % 4 == 0 else {
        throw ProgramError(.load(offset: operand), at: index)
      }
    case OperationCode.loadMemory, OperationCode.loadIndexMemory, OperationCode.store,
      OperationCode.storeIndex:
      guard operand < 16 else { throw ProgramError(.memory(operand), at: index) }
    case OperationCode.jump:
      guard Int(operand) < count - index - 1 else { throw ProgramError(.jump, at: index) }
    case let code where OperationCode.conditions.contains(code & ~OperationCode.fromIndex):
      guard
        index + 1 + Int(max(instruction.jumpTrue, instruction.jumpFalse)) < count
      else { throw ProgramError(.jump, at: index) }
    case 0x34 where operand == 0: throw ProgramError(.divisionByZero, at: index)
    case 0x64 where operand >= 32, 0x74 where operand >= 32:
      throw ProgramError(.shift(operand), at: index)
    case let code where OperationCode.arithmetic.contains(code & ~OperationCode.fromIndex): break
    case OperationCode.loadImmediate, OperationCode.loadIndexImmediate, OperationCode.loadLength,
      OperationCode.loadIndexLength, OperationCode.returnOperand, OperationCode.returnAccumulator,
      OperationCode.negate, OperationCode.accumulatorToIndex, OperationCode.indexToAccumulator:
      break
    default: throw ProgramError(.unknownCode(instruction.code), at: index)
    }
  }

  /// No memory cell may be read that was not written on every path to it.
  private static func checkMemory(_ instructions: [Instruction]) throws(ProgramError) {
    // The cells that are written on every path; all of them where no path has come yet.
    var written = [UInt16](repeating: .max, count: instructions.count)
    var here: UInt16 = 0
    for (index, instruction) in instructions.enumerated() {
      here &= written[index]
      func leads(to offset: Int) { written[index + 1 + offset] &= here }
      switch instruction.code {
      case OperationCode.store, OperationCode.storeIndex: here |= 1 << UInt16(instruction.operand)
      case OperationCode.loadMemory, OperationCode.loadIndexMemory:
        guard here & 1 << UInt16(instruction.operand) != 0 else {
          throw ProgramError(.unsetMemory(instruction.operand), at: index)
        }
      case OperationCode.jump:
        leads(to: Int(instruction.operand))
        here = .max
      case let code where OperationCode.conditions.contains(code & ~OperationCode.fromIndex):
        leads(to: Int(instruction.jumpTrue))
        leads(to: Int(instruction.jumpFalse))
        here = .max
      default: break
      }
    }
  }
}
