import CLinux
import Glibc
import Kernel

/// The child of the launcher: it becomes the jail, and then the program, or with `-p` process 1
/// that has the program as its child. Nothing here returns to the launcher's code.
struct JailProcess {
  let plan: JailPlan
  let log: Log
  /// What was blocked before the launcher blocked everything.
  let mask: SignalMask
  /// What the caller had for SIGCHLD: the program inherits it.
  let childSignal: sighandler_t?
  /// One byte when the launcher has done its part; the end of the file when it is gone.
  let release: Held
  /// To the launcher, one byte: the signal that ended the program.
  let report: Held
  let network: Held?

  func becomeJail() -> Never {
    do throws(JailError) {
      try awaitRelease()
      let builder = JailBuilder(plan.configuration, log: log, network: network)
      for jailStep in plan.steps {
        switch jailStep {
        case .forkInit: try forkInit()
        case .execute: try execute()
        default: try builder.carryOut(jailStep)
        }
      }
      throw JailError("the plan does not end with the program")
    } catch {
      log.error(error.description)
      _exit(error.status)
    }
  }

  private func awaitRelease() throws(JailError) {
    guard plan.configuration.pidFile != nil else { return }
    var byte: UInt8 = 0
    let count = try step("wait for the launcher") { () throws(SystemError) in
      try check("read", nil, read(release.descriptor.number, &byte, 1))
    }
    // The launcher was killed: there is nobody to start a program for.
    guard count == 1 else { _exit(ExitStatus.failure) }
  }

  /// Replaces this process by the program, with the word that names it as it was typed.
  private func execute() throws(JailError) {
    let program = plan.configuration.program
    let words = ([program] + plan.configuration.arguments).map(\.cString)
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { word in
      let copy = UnsafeMutablePointer<CChar>.allocate(capacity: word.count)
      copy.initialize(from: word, count: word.count)
      return copy
    }
    arguments.append(nil)
    let path = program.cString
    signal(SIGCHLD, childSignal)
    try step("restore signals") { () throws(SystemError) in try mask.restore() }
    execve(path, arguments, linux_environ())
    let code = errno
    throw JailError(
      "execve failed: \(program): \(String(cString: strerror(code)))",
      status: code == ENOENT ? ExitStatus.notFound : ExitStatus.notExecutable)
  }

  // MARK: Process 1

  /// Returns in the child; this process reaps until its namespace is empty.
  private func forkInit() throws(JailError) {
    guard let program = try step("-p", { () throws(SystemError) in try fork() }) else { return }
    _ = "minijail-init".withCString { linux_prctl(PR_SET_NAME, UInt(bitPattern: $0), 0, 0) }
    closeInherited()
    do throws(SystemError) { try reapAll(program) } catch {
      log.error("-p: \(error)")
      _exit(ExitStatus.failure)
    }
  }

  /// Nobody looks through process 1's descriptors, and no reader waits for it to close them.
  private func closeInherited() {
    let kept = UInt32(max(report.descriptor.number, 3))
    if kept > 3 { _ = linux_close_range(3, kept - 1, 0) }
    _ = linux_close_range(kept + 1, .max, 0)
  }

  private func reapAll(_ program: pid_t) throws(SystemError) -> Never {
    var end: ProcessEnd?
    while true {
      let signal = try SignalMask.next()
      // After the program, to all that it left behind.
      if signal != SIGCHLD { kill(end == nil ? program : -1, signal) }
      var reaped = try reapEnded()
      while case .ended(let process, let status) = reaped {
        if process == program { end = status }
        reaped = try reapEnded()
      }
      if reaped == .noChildren { exit(as: end) }
    }
  }

  private func exit(as end: ProcessEnd?) -> Never {
    switch end {
    case .exited(let status): _exit(status)
    case .killed(let signal):
      writeAll([UInt8(truncatingIfNeeded: signal)], to: report.descriptor.number)
      _exit(ExitStatus.killedInside)
    case nil: _exit(ExitStatus.killedInside)
    }
  }
}
