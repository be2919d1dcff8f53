/// One instruction of classic BPF: `struct sock_filter` of <linux/filter.h>.
package struct Instruction: Hashable, Sendable {
  package let code: UInt16
  /// How many instructions to skip when a condition holds, and when it does not.
  package let jumpTrue: UInt8
  package let jumpFalse: UInt8
  package let operand: UInt32

  package init(code: UInt16, jumpTrue: UInt8 = 0, jumpFalse: UInt8 = 0, operand: UInt32) {
    self.code = code
    self.jumpTrue = jumpTrue
    self.jumpFalse = jumpFalse
    self.operand = operand
  }
}

/// The operation codes of classic BPF, composed as <linux/bpf_common.h> does.
package enum OperationCode {
  /// A = 32 bits of `seccomp_data` at the operand.
  package static let loadAbsolute: UInt16 = 0x20
  /// A or X = operand.
  package static let loadImmediate: UInt16 = 0x00
  package static let loadIndexImmediate: UInt16 = 0x01
  /// A or X = size of `seccomp_data`.
  package static let loadLength: UInt16 = 0x80
  package static let loadIndexLength: UInt16 = 0x81
  /// A or X = a word of the scratch memory, and back.
  package static let loadMemory: UInt16 = 0x60
  package static let loadIndexMemory: UInt16 = 0x61
  package static let store: UInt16 = 0x02
  package static let storeIndex: UInt16 = 0x03
  package static let jump: UInt16 = 0x05
  package static let jumpEqual: UInt16 = 0x15
  package static let jumpGreater: UInt16 = 0x25
  package static let jumpGreaterOrEqual: UInt16 = 0x35
  /// If A and the operand have a common bit.
  package static let jumpSet: UInt16 = 0x45
  package static let returnOperand: UInt16 = 0x06
  package static let returnAccumulator: UInt16 = 0x16
  package static let negate: UInt16 = 0x84
  package static let accumulatorToIndex: UInt16 = 0x07
  package static let indexToAccumulator: UInt16 = 0x87
  /// With this bit the second operand is X.
  package static let fromIndex: UInt16 = 0x08
  /// ADD, SUB, MUL, DIV, OR, AND, LSH, RSH and XOR with a constant.
  package static let arithmetic: [UInt16] = [
    0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0xa4,
  ]
  package static let conditions = [jumpEqual, jumpGreater, jumpGreaterOrEqual, jumpSet]
}

/// What the kernel shows to a filter: `struct seccomp_data` of <linux/seccomp.h>.
package struct CallData: Hashable, Sendable {
  package var number: UInt32
  package var architecture: UInt32
  package var instructionPointer: UInt64
  /// Six, whatever the call takes.
  package private(set) var arguments: [UInt64]

  package init(
    number: UInt32, architecture: UInt32, instructionPointer: UInt64 = 0, arguments: [UInt64] = []
  ) {
    self.number = number
    self.architecture = architecture
    self.instructionPointer = instructionPointer
    self.arguments = Array((arguments + [0, 0, 0, 0, 0, 0]).prefix(6))
  }

  /// Bytes.
  static let size: UInt32 = 64
  static let numberOffset: UInt32 = 0
  static let architectureOffset: UInt32 = 4

  /// Where a half of an argument is: all five architectures are little-endian.
  static func offset(ofArgument index: Int, isUpper: Bool) -> UInt32 {
    16 + UInt32(index) * 8 + (isUpper ? 4 : 0)
  }

  /// The 32 bits at an offset that is a multiple of 4 and below ``size``.
  func word(at offset: UInt32) -> UInt32 {
    let value: UInt64
    switch offset {
    case 0: return number
    case 4: return architecture
    case 8, 12: value = instructionPointer
    default: value = arguments[Int(offset - 16) / 8]
    }
    return UInt32(truncatingIfNeeded: offset % 8 == 0 ? value : value >> 32)
  }
}
