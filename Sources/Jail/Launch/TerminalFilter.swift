import Seccomp

/// What `--no-new-sessions` adds: a program that keeps the caller's terminal cannot type into it. The
/// ioctl requests TIOCSTI and TIOCLINUX fail with EPERM, whatever way of making calls is used.
enum TerminalFilter {
  private static let requests: [UInt32] = [0x5412, 0x541c]

  /// AUDIT_ARCH_… and the number of ioctl(2): of each kind of call that a kernel for one of our
  /// architectures takes.
  private static let calls: [(architecture: UInt32, number: UInt32)] = [
    (0xc000_003e, 16), (0xc000_003e, 0x4000_0202), (0x4000_0003, 54),  // x86-64, x32, i386
    (0xc000_00b7, 29), (0x4000_0028, 54), (0xc000_00f3, 29),  // arm64, arm, riscv64
  ]

  /// As seccomp(2) takes it.
  static func program() throws(JailError) -> [UInt8] {
    let allow = Instruction(code: OperationCode.returnOperand, operand: 0x7fff_0000)
    let refuse = Instruction(code: OperationCode.returnOperand, operand: 0x0005_0001)  // EPERM
    var program: [Instruction] = []
    for call in calls {
      // A request is an unsigned int: the upper half of the argument counts for nothing.
      program += [
        Instruction(code: OperationCode.loadAbsolute, operand: 4),
        Instruction(code: OperationCode.jumpEqual, jumpFalse: 6, operand: call.architecture),
        Instruction(code: OperationCode.loadAbsolute, operand: 0),
        Instruction(code: OperationCode.jumpEqual, jumpFalse: 4, operand: call.number),
        Instruction(code: OperationCode.loadAbsolute, operand: 24),
        Instruction(code: OperationCode.jumpEqual, jumpTrue: 1, operand: requests[0]),
        Instruction(code: OperationCode.jumpEqual, jumpFalse: 1, operand: requests[1]),
        refuse,
      ]
    }
    do throws(ProgramError) { return try FilterProgram(program + [allow]).bytes } catch {
      throw JailError("--no-new-sessions: \(error)")
    }
  }
}
