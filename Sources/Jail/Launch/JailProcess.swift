import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

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
  /// From the launcher: a packet each time that it has done its part. To the launcher:
  /// ``StartingJail/Report``; `T` when the launcher is to complete the jail, with the rules for files;
  /// `R` when the library has done it; `X` when this process ends and its status says why; `L` and a
  /// number when a listener will be open there.
  let launcher: SharedDescriptor
  /// Where the launcher takes the program's own terminal from.
  let terminalSocket: SharedDescriptor?
  /// What the launcher sees when no descriptor is open any more.
  let outcome: SharedOutcome
  /// What the program inherits from the caller.
  let inheritedNumbers: [CInt]
  let network: SharedDescriptor?
  let mountNamespace: SharedDescriptor?

  func becomeJail() -> Never {
    do throws(JailError) {
      try awaitLauncher()
      let builder = JailBuilder(
        plan.configuration, log: log, library: library, network: network,
        mountNamespace: mountNamespace)
      // Never freed: behind a filter, nothing could be closed.
      _ = Unmanaged.passRetained(builder)
      var program: PreparedProgram?
      for (index, jailStep) in plan.steps.enumerated() {
        switch jailStep {
        case .setLimits:
          try makeTrampoline(builder)  // while files can be made
          try tellLauncher(StartingJail.Report.wantsLimits)
          try awaitLauncher()
        case .closeDescriptors:
          try builder.carryOut(jailStep)
          try closeDescriptors(during: "the set-up", but: neededLater(builder))
        case .forkInit: try forkInit(builder, rest: plan.steps[(index + 1)...])
        case .takeTerminal:
          if let terminalSocket { try builder.giveTerminal(through: terminalSocket) }
        case .requestCompletion: try requestCompletion(builder)
        case .prepareProgram: program = try prepare(builder)
        // The trampoline's.
        case .loadFilter where plan.configuration.usesTrampoline: break
        case .tellCalls where plan.configuration.usesTrampoline: break
        case .tellCalls: try tellCalls()
        case .execute: try execute(program, builder.trampoline)
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
    _ = send(launcher.descriptor.number, text, text.utf8.count, CInt(MSG_NOSIGNAL))
  }

  private func tellLauncher(_ byte: UInt8) throws(JailError) {
    try step("tell the launcher") { () throws(SystemError) in
      try launcher.descriptor.write([byte], shown: "socket")
    }
  }

  // MARK: Descriptors

  private func closeDescriptors(during what: String, but kept: [CInt]) throws(JailError) {
    try step("close the descriptors of \(what)") { () throws(SystemError) in
      try InheritedDescriptors.closeAll(but: kept)
    }
  }

  /// What the last steps need: nothing of it leads to a file of the host, but the library's directory.
  private func neededLater(_ builder: JailBuilder) -> [CInt] {
    var numbers = inheritedByProgram + [0, 1, 2, launcher.descriptor.number]
    numbers += builder.library?.descriptors ?? []
    if let connection = log.connection { numbers.append(connection) }
    if let terminalSocket { numbers.append(terminalSocket.descriptor.number) }
    if let file = outcome.file { numbers.append(file.descriptor.number) }
    return numbers + builder.terminalDescriptors
  }

  private var inheritedByProgram: [CInt] {
    inheritedNumbers + plan.configuration.preservedDescriptors.filter { fcntl($0, F_GETFD) >= 0 }
  }

  /// What is open when the program is looked up: what it inherits, and what the library needs.
  private func openAtExecution(_ builder: JailBuilder) -> [CInt] {
    var numbers = inheritedByProgram
    if plan.configuration.ownTerminal { numbers += [0, 1, 2] }
    if let library = builder.library {
      numbers += library.descriptors + [launcher.descriptor.number]
      if let file = builder.sealedFilter { numbers.append(file.descriptor.number) }
      if let ruleset = builder.ruleset { numbers.append(ruleset.ruleset.descriptor.number) }
    }
    return numbers
  }

  /// Gives the launcher what it needs to complete the jail when the loader is done.
  private func requestCompletion(_ builder: JailBuilder) throws(JailError) {
    guard builder.isCompletedLater else { return }
    if plan.configuration.endsWithNoNewPrivileges { try builder.refuseUntraced() }
    let ruleset = builder.firstRuleset == nil ? nil : builder.ruleset
    try step("let the launcher complete the jail") { () throws(SystemError) in
      try ReportSockets.send(
        Array((builder.trustsLoader ? "T" : "Tu").utf8), with: ruleset?.ruleset.descriptor.number,
        to: launcher.descriptor.number)
    }
  }

  private func awaitLauncher() throws(JailError) {
    var byte: UInt8 = 0
    let count = try step("wait for the launcher") { () throws(SystemError) in
      try check("read", nil, read(launcher.descriptor.number, &byte, 1))
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
    try makeTrampoline(builder)
    let path = try self.path(builder)
    if let library = builder.library {
      let orders = try step("preload the library") { () throws(SystemError) -> String in
        try self.orders(builder)
      }
      environment = try library.prepare(
        environment, report: launcher.descriptor, orders: orders, log: log)
    }
    for number in configuration.preservedDescriptors { _ = fcntl(number, F_SETFD, 0) }
    signal(SIGCHLD, childSignal)
    try step("restore signals") { () throws(SystemError) in try mask.restore() }
    let result = PreparedProgram(
      path: path, words: [program] + configuration.arguments, environment: environment)
    try tellLauncher(StartingJail.Report.isSetUp)
    let open = openAtExecution(builder)
    if configuration.learnedPolicy != nil {
      let number = Self.lowestFree(open)
      let reporting = builder.library == nil ? "" : "r\(launcher.descriptor.number)"
      tell("L\(number)\(reporting)")
    } else if builder.library == nil {
      tell("R")
    }
    var stay = open
    if let file = builder.trampoline, let memory = outcome.file {
      stay += [file.descriptor.number, memory.descriptor.number]
      _ = fcntl(memory.descriptor.number, F_SETFD, 0)
    }
    try closeDescriptors(during: "the launcher", but: stay)
    return result
  }

  private func path(_ builder: JailBuilder) throws(JailError) -> RawArgument {
    let program = plan.configuration.program
    return builder.library == nil
      ? program : RawArgument(bytes: try absolutePath(program.bytes))
  }

  /// The number that the next descriptor gets.
  private static func lowestFree(_ open: [CInt]) -> CInt {
    (0..<CInt.max).first { !open.contains($0) } ?? 0
  }

  private func makeTrampoline(_ builder: JailBuilder) throws(JailError) {
    let configuration = plan.configuration
    guard configuration.usesTrampoline, builder.trampoline == nil, let memory = outcome.file else {
      return
    }
    var parameters = Trampoline.Parameters(
      path: try path(builder), outcome: memory.descriptor.number)
    if let filter = configuration.filter {
      let program = builder.isCompletedLater ? filter.startup : filter.program
      guard let program else { throw JailError("\(filter.name): there is no filter for a loader") }
      parameters.filter = (program.bytes, filter.flags.rawValue)
    }
    if configuration.learnedPolicy != nil {
      parameters.listener = (
        Learning.filter, Self.listening.rawValue, Self.lowestFree(openAtExecution(builder))
      )
    }
    if configuration.background {
      parameters.complaint = "minijail0: \(ExecutionFailure.start(configuration))"
    }
    let file = Trampoline.file(configuration.trampolineCalls, parameters)
    // Who cannot read it cannot look into the process either; the launcher has to, for a listener.
    let permissions: mode_t = configuration.learnedPolicy == nil ? 0o111 : 0o555
    do throws(SystemError) {
      builder.trampoline = SharedDescriptor(
        try Descriptor(program: file, name: "minijail-trampoline", permissions: permissions))
    } catch {
      let hint = error.code == EACCES ? " (vm.memfd_noexec=2 forbids programs in memory)" : ""
      throw JailError("prepare the execution of \(configuration.program): \(error)\(hint)")
    }
  }

  private static var listening: SystemCallFilters.Flags {
    let flags: SystemCallFilters.Flags = [.listens, .waitsThroughSignals]
    return SystemCallFilters.knows(flags) ? flags : .listens  // before 5.19
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

  /// Every call waits for the launcher from here on, `execve` first.
  private func tellCalls() throws(JailError) {
    try step("--learn (needs no_new_privs, -n)") { () throws(SystemError) in
      close(try SystemCallFilters.load(Learning.filter, flags: Self.listening))
    }
  }

  /// Replaces this process by the program, with the word that names it as it was typed.
  private func execute(
    _ program: PreparedProgram?, _ trampoline: SharedDescriptor?
  ) throws(JailError) -> Never {
    guard let program else { throw JailError("the program was not prepared") }
    program.execute(trampoline: trampoline?.descriptor.number)
    let code = errno
    outcome.executionError = code
    if plan.configuration.background {
      writeLine(
        "minijail0: \(ExecutionFailure(plan.configuration, code).text)", to: STDERR_FILENO)
    }
    _exit(ExecutionFailure(plan.configuration, code).status)
  }

  // MARK: Process 1

  /// Returns in the child; this process gives up what the child will give up, but for its calls, and
  /// reaps until its namespace is empty.
  private func forkInit(
    _ builder: JailBuilder, rest: ArraySlice<JailStep>
  ) throws(JailError) {
    // Before there is a program that could see another name; its own comes with execve.
    _ = "minijail-init".withCString { linux_prctl(PR_SET_NAME, UInt(bitPattern: $0), 0, 0) }
    // Neither is its memory the program's to look at, also where that has the same user.
    let dumpable = try step("-p") { () throws(SystemError) in
      let before = try processControl(PR_GET_DUMPABLE, named: "PR_GET_DUMPABLE")
      try processControl(PR_SET_DUMPABLE, 0, named: "PR_SET_DUMPABLE")
      return before
    }
    guard let program = try step("-p", { () throws(SystemError) in try fork() }) else {
      guard dumpable == 1 else { return }
      try step("-p") { () throws(SystemError) in
        try processControl(PR_SET_DUMPABLE, 1, named: "PR_SET_DUMPABLE")
      }
      return
    }
    // Nobody looks through process 1's descriptors, and no reader waits for it to close them.
    try closeDescriptors(during: "the set-up", but: [0, 1, 2])
    for jailStep in rest {
      switch jailStep {
      // Those are its child's.
      case .takeTerminal, .requestCompletion, .prepareProgram, .loadFilter, .tellCalls, .execute:
        break
      default: try builder.carryOut(jailStep)
      }
    }
    do throws(SystemError) { try reapAll(program) } catch {
      log.error("-p: \(error)")
      _exit(ExitStatus.failure)
    }
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
      outcome.programSignal = signal
      _exit(ExitStatus.killedInside)
    case nil: _exit(ExitStatus.killedInside)
    }
  }
}
