import DaemonStoreKernel
import Seccomp

/// What makes every thread and process of a program a tracee from its birth, loaded before execve(2)
/// where the launcher completes the jail: clone(2) with CLONE_UNTRACED fails with EPERM, and clone3(2),
/// whose flags are in memory that can change, with ENOSYS, upon which libraries take clone(2).
///
/// Where rules for files come later, io_uring_setup(2) fails with ENOSYS too: a ring can register the
/// credentials of its time, and opens files with them when the rules are in force. A filter stays.
enum UntracedFilter {
  private struct Calls {
    let architecture: UInt32  // AUDIT_ARCH_…
    let clone: UInt32
    /// The bit of x32.
    var variant: UInt32 = 0
  }

  /// Of each kind of call that a kernel for x86-64 or aarch64 takes.
  private static let kinds = [
    Calls(architecture: 0xc000_003e, clone: 56),
    Calls(architecture: 0xc000_003e, clone: 56, variant: 0x4000_0000),
    Calls(architecture: 0x4000_0003, clone: 120),  // i386
    Calls(architecture: 0xc000_00b7, clone: 220),
    Calls(architecture: 0x4000_0028, clone: 120),  // arm
  ]

  private static let clone3: UInt32 = 435
  private static let ringSetup: UInt32 = 425
  private static let untraced: UInt32 = 0x0080_0000

  /// As seccomp(2) takes it.
  static func program(refusesRings: Bool) throws(JailError) -> [UInt8] {
    let allow = Instruction(code: OperationCode.returnOperand, operand: 0x7fff_0000)
    let refuse = Instruction(code: OperationCode.returnOperand, operand: 0x0005_0001)  // EPERM
    let missing = Instruction(code: OperationCode.returnOperand, operand: 0x0005_0026)  // ENOSYS
    var program: [Instruction] = []
    for kind in kinds {
      let ring = (refusesRings ? ringSetup : clone3) | kind.variant
      program += [
        Instruction(code: OperationCode.loadAbsolute, operand: 4),
        Instruction(code: OperationCode.jumpEqual, jumpFalse: 8, operand: kind.architecture),
        Instruction(code: OperationCode.loadAbsolute, operand: 0),
        Instruction(code: OperationCode.jumpEqual, jumpTrue: 2, operand: clone3 | kind.variant),
        Instruction(code: OperationCode.jumpEqual, jumpTrue: 1, operand: ring),
        Instruction(
          code: OperationCode.jumpEqual, jumpTrue: 1, jumpFalse: 4,
          operand: kind.clone | kind.variant),
        missing,
        // The flags are an unsigned int.
        Instruction(code: OperationCode.loadAbsolute, operand: 16),
        Instruction(code: OperationCode.jumpSet, jumpFalse: 1, operand: untraced),
        refuse,
      ]
    }
    do throws(ProgramError) { return try FilterProgram(program + [allow]).bytes } catch {
      throw JailError("the filter against untraced processes: \(error)")
    }
  }
}

/// The same as a part of a step.
struct UntracedRefusal: Equatable, Sendable {
  let refusesRings: Bool

  /// Makes everything a tracee that the program makes.
  func load() throws(JailError) {
    let program = try UntracedFilter.program(refusesRings: refusesRings)
    try step("let the launcher complete the jail (needs no_new_privs, -n, or CAP_SYS_ADMIN)") {
      () throws(SystemError) in try SystemCallFilters.load(program)
    }
  }
}
