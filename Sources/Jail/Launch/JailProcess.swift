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
  let library: FilePath?
  /// One byte each time that the launcher has done its part; the end of the file when it is gone.
  let release: Held
  /// To the launcher: a byte when it is to set the limits, and from process 1 the signal that ended
  /// the program.
  let report: Held
  /// To the launcher, when it asks: `R` when the jail is complete, from the library if that has a
  /// part in it; `X` when this process ends and its status says why; `L` and a number when a
  /// listener will be open there.
  let finish: Held?
  /// Where the launcher takes the program's terminal from.
  let terminalSocket: Held?
  let network: Held?
  let mountNamespace: Held?

  func becomeJail() -> Never {
    do throws(JailError) {
      try awaitLauncher()
      let builder = JailBuilder(
        plan.configuration, log: log, library: library, network: network,
        mountNamespace: mountNamespace)
      var program: PreparedProgram?
      for (index, jailStep) in plan.steps.enumerated() {
        switch jailStep {
        case .setLimits:
          writeAll([1], to: report.descriptor.number)
          try awaitLauncher()
        case .forkInit: try forkInit(builder, rest: plan.steps[(index + 1)...])
        case .takeTerminal:
          if let terminalSocket { try builder.terminal?.take(sending: terminalSocket) }
        case .prepareProgram: program = try prepare(builder)
        case .loadFilter, .tellCalls:
          try limitCalls(jailStep, withLoader: builder.library != nil)
        case .execute: try execute(program)
        default: try builder.carryOut(jailStep)
        }
      }
      throw JailError("the plan does not end with the program")
    } catch {
      for line in error.details + [error.description] { log.error(line) }
      tell("X")
      _exit(error.status)
    }
  }

  private func tell(_ text: String) {
    // Not write(2): where nobody waits any more, SIGPIPE would be the end.
    if let finish {
      _ = send(finish.descriptor.number, text, text.utf8.count, CInt(MSG_NOSIGNAL))
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

  /// Everything that the last calls need.
  private func prepare(_ builder: JailBuilder) throws(JailError) -> PreparedProgram {
    let configuration = plan.configuration
    let program = configuration.program
    var environment = EnvironmentEdit.apply(
      configuration.environment, to: currentEnvironment())
    var path = program
    if let library = builder.library, let finish {
      path = RawArgument(bytes: try absolutePath(program.bytes))
      let orders = try step("preload the library") { () throws(SystemError) -> String in
        try self.orders(builder)
      }
      environment = try library.prepare(
        environment, report: finish.descriptor, orders: orders, log: log)
    }
    for number in configuration.preservedDescriptors { _ = fcntl(number, F_SETFD, 0) }
    signal(SIGCHLD, childSignal)
    try step("restore signals") { () throws(SystemError) in try mask.restore() }
    if builder.library == nil, configuration.learnedPolicy == nil { tell("R") }
    return PreparedProgram(
      path: path, words: [program] + configuration.arguments, environment: environment)
  }

  /// What the library is to do, in the letters of minijailpreload.c.
  private func orders(_ builder: JailBuilder) throws(SystemError) -> String {
    let configuration = plan.configuration
    var orders = ""
    if configuration.capabilities != nil, !configuration.raisesAmbient { orders += "a" }
    if let ruleset = builder.ruleset {
      orders += "l\(try inherited(ruleset.ruleset.descriptor))"
    }
    if let file = builder.sealedFilter, let filter = configuration.filter {
      orders += "f\(try inherited(file.descriptor))g\(filter.flags.rawValue)"
    }
    return orders
  }

  /// The last thing but `execve`: from here on, the filter decides what this process can still do.
  private func limitCalls(_ jailStep: JailStep, withLoader: Bool) throws(JailError) {
    if case .tellCalls = jailStep { return try tellCalls(withLoader: withLoader) }
    guard let filter = plan.configuration.filter else { return }
    let program = withLoader ? filter.startup : filter.program
    guard let program else { throw JailError("\(filter.name): there is no filter for a loader") }
    try step("load the filter of \(filter.name) (needs no_new_privs, -n)") {
      () throws(SystemError) in
      try SystemCallFilters.load(program.bytes, flags: filter.flags)
    }
  }

  /// Every call waits for the launcher from here on, `execve` first.
  private func tellCalls(withLoader: Bool) throws(JailError) {
    // The number that the listener gets: the lowest that is free. execve(2) closes it.
    let next = dup(report.descriptor.number)
    close(next)
    let reporting = withLoader ? "r\(finish?.descriptor.number ?? -1)" : ""
    tell("L\(next)\(reporting)")
    try step("--learn (needs no_new_privs, -n)") { () throws(SystemError) in
      do throws(SystemError) {
        try SystemCallFilters.load(Learning.filter, flags: [.listens, .waitsThroughSignals])
      } catch {
        guard error.code == EINVAL else { throw error }
        try SystemCallFilters.load(Learning.filter, flags: .listens)  // before Linux 5.19
      }
    }
  }

  /// Replaces this process by the program, with the word that names it as it was typed.
  private func execute(_ program: PreparedProgram?) throws(JailError) {
    program?.execute()
    let code = errno
    throw JailError(
      "execve failed: \(plan.configuration.program): \(String(cString: strerror(code)))",
      status: code == ENOENT ? ExitStatus.notFound : ExitStatus.notExecutable)
  }

  // MARK: Process 1

  /// Returns in the child; this process gives up what the child will give up, but for its calls, and
  /// reaps until its namespace is empty.
  private func forkInit(
    _ builder: JailBuilder, rest: ArraySlice<JailStep>
  ) throws(JailError) {
    // Before there is a program that could see another name; its own comes with execve.
    _ = "minijail-init".withCString { linux_prctl(PR_SET_NAME, UInt(bitPattern: $0), 0, 0) }
    guard let program = try step("-p", { () throws(SystemError) in try fork() }) else { return }
    closeInherited()
    for jailStep in rest { try builder.carryOut(jailStep) }
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
      if signal != SIGCHLD { pass(signal, to: end == nil ? program : nil) }
      var reaped = try reapEnded()
      while case .ended(let process, let status) = reaped {
        if process == program { end = status }
        reaped = try reapEnded()
      }
      if reaped == .noChildren { exit(as: end) }
    }
  }

  /// - Parameter program: nil when it has ended, and the signal is for all that it left behind.
  private func pass(_ signal: CInt, to program: pid_t?) {
    guard signal == SIGTSTP || signal == SIGCONT else {
      kill(program ?? -1, signal)
      return
    }
    // The launcher stops with its terminal: the program's group does, unless the launcher is in it,
    // which has no number here.
    let group = program.map { getpgid($0) } ?? 0
    kill(group > 0 ? -group : program ?? -1, signal == SIGTSTP ? SIGSTOP : SIGCONT)
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
