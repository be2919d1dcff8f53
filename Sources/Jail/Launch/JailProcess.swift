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
  /// Where the library is that finishes the jail inside the program; nil when none may be needed.
  let library: String?
  /// One byte each time that the launcher has done its part; the end of the file when it is gone.
  let release: Held
  /// To the launcher: a byte when it is to set the limits, and from process 1 the signal that ended
  /// the program.
  let report: Held
  /// To the launcher: `R` when the jail is complete, from the library if that has a part in it; `X`
  /// when this process ends and its status says why.
  let finish: Held
  let network: Held?
  let mountNamespace: Held?

  func becomeJail() -> Never {
    do throws(JailError) {
      try awaitLauncher()
      let builder = JailBuilder(
        plan.configuration, log: log, library: library, network: network,
        mountNamespace: mountNamespace)
      for jailStep in plan.steps {
        switch jailStep {
        case .setLimits:
          writeAll([1], to: report.descriptor.number)
          try awaitLauncher()
        case .forkInit: try forkInit()
        case .execute: try execute(builder)
        default: try builder.carryOut(jailStep)
        }
      }
      throw JailError("the plan does not end with the program")
    } catch {
      log.error(error.description)
      writeAll([UInt8(ascii: "X")], to: finish.descriptor.number)
      _exit(error.status)
    }
  }

  private func awaitLauncher() throws(JailError) {
    var byte: UInt8 = 0
    let count = try step("wait for the launcher") { () throws(SystemError) in
      try check("read", nil, read(release.descriptor.number, &byte, 1))
    }
    // The launcher was killed, or has given up and said why: nobody wants the program.
    guard count == 1 else { _exit(ExitStatus.failure) }
  }

  /// Replaces this process by the program, with the word that names it as it was typed.
  private func execute(_ builder: JailBuilder) throws(JailError) {
    let configuration = plan.configuration
    let program = configuration.program
    var environment = EnvironmentEdit.apply(
      configuration.environment, to: currentEnvironment())
    var path = program
    if let library = builder.library {
      path = try Self.absolute(program)
      environment = try step("preload the library") { () throws(SystemError) in
        try library.prepare(
          environment, report: finish.descriptor, ruleset: builder.ruleset,
          clearsAmbient: configuration.capabilities != nil && !configuration.raisesAmbient)
      }
    } else {
      writeAll([UInt8(ascii: "R")], to: finish.descriptor.number)
    }
    for number in configuration.preservedDescriptors { _ = fcntl(number, F_SETFD, 0) }
    signal(SIGCHLD, childSignal)
    try step("restore signals") { () throws(SystemError) in try mask.restore() }
    Jail.execute(path, [program] + configuration.arguments, environment)
    let code = errno
    throw JailError(
      "execve failed: \(program): \(String(cString: strerror(code)))",
      status: code == ENOENT ? ExitStatus.notFound : ExitStatus.notExecutable)
  }

  private static func absolute(_ program: RawArgument) throws(JailError) -> RawArgument {
    let slash = UInt8(ascii: "/")
    if program.bytes.first == slash { return program }
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    guard getcwd(&buffer, buffer.count) != nil, buffer[0] == CChar(slash) else {
      throw JailError(
        "\(program): the working directory has no path in the jail; give the program's full path")
    }
    let directory = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    return RawArgument(bytes: directory + [slash] + program.bytes)
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
