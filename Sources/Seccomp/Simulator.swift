/// What a program says to a call, and at what cost.
package struct RunResult: Hashable, Sendable {
  /// SECCOMP_RET_… with its data.
  package let code: UInt32
  /// How many instructions were executed.
  package let steps: Int
  /// The instruction that returned, counted from 0.
  package let index: Int

  /// Nil for a value that the kernel does not define.
  package var action: Action? { Action(code: code) }
}

extension FilterProgram {
  /// Runs the program as the kernel does. It ends: jumps lead forward only.
  package func run(_ call: CallData) -> RunResult {
    var accumulator: UInt32 = 0
    var index: UInt32 = 0
    var memory: [UInt32] = []
    var next = 0
    var steps = 0
    while true {
      let here = next
      let instruction = instructions[here]
      let operand = instruction.operand
      next += 1
      steps += 1
      switch instruction.code {
      case OperationCode.loadAbsolute: accumulator = call.word(at: operand)
      case OperationCode.returnOperand: return RunResult(code: operand, steps: steps, index: here)
      case OperationCode.returnAccumulator:
        return RunResult(code: accumulator, steps: steps, index: here)
      case OperationCode.jump: next += Int(operand)
      case OperationCode.loadImmediate: accumulator = operand
      case OperationCode.loadIndexImmediate: index = operand
      case OperationCode.loadLength: accumulator = CallData.size
      case OperationCode.loadIndexLength: index = CallData.size
      case OperationCode.loadMemory: accumulator = memory[Int(operand)]
      case OperationCode.loadIndexMemory: index = memory[Int(operand)]
      case OperationCode.store, OperationCode.storeIndex:
        if memory.isEmpty { memory = Array(repeating: 0, count: 16) }
        memory[Int(operand)] = instruction.code == OperationCode.store ? accumulator : index
      case OperationCode.negate: accumulator = 0 &- accumulator
      case OperationCode.accumulatorToIndex: index = accumulator
      case OperationCode.indexToAccumulator: accumulator = index
      default:
        let isFromIndex = instruction.code & OperationCode.fromIndex != 0
        let code = instruction.code & ~OperationCode.fromIndex
        let right = isFromIndex ? index : operand
        if let holds = Self.holds(code, accumulator, right) {
          next += Int(holds ? instruction.jumpTrue : instruction.jumpFalse)
        } else if code == 0x34, right == 0 {
          return RunResult(code: 0, steps: steps, index: here)  // division by zero in X returns 0
        } else {
          accumulator = Self.compute(code, accumulator, right)
        }
      }
    }
  }

  private static func holds(_ code: UInt16, _ left: UInt32, _ right: UInt32) -> Bool? {
    switch code {
    case OperationCode.jumpEqual: left == right
    case OperationCode.jumpGreater: left > right
    case OperationCode.jumpGreaterOrEqual: left >= right
    case OperationCode.jumpSet: left & right != 0
    default: nil
    }
  }

  private static func compute(_ code: UInt16, _ left: UInt32, _ right: UInt32) -> UInt32 {
    switch code {
    case 0x04: left &+ right
    case 0x14: left &- right
    case 0x24: left &* right
    case 0x34: left / right
    case 0x44: left | right
    case 0x54: left & right
    case 0x64: left << (right & 31)
    case 0x74: left >> (right & 31)
    default: left ^ right
    }
  }
}
