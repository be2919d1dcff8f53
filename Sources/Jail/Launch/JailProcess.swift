import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// The child of the launcher: it becomes the jail, and then the program, or with `-p` process 1
/// that has the program as its child. Nothing here returns to the launcher's code.
final class JailProcess {
  private let steps: JailSteps
  private let builder: JailBuilder
  /// What was blocked before the launcher blocked everything.
  private let mask: SignalMask
  /// What the caller had for SIGCHLD: the program inherits it.
  private let childSignal: sighandler_t?
  /// From the launcher: a packet each time that it has done its part. To the launcher:
  /// ``StartingJail/Report``; `T` when the launcher is to complete the jail, with the rules for files;
  /// `R` when the library has done it; `X` when this process ends and its status says why; `L` and a
  /// number when a listener will be open there.
  private let launcher: SharedDescriptor
  /// What the launcher sees when no descriptor is open any more.
  private let outcome: SharedOutcome
  /// What the program inherits from the caller.
  private let inheritedNumbers: [CInt]

  /// Where the library is that finishes the jail inside the program.
  private var libraryPath: Handover<FilePath>
  private var library = Handover<PreloadLibrary>("the library")
  /// Where the launcher takes the program's own terminal from.
  private var terminalSocket: Handover<SharedDescriptor>
  private var terminal = Handover<JailTerminal>("the program's terminal")
  /// What is left to do when the loader of the program is done.
  private var completion = LoaderCompletion.none
  private var trampoline = Handover<SharedDescriptor>("what executes the program")
  private var prepared = Handover<PreparedProgram>("the words of the program")

  private var program: ProgramStart { steps.program }
  private var log: Log { builder.log }

  init(
    _ steps: JailSteps, _ builder: JailBuilder, mask: SignalMask, childSignal: sighandler_t?,
    library: FilePath?, launcher: SharedDescriptor, terminalSocket: SharedDescriptor?,
    outcome: SharedOutcome, inheritedNumbers: [CInt]
  ) {
    self.steps = steps
    self.builder = builder
    self.mask = mask
    self.childSignal = childSignal
    self.launcher = launcher
    self.outcome = outcome
    self.inheritedNumbers = inheritedNumbers
    libraryPath = Handover("the path of the library", library)
    self.terminalSocket = Handover("the socket of the terminal", terminalSocket)
  }

  func becomeJail() -> Never {
    // Never freed: behind a filter, nothing could be closed.
    _ = Unmanaged.passRetained(self)
    do throws(JailError) {
      try awaitLauncher()
      for setUpStep in steps.setUp { try carryOut(setUpStep) }
      if steps.forksInit { try forkInit() }
      for finalStep in steps.ending {
        switch finalStep {
        case .privilege(let step): try builder.carryOut(step)
        case .program(let step): try carryOut(step)
        }
      }
      try execute()
    } catch {
      for line in error.details + [error.description] { log.error(line) }
      tell("X")
      _exit(error.status)
    }
  }

  private func carryOut(_ setUpStep: SetUpStep) throws(JailError) {
    switch setUpStep {
    case .namespace(let step): try builder.carryOut(step)
    case .mount(let step): try builder.carryOut(step)
    case .privilege(let step): try builder.carryOut(step)
    case .launch(let step): try carryOut(step)
    case .closeDescriptors:
      builder.forgetDescriptors()
      try closeDescriptors(during: "the set-up", but: neededLater)
    case .prepareFileAccess(let access): try builder.prepare(access, completion)
    case .setLimits:
      try makeTrampoline()  // while files can be made
      try tellLauncher(StartingJail.Report.wantsLimits)
      try awaitLauncher()
    }
  }

  private func carryOut(_ launchStep: LaunchStep) throws(JailError) {
    switch launchStep {
    case .openLibrary(let mayStayInPlace):
      library.leave(try PreloadLibrary(try libraryPath.get(), mayStayInPlace: mayStayInPlace))
    case .openTerminal(let ownDevices, let owner):
      terminal.leave(try JailTerminal(ownDevices: ownDevices, owner: owner))
    case .placeTerminal(let root): try terminal.get().place(in: root, builder: builder)
    case .inspectProgram(let inspection):
      completion = try inspection.completion { () throws(JailError) in try library.get() }
      library.forget()  // it may be of no use after all
    }
  }

