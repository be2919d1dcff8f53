import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// Starts a plan in a process of its own, and waits for it.
struct Launcher {
  let plan: JailPlan
  let log: Log

  private var configuration: JailConfiguration { plan.configuration }

  /// Starts the jail, waits for its end unless it is to stay in the background, and logs how it
  /// ended.
  ///
  /// - Returns: the exit status of the launcher.
  func run() throws(JailError) -> CInt {
    // In the foreground group of a terminal its keys must reach this process.
    if !isInForeground, setpgid(0, 0) != 0, errno != EPERM {
      throw JailError("setpgid", SystemError(operation: "setpgid", path: nil, code: errno))
    }
    let policy = try configuration.learnedPolicy.map { (file) throws(JailError) in
      try step("--learn") { () throws(SystemError) in try FileReplacement(of: file) }
    }
    // Signals wait from here on: none is lost between the fork and the moment that it can be
    // forwarded.
    let mask = try step("block signals") { () throws(SystemError) in try SignalMask.blockAll() }
    let forwards = configuration.forwardsSignals && !configuration.background
    let jail = try start(mask, taking: forwards ? .all : .ending)
    if !forwards {
      try step("restore signals") { () throws(SystemError) in try mask.restore() }
    }
    if configuration.background {
      if let signal = jail.interruption {
        return status(of: .killed(signal: signal), jail.process, insideSignal: nil)
      }
      // What the program is must be true when its caller goes on.
      guard case .failed(let reason) = try jail.waitUntilComplete(forwarding: false) else {
        return 0
      }
      jail.kill()
      return failed(jail.process, reason)
    }
    let (end, learnt) = try jail.learn(forwarding: forwards)
    if let file = configuration.learnedPolicy, let policy {
      guard let learnt else {
        log.warning("--learn \(file): the program has not run, and nothing is written")
        return status(of: end, jail.process)
      }
      let (text, unknown) = learnt.result()
      for text in unknown.sorted() {
        log.warning("--learn: the program makes \(text), which no policy can name")
      }
      try step("--learn") { () throws(SystemError) in try policy.commit(Array(text.utf8)) }
    }
    return status(of: end, jail.process)
  }

