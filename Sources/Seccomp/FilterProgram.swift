/// A program of classic BPF that the kernel would take: checked when it is made.
public struct FilterProgram: Hashable, Sendable {
  package let instructions: [Instruction]

  /// BPF_MAXINSNS of <linux/bpf_common.h>.
  package static let lengthLimit = 4096

  /// - Throws: ``ProgramError`` for what seccomp(2) would refuse with EINVAL, and says why.
  package init(_ instructions: [Instruction]) throws(ProgramError) {
    try Self.check(instructions)
    self.instructions = instructions
  }

  /// Reads what `--seccomp-bpf-binary` takes: instructions of 8 bytes, little-endian, 1 to 4096 of
  /// them (`struct sock_filter` of <linux/filter.h>).
  ///
  /// - Throws: ``ProgramError`` for what seccomp(2) would refuse with EINVAL.
  public init(bytes: [UInt8]) throws(ProgramError) {
    guard bytes.count % 8 == 0 else { throw ProgramError(.partial(bytes: bytes.count)) }
    guard bytes.count <= Self.lengthLimit * 8 else { throw ProgramError(.long(bytes.count / 8)) }
    var instructions: [Instruction] = []
    instructions.reserveCapacity(bytes.count / 8)
    for start in stride(from: 0, to: bytes.count, by: 8) {
      var operand: UInt32 = 0
      for offset in 0..<4 { operand |= UInt32(bytes[start + 4 + offset]) << (8 * offset) }
      instructions.append(
        Instruction(
          code: UInt16(bytes[start]) | UInt16(bytes[start + 1]) << 8,
          jumpTrue: bytes[start + 2], jumpFalse: bytes[start + 3], operand: operand))
    }
    try self.init(instructions)
  }

  /// The same bytes again: what seccomp(2) takes and a file of a program holds.
  package var bytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(instructions.count * 8)
    for instruction in instructions {
      bytes.append(UInt8(truncatingIfNeeded: instruction.code))
      bytes.append(UInt8(truncatingIfNeeded: instruction.code >> 8))
      bytes.append(instruction.jumpTrue)
      bytes.append(instruction.jumpFalse)
      for shift in stride(from: UInt32(0), to: 32, by: 8) {
        bytes.append(UInt8(truncatingIfNeeded: instruction.operand >> shift))
      }
    }
    return bytes
  }

  /// A C header with the program as bytes and a `{count, pointer}` pair, as the compile tool writes
  /// it. `name` becomes part of identifiers: what C does not allow there becomes `_`.
  package func cHeader(name: String) -> String {
    var identifier = ""
    for character in name.utf8 {
      let scalar = Unicode.Scalar(character)
      let isWord =
        scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar))
      identifier.unicodeScalars.append(isWord ? scalar : "_")
    }
    if let first = identifier.first, !first.isNumber {} else { identifier = "_" + identifier }
    let bytes = bytes
    var rows: [String] = []
    for start in stride(from: 0, to: bytes.count, by: 8) {
      let row = bytes[start..<start + 8].map { "0x\($0 < 16 ? "0" : "")\(String($0, radix: 16))" }
      rows.append("  \(row.joined(separator: ", ")),")
    }
    return """
      #pragma once
      #include <linux/filter.h>

      static const unsigned char \(identifier)_bytes[] __attribute__((aligned(8))) = {
      \(rows.joined(separator: "\n"))
      };

      static const struct sock_fprog \(identifier) = {
        .len = sizeof(\(identifier)_bytes) / sizeof(struct sock_filter),
        .filter = (struct sock_filter *)\(identifier)_bytes,
      };

      """
  }
}

/// Why the kernel would not take a program.
public struct ProgramError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Reason: Hashable, Sendable {
    case empty
    case partial(bytes: Int)
    case long(Int)
    case unknownCode(UInt16)
    case load(offset: UInt32)
    case jump
    case memory(UInt32)
    case unsetMemory(UInt32)
    case shift(UInt32)
    case divisionByZero
    case noReturn
  }

  package let reason: Reason
  /// The instruction at fault, counted from 0.
  package let index: Int?

  init(_ reason: Reason, at index: Int? = nil) {
    self.reason = reason
    self.index = index
  }

  /// The instruction at fault, counted from 0, and the reason, in one line.
  public var description: String {
    let text =
      switch reason {
      case .empty: "the program is empty"
      case .partial(let bytes): "\(bytes) bytes are no whole number of 8-byte instructions"
      case .long(let count):
        "the program has \(count) instructions; the kernel takes \(FilterProgram.lengthLimit)"
      case .unknownCode(let code): "code 0x\(String(code, radix: 16)) is not allowed in a filter"
      case .load(let offset): "load from offset \(offset) of the 64 bytes that a filter sees"
      case .jump: "jump past the end of the program"
      case .memory(let cell): "memory cell \(cell) of 16"
      case .unsetMemory(let cell): "memory cell \(cell) is read before it is written"
      case .shift(let bits): "shift by \(bits) bits"
      case .divisionByZero: "division by zero"
      case .noReturn: "the last instruction is no return"
      }
    return index.map { "instruction \($0): \(text)" } ?? text
  }
}