  private func carryOut(_ programStep: ProgramStep) throws(JailError) {
    switch programStep {
    case .takeTerminal:
      // What leads to it is closed then, but for the standard descriptors.
      try terminal.take().take(sending: try terminalSocket.get())
    case .requestCompletion(let refusal): try requestCompletion(refusal)
    case .prepare: prepared.leave(try prepare())
    case .limitCalls(.load(let filter)):
      try JailBuilder.load(filter, whileLoading: completion.isLater)
    case .limitCalls(.tell): try tellCalls()
    case .leaveToTrampoline: break  // prepare() has made it do this
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
  private var neededLater: [CInt] {
    var numbers = inheritedByProgram + [0, 1, 2, launcher.descriptor.number]
    numbers += library.current?.descriptors ?? []
    if let connection = log.connection { numbers.append(connection) }
    if let socket = terminalSocket.current { numbers.append(socket.descriptor.number) }
    if let file = outcome.file { numbers.append(file.descriptor.number) }
    return numbers + (terminal.current?.descriptors ?? [])
  }

  private var inheritedByProgram: [CInt] {
    inheritedNumbers + program.preservedDescriptors.filter { fcntl($0, F_GETFD) >= 0 }
  }

  /// What is open when the program is looked up: what it inherits, and what the library needs.
  private var openAtExecution: [CInt] {
    var numbers = inheritedByProgram
    if program.hasOwnTerminal { numbers += [0, 1, 2] }
    guard case .library(let library, let filter) = completion else { return numbers }
    numbers += library.descriptors + [launcher.descriptor.number]
    if let filter { numbers.append(filter.file.descriptor.number) }
    if let rules = laterRules { numbers.append(rules.ruleset.descriptor.number) }
    return numbers
  }

  /// The rules for files that come into force when the loader is done.
  private var laterRules: SharedRuleset? { builder.fileRestriction.current?.later }

  /// Gives the launcher what it needs to complete the jail when the loader is done.
  private func requestCompletion(_ refusal: UntracedRefusal?) throws(JailError) {
    guard case .tracer(let trustsLoader) = completion else { return }
    try refusal?.load()
    let rules = laterRules
    try step("let the launcher complete the jail") { () throws(SystemError) in
      try ReportSockets.send(
        Array((trustsLoader ? "T" : "Tu").utf8), with: rules?.ruleset.descriptor.number,
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
  private func prepare() throws(JailError) -> PreparedProgram {
    var environment = EnvironmentEdit.apply(program.environment, to: currentEnvironment())
    try makeTrampoline()
    let path = try path()
    if let library = completion.library {
      let orders = try step("preload the library") { () throws(SystemError) -> String in
        try self.orders()
      }
      environment = try library.prepare(
        environment, report: launcher.descriptor, orders: orders, log: log)
    }
    for number in program.preservedDescriptors { _ = fcntl(number, F_SETFD, 0) }
    signal(SIGCHLD, childSignal)
    try step("restore signals") { () throws(SystemError) in try mask.restore() }
    let result = PreparedProgram(
      path: path, words: [program.program] + program.arguments, environment: environment)
    try tellLauncher(StartingJail.Report.isSetUp)
    let open = openAtExecution
    if program.tellsCalls {
      let reporting = completion.library == nil ? "" : "r\(launcher.descriptor.number)"
      tell("L\(Self.lowestFree(open))\(reporting)")
    } else if completion.library == nil {
      tell("R")
    }
    var stay = open
    if let file = trampoline.current, let memory = outcome.file {
      stay += [file.descriptor.number, memory.descriptor.number]
      _ = fcntl(memory.descriptor.number, F_SETFD, 0)
    }
    try closeDescriptors(during: "the launcher", but: stay)
    return result
  }

  private func path() throws(JailError) -> RawArgument {
    completion.library == nil
      ? program.program : RawArgument(bytes: try absolutePath(program.program.bytes))
  }

  /// The number that the next descriptor gets.
  private static func lowestFree(_ open: [CInt]) -> CInt {
    (0..<CInt.max).first { !open.contains($0) } ?? 0
  }

  /// Once: with limits, before they are in force.
  private func makeTrampoline() throws(JailError) {
    guard program.usesTrampoline, trampoline.current == nil else { return }
    guard let memory = outcome.file else { throw JailError("the launcher shares no memory") }
    let complaint =
      program.isInBackground ? "minijail0: \(ExecutionFailure.start(program.program))" : nil
    let file = try Trampoline.file(
      steps.trampolineCalls,
      Trampoline.Parameters(
        path: try path(), outcome: memory.descriptor.number,
        isCompletedLater: completion.isLater, listener: Self.lowestFree(openAtExecution),
        complaint: complaint))
    // Who cannot read it cannot look into the process either; the launcher has to, for a listener.
    let permissions: mode_t = program.tellsCalls ? 0o555 : 0o111
    do throws(SystemError) {
      trampoline.leave(
        SharedDescriptor(
          try Descriptor(program: file, name: "minijail-trampoline", permissions: permissions)))
    } catch {
      let hint = error.code == EACCES ? " (vm.memfd_noexec=2 forbids programs in memory)" : ""
      throw JailError("prepare the execution of \(program.program): \(error)\(hint)")
    }
  }

  /// What the library is to do, in the letters of minijailpreload.c.
  private func orders() throws(SystemError) -> String {
    var orders = program.clearsAmbient ? "a" : ""
    if let rules = laterRules { orders += "l\(try inherited(rules.ruleset.descriptor))" }
    if case .library(_, let filter?) = completion {
      orders += "f\(try inherited(filter.file.descriptor))g\(filter.flags.rawValue)"
    }
    return orders
  }

  /// Every call waits for the launcher from here on, `execve` first.
  private func tellCalls() throws(JailError) {
    try step("--learn (needs no_new_privs, -n)") { () throws(SystemError) in
      close(try SystemCallFilters.load(Learning.filter, flags: Learning.flags))
    }
  }

  /// Replaces this process by the program, with the word that names it as it was typed.
  private func execute() throws(JailError) -> Never {
    let words = try prepared.get()
    words.execute(
      trampoline: program.usesTrampoline ? try trampoline.get().descriptor.number : nil)
    let code = errno
    outcome.executionError = code
    let failure = ExecutionFailure(program.program, code)
    if program.isInBackground { writeLine("minijail0: \(failure.text)", to: STDERR_FILENO) }
    _exit(failure.status)
  }

  // MARK: Process 1

  /// Returns in the child; this process gives up what the child will give up, but for its calls, and
  /// reaps until its namespace is empty.
  private func forkInit() throws(JailError) {
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
    for finalStep in steps.ending {
      switch finalStep {
      case .privilege(let step): try builder.carryOut(step)
      case .program: break  // its child's
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
