/// One instruction of classic BPF: `struct sock_filter` of <linux/filter.h>.
public struct Instruction: Hashable, Sendable {
  public let code: UInt16
  /// How many instructions to skip when a condition holds, and when it does not.
  public let jumpTrue: UInt8
  public let jumpFalse: UInt8
  public let operand: UInt32

  public init(code: UInt16, jumpTrue: UInt8 = 0, jumpFalse: UInt8 = 0, operand: UInt32) {
    self.code = code
    self.jumpTrue = jumpTrue
    self.jumpFalse = jumpFalse
    self.operand = operand
  }
}

/// The operation codes of classic BPF, composed as <linux/bpf_common.h> does.
public enum OperationCode {
  /// A = 32 bits of `seccomp_data` at the operand.
  public static let loadAbsolute: UInt16 = 0x20
  /// A or X = operand.
  public static let loadImmediate: UInt16 = 0x00
  public static let loadIndexImmediate: UInt16 = 0x01
  /// A or X = size of `seccomp_data`.
  public static let loadLength: UInt16 = 0x80
  public static let loadIndexLength: UInt16 = 0x81
  /// A or X = a word of the scratch memory, and back.
  public static let loadMemory: UInt16 = 0x60
  public static let loadIndexMemory: UInt16 = 0x61
  public static let store: UInt16 = 0x02
  public static let storeIndex: UInt16 = 0x03
  public static let jump: UInt16 = 0x05
  public static let jumpEqual: UInt16 = 0x15
  public static let jumpGreater: UInt16 = 0x25
  public static let jumpGreaterOrEqual: UInt16 = 0x35
  /// If A and the operand have a common bit.
  public static let jumpSet: UInt16 = 0x45
  public static let returnOperand: UInt16 = 0x06
  public static let returnAccumulator: UInt16 = 0x16
  public static let negate: UInt16 = 0x84
  public static let accumulatorToIndex: UInt16 = 0x07
  public static let indexToAccumulator: UInt16 = 0x87
  /// With this bit the second operand is X.
  public static let fromIndex: UInt16 = 0x08
  /// ADD, SUB, MUL, DIV, OR, AND, LSH, RSH and XOR with a constant.
  public static let arithmetic: [UInt16] = [
    0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0xa4,
  ]
  public static let conditions = [jumpEqual, jumpGreater, jumpGreaterOrEqual, jumpSet]
}

/// What the kernel shows to a filter: `struct seccomp_data` of <linux/seccomp.h>.
public struct CallData: Hashable, Sendable {
  public var number: UInt32
  public var architecture: UInt32
  public var instructionPointer: UInt64
  /// Six, whatever the call takes.
  public private(set) var arguments: [UInt64]

  public init(
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
