/// What happens to a system call: SECCOMP_RET_… of seccomp(2).
public enum Action: Hashable, Sendable {
  /// The call is made.
  case allow
  /// Kills the thread; the process, where ``Compiler/killsProcess`` is set.
  case kill
  /// Kills the process as by SIGSYS, with a core dump. Linux 4.14.
  case killProcess
  /// Kills the calling thread as by SIGSYS; the other threads go on.
  case killThread
  /// The call is not made, and the thread gets a SIGSYS that it can handle.
  case trap
  /// Asks the tracer, if there is one; else the call fails with ENOSYS.
  case trace
  /// Allows, and writes to the audit log. Linux 4.14.
  case log
  /// Asks the supervisor that holds the filter's descriptor; ENOSYS without one. Linux 5.0.
  case userNotify
  /// The call fails with this error; the kernel takes what is above 4095 for 4095.
  case errno(UInt16)

  /// What the program returns to the kernel.
  package func code(killsProcess: Bool) -> UInt32 {
    switch self {
    case .allow: Self.allowCode
    case .kill: killsProcess ? Self.killProcessCode : Self.killThreadCode
    case .killProcess: Self.killProcessCode
    case .killThread: Self.killThreadCode
    case .trap: 0x0003_0000
    case .trace: 0x7ff0_0000
    case .log: 0x7ffc_0000
    case .userNotify: 0x7fc0_0000
    case .errno(let number): 0x0005_0000 | UInt32(number)
    }
  }

  static let allowCode: UInt32 = 0x7fff_0000
  static let killProcessCode: UInt32 = 0x8000_0000
  static let killThreadCode: UInt32 = 0

  /// What a program's return value means; nil for one that the kernel does not define, and takes
  /// for the killing of the process.
  package init?(code: UInt32) {
    switch code & 0xffff_0000 {
    case 0x7fff_0000: self = .allow
    case 0x8000_0000: self = .killProcess
    case 0x0000_0000: self = .killThread
    case 0x0003_0000: self = .trap
    case 0x7ff0_0000: self = .trace
    case 0x7ffc_0000: self = .log
    case 0x7fc0_0000: self = .userNotify
    case 0x0005_0000: self = .errno(UInt16(truncatingIfNeeded: code))
    default: return nil
    }
  }

  /// As a policy has it. `return N` is the word for an error.
  package var word: String {
    switch self {
    case .allow: "allow"
    case .kill: "kill"
    case .killProcess: "kill-process"
    case .killThread: "kill-thread"
    case .trap: "trap"
    case .trace: "trace"
    case .log: "log"
    case .userNotify: "user-notify"
    case .errno(let number): "return \(number)"
    }
  }

  /// All but `allow`'s other spelling, `1`, and `return N`.
  init?(word: ArraySlice<UInt8>) {
    let actions: [Action] = [
      .allow, .kill, .killProcess, .killThread, .trap, .trace, .log, .userNotify,
    ]
    guard let action = actions.first(where: { word.elementsEqual($0.word.utf8) }) else {
      return nil
    }
    self = action
  }
}
