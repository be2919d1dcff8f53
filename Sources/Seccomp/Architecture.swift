/// A machine that a policy can be compiled for.
///
/// The order is that of the columns in Tables.
public enum Architecture: CaseIterable, Hashable, Sendable {
  /// AMD64, with the numbers of the 64-bit interface; calls of x32 match no rule.
  case x86_64
  /// 32-bit programs of Intel and AMD processors, whose system calls have numbers of their own.
  case i386
  /// 64-bit Arm, little-endian.
  case aarch64
  /// 32-bit Arm with the EABI, little-endian.
  case arm
  /// 64-bit RISC-V.
  case riscv64

  /// The column of the tables that is for it.
  var column: Int {
    switch self {
    case .x86_64: 0
    case .i386: 1
    case .aarch64: 2
    case .arm: 3
    case .riscv64: 4
    }
  }

  /// What `seccomp_data.arch` holds: AUDIT_ARCH_… of <linux/audit.h>.
  package var auditNumber: UInt32 {
    switch self {
    case .x86_64: 0xc000_003e
    case .i386: 0x4000_0003
    case .aarch64: 0xc000_00b7
    case .arm: 0x4000_0028
    case .riscv64: 0xc000_00f3
    }
  }

  package init?(auditNumber: UInt32) {
    guard let found = Self.allCases.first(where: { $0.auditNumber == auditNumber }) else {
      return nil
    }
    self = found
  }

  /// The kernel's name for it, as uname(2) and `--arch` have it.
  package var name: String {
    switch self {
    case .x86_64: "x86_64"
    case .i386: "i386"
    case .aarch64: "aarch64"
    case .arm: "arm"
    case .riscv64: "riscv64"
    }
  }

  /// Also takes the names of the compile tool (`x86`, `arm64`) and of uname(2) (`i686`, `armv7l`).
  package init?(name: String) {
    switch name {
    case "x86_64", "amd64": self = .x86_64
    case "i386", "i686", "x86": self = .i386
    case "aarch64", "arm64": self = .aarch64
    case "arm", "armv6l", "armv7l", "armv8l": self = .arm
    case "riscv64": self = .riscv64
    default: return nil
    }
  }

  /// The architecture that this module was compiled for; nil for one without tables.
  public static var current: Architecture? {
    #if arch(x86_64)
      .x86_64
    #elseif arch(i386)
      .i386
    #elseif arch(arm64)
      .aarch64
    #elseif arch(arm)
      .arm
    #elseif arch(riscv64)
      .riscv64
    #else
      nil
    #endif
  }

  /// Whether arguments have 64 bits; otherwise the kernel shows their upper halves as zero.
  package var is64Bit: Bool {
    switch self {
    case .x86_64, .aarch64, .riscv64: true
    case .i386, .arm: false
    }
  }

  /// System call numbers from here on belong to another interface: x32, whose calls arrive with
  /// the architecture of x86_64 and `__X32_SYSCALL_BIT` set.
  package var numberLimit: UInt64 { self == .x86_64 ? 0x4000_0000 : 1 << 32 }

  package func number(ofCall name: String) -> UInt32? {
    var name = name
    return name.withUTF8 { number(ofCall: $0) }
  }

  func number(ofCall name: UnsafeBufferPointer<UInt8>) -> UInt32? {
    guard case .value(let number)? = NameTable.systemCalls.value(of: name, on: self) else {
      return nil
    }
    return UInt32(truncatingIfNeeded: number)
  }

  package func name(ofCall number: UInt32) -> String? {
    NameTable.systemCalls.name(of: UInt64(number), on: self)
  }

  /// Every system call, in the order of their numbers.
  package var systemCalls: [SystemCall] {
    var calls: [SystemCall] = []
    NameTable.systemCalls.forEach(on: self) { name, value in
      if case .value(let number) = value {
        calls.append(SystemCall(number: UInt32(truncatingIfNeeded: number), name: name))
      }
    }
    return calls.sorted { ($0.number, $0.name) < ($1.number, $1.name) }
  }

  /// A constant of the C headers; nil for a name that this architecture does not have.
  /// The bits that an argument has.
  var argumentMask: UInt64 { is64Bit ? .max : 0xffff_ffff }

  package func constant(_ name: String) -> Constant? {
    var name = name
    return name.withUTF8 { constant($0) }
  }

  func constant(_ name: UnsafeBufferPointer<UInt8>) -> Constant? {
    switch NameTable.constants.value(of: name, on: self) {
    case nil: nil
    case .value(let bits): Constant(bits: bits, isNegativeInt: false)
    case .negativeInt(let magnitude): Constant(bits: 0 &- magnitude, isNegativeInt: true)
    }
  }
}

package struct SystemCall: Hashable, Sendable, CustomStringConvertible {
  package let number: UInt32
  /// The table's name, or the number as it was written where the table has none.
  package let name: String

  package init(number: UInt32, name: String) {
    self.number = number
    self.name = name
  }

  package var description: String { name }
}

/// The value of a constant.
package struct Constant: Hashable, Sendable {
  /// As C converts it to `unsigned long long`.
  package let bits: UInt64
  /// A negative `int` such as AT_FDCWD. Whether its upper half arrives in the kernel as zeros or as
  /// ones depends on the C library, and the kernel looks at the lower half alone.
  package let isNegativeInt: Bool
}