  private var isInForeground: Bool {
    let terminal = open("/dev/tty", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
    guard terminal >= 0 else { return false }
    defer { close(terminal) }
    return tcgetpgrp(terminal) == getpgrp()
  }

  /// Which signals the launcher takes while the jail starts: others wait.
  enum Taking {
    case all
    /// Those that end the set-up.
    case ending
    case none
  }

  /// Starts the jail, and waits until its set-up is over or, where the launcher has to complete it,
  /// until it is complete.
  ///
  /// - Parameter mask: the caller's, while everything is blocked.
  func start(_ mask: SignalMask, taking: Taking) throws(JailError) -> RunningJail {
    let inherited = try step("look at the open descriptors") { () throws(SystemError) in
      try InheritedDescriptors.current()
    }
    let namespaces = try NamespaceFiles(configuration)
    try StoreMounts.verify(configuration.daemonStores)
    // With -K the jail's mounts can be the host's: what would be refused at its turn is refused now.
    if configuration.propagation == .unchanged, configuration.mountNamespaceFile == nil {
      _ = try ExpectedMounts(plan)
    }
    let library = configuration.usesLibrary ? try PreloadLibrary.locate(configuration) : nil
    // Ignored, it would take the child's status away.
    let child = signal(SIGCHLD, SIG_DFL)
    let signals = try step("watch for signals") { () throws(SystemError) in
      try Self.signals(taking)
    }
    var (near, far) = try Self.sockets()
    var (terminal, terminalSocket) = try configuration.ownTerminal ? Self.sockets() : (nil, nil)
    let outcome = try step("map memory") { () throws(SystemError) in
      try SharedOutcome(isFile: configuration.usesTrampoline)
    }
    let kinds = configuration.namespaces.intersection([.process, .user])
    let process = try step(Self.what(kinds)) { () throws(SystemError) in try fork(into: kinds) }
    guard let process else {
      near = nil
      terminal = nil
      guard let far else { _exit(ExitStatus.failure) }
      let jailed = JailProcess(
        plan.steps, JailBuilder(plan.steps.context, log: log, namespaces), mask: mask,
        childSignal: child, library: library, launcher: far, terminalSocket: terminalSocket,
        outcome: outcome, inheritedNumbers: inherited)
      jailed.becomeJail()
    }
    far = nil
    terminalSocket = nil
    guard let near else { throw JailError("the jail has no socket") }
    let clock = StartClock(seconds: configuration.startTimeout, ownsProcess: taking != .none)
    let starting = StartingJail(
      plan, first: process, messages: near, signals: signals, forwards: taking == .all,
      terminal: terminal.map { TerminalRelay($0) }, clock: clock)
    return try finish(starting, outcome, mask, ownsProcess: taking != .none)
  }

  /// The launcher's end and the jail's.
  private static func sockets() throws(JailError) -> (SharedDescriptor?, SharedDescriptor?) {
    try step("make a socket pair") { () throws(SystemError) in
      let ends = try ReportSockets.pair()
      return (
        SharedDescriptor(Descriptor(owning: ends.receiving)),
        SharedDescriptor(Descriptor(owning: ends.sending))
      )
    }
  }

  private static func signals(_ taking: Taking) throws(SystemError) -> SignalDescriptor {
    switch taking {
    case .all: try SignalMask.descriptor()
    case .ending: try SignalMask.descriptor(of: StartingJail.ending + [SIGCHLD])
    case .none: try SignalMask.descriptor(of: [SIGCHLD])
    }
  }

  /// - Parameter ownsProcess: whether this process is the launcher's, and not a service's.
  private func finish(
    _ starting: StartingJail, _ outcome: SharedOutcome, _ mask: SignalMask, ownsProcess: Bool
  ) throws(JailError) -> RunningJail {
    let process = starting.first
    do throws(JailError) {
      if let file = configuration.pidFile { try write(process, to: file) }
      if configuration.namespaces.contains(.user) {
        try IDMaps(configuration: configuration, mask: mask).write(for: process)
      }
      if ownsProcess {
        // The caller's environment is in its memory, and the program may have the same user.
        try step("protect the launcher") { () throws(SystemError) in
          try processControl(PR_SET_DUMPABLE, 0, named: "PR_SET_DUMPABLE")
        }
      }
      guard starting.traces else {
        try starting.releaseJail()
        return try RunningJail(starting, try starting.run(), outcome, log)
      }
      // What a thread traces is told from all other children of this process, and ends with it.
      var result: Result<StartingJail.Result, JailError>?
      try step("trace the program") { () throws(SystemError) in
        try inThread {
          do throws(JailError) { result = .success(try starting.runTracing()) } catch {
            result = .failure(error)
          }
        }
      }
      guard let result else { throw JailError("the program was not traced") }
      return try RunningJail(starting, try result.get(), outcome, log)
    } catch {
      if !starting.isTracing { starting.endAll() }
      starting.terminal?.finish()
      guard error.status == ExitStatus.noJail else { throw error }
      return try RunningJail(starting, .failed(error.description), outcome, log)
    }
  }

  private static func what(_ kinds: NamespaceKinds) -> String {
    if kinds.isEmpty { return "start the jail" }
    let names = kinds.contains(.user) ? "user and pid namespaces" : "a new pid namespace"
    return "start the jail in \(names)"
      + (kinds.contains(.user) ? "" : " (needs CAP_SYS_ADMIN, or a user namespace: -U)")
  }

  /// The process's number, for whoever supervises it: before the program can run.
  private func write(_ process: pid_t, to file: FilePath) throws(JailError) {
    try step("-f \(file)") { () throws(SystemError) in
      let descriptor = try pidFile(file)
      try descriptor.write(Array("\(process)\n".utf8), shown: "\(file)")
      try descriptor.close()
    }
  }

  /// Made where it is missing. A symbolic link on the way is noticed when it is another user's.
  private func pidFile(_ file: FilePath) throws(SystemError) -> Descriptor {
    let flags = O_WRONLY | O_TRUNC | O_NONBLOCK
    var walk = try PathWalk(from: file, refusing: configuration.isStrict)
    defer { warn(of: walk.foreignLink, file) }
    let place: SharedDescriptor
    do throws(SystemError) { place = try walk.open(file) } catch {
      guard error.code == ENOENT, let name = file.components.last, name != "..", name != "." else {
        throw error
      }
      walk = try PathWalk(from: file, refusing: configuration.isStrict)
      let directory = try walk.open(file.directory.isEmpty ? "." : file.directory)
      return try Descriptor(
        entry: name, of: directory.descriptor, flags: flags | O_CREAT | O_EXCL, mode: 0o666,
        shown: file)
    }
    return Descriptor(
      owning: try check(
        "open", file,
        Glibc.open("/proc/self/fd/\(place.descriptor.number)", flags | O_CLOEXEC)))
  }

  private func warn(of link: PathWalk.ForeignLink?, _ file: FilePath) {
    guard let link else { return }
    log.warning(
      "-f \(file): it leads through the symbolic link \(link.path) of user \(link.owner), who can "
        + "point it at any file; name the file that is meant")
  }

  private func status(of end: RunningJail.End, _ process: pid_t) -> CInt {
    switch end {
    case .unfinished(let reason):
      return failed(process, reason)
    case .ended(let end, let insideSignal):
      return status(of: end, process, insideSignal: insideSignal)
    }
  }

  private func failed(_ process: pid_t, _ reason: String) -> CInt {
    log.error(
      "the jail of \(configuration.program) was never complete: \(reason); it was ended (child "
        + "process \(process))")
    return ExitStatus.noJail
  }

  private func status(of end: ProcessEnd, _ process: pid_t, insideSignal: CInt?) -> CInt {
    switch end {
    case .exited(let status):
      if let insideSignal {
        log.end(
          "child process \(process): the program was killed by \(signalName(insideSignal))",
          isWarning: true)
      }
      if status != 0 { log.end("child process \(process) exited with status \(status)") }
      return status
    case .killed(SIGSYS) where configuration.filter?.isStrictMode == true:
      log.end("child process \(process) had a violation of strict mode", isWarning: true)
      return ExitStatus.killed(by: SIGKILL)
    case .killed(SIGSYS):
      let policy = configuration.filter?.name ?? "NO-LABEL"
      log.end("child process \(process) had a policy violation (\(policy))", isWarning: true)
      return ExitStatus.policyViolation
    case .killed(let signal):
      log.end(
        "child process \(process) received signal \(signal) (\(signalName(signal)))",
        isWarning: true)
      return ExitStatus.killed(by: signal)
    }
  }
}
