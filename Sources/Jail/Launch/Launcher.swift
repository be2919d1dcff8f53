import CLinux
import Glibc
import Kernel

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
    let jail = try start(mask)
    let forwards = configuration.forwardsSignals && !configuration.background
    if !forwards {
      try step("restore signals") { () throws(SystemError) in try mask.restore() }
    }
    if configuration.background {
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

  /// - Parameter mask: the caller's, while everything is blocked.
  /// - Returns: the jail, whose program may not have been executed yet.
  func start(_ mask: SignalMask) throws(JailError) -> RunningJail {
    let network = try Held.namespace(configuration.networkNamespaceFile, option: "-e")
    let mounts = try Held.namespace(configuration.mountNamespaceFile, option: "-V ")
    try StoreMounts.verify(configuration.daemonStores)
    // With -K the jail's mounts can be the host's: what would be refused at its turn is refused now.
    if configuration.propagation == .unchanged, configuration.mountNamespaceFile == nil {
      _ = try ExpectedMounts(plan)
    }
    let library = configuration.mayNeedLibrary ? try PreloadLibrary.locate(configuration) : nil
    // Ignored, it would take the child's status away.
    let child = signal(SIGCHLD, SIG_DFL)
    let release = try step("make a pipe") { () throws(SystemError) in try Pipe() }
    let report = try step("make a pipe") { () throws(SystemError) in try Pipe() }
    let reports = configuration.mayNeedLibrary || configuration.learnedPolicy != nil
    let (receiving, sending) = try reports ? Self.reportSockets() : (nil, nil)
    let (terminal, terminalSocket) =
      try configuration.ownTerminal ? Self.reportSockets() : (nil, nil)
    let kinds = configuration.namespaces.intersection([.process, .user])
    let process = try step(Self.what(kinds)) { () throws(SystemError) in try fork(into: kinds) }
    guard let process else {
      let jailed = JailProcess(
        plan: plan, log: log, mask: mask, childSignal: child, library: library,
        release: Held(release.intoReading()), report: Held(report.intoWriting()),
        finish: sending, terminalSocket: terminalSocket, network: network, mountNamespace: mounts)
      jailed.becomeJail()
    }
    let releasing = release.intoWriting()
    let limitRequests = report.intoReading()
    do throws(JailError) {
      if let file = configuration.pidFile { try write(process, to: file) }
      if configuration.namespaces.contains(.user) {
        try IDMaps(configuration: configuration, mask: mask).write(for: process)
      }
      writeAll([1], to: releasing.number)
      if !configuration.limits.isEmpty { try setLimits(of: process, limitRequests, releasing) }
    } catch {
      kill(process, SIGKILL)
      _ = try? Kernel.wait(for: process)
      throw error
    }
    return try RunningJail(
      process: process, report: Held(limitRequests), finish: receiving,
      terminal: terminal.map(TerminalRelay.init), configuration: configuration)
  }

  /// For what is reported from inside the program; the second end is the jail's, and closes here
  /// with the last reference to it.
  private static func reportSockets() throws(JailError) -> (Held?, Held?) {
    try step("make a socket pair") { () throws(SystemError) in
      let ends = try ReportSockets.pair()
      return (Held(Descriptor(owning: ends.receiving)), Held(Descriptor(owning: ends.sending)))
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
      let descriptor = Descriptor(
        owning: try check(
          "open", "\(file)",
          open(file.cString, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_CLOEXEC, 0o666)))
      try descriptor.write(Array("\(process)\n".utf8), shown: "\(file)")
      try descriptor.close()
    }
  }

  /// Sets them from outside, with the launcher's rights, at the moment that the jail asks for:
  /// when its set-up needs no more memory or descriptors.
  private func setLimits(
    of process: pid_t, _ reports: borrowing Descriptor, _ releasing: borrowing Descriptor
  ) throws(JailError) {
    var byte: UInt8 = 0
    let count = try step("wait for the jail") { () throws(SystemError) in
      try check("read", nil, read(reports.number, &byte, 1))
    }
    guard count == 1 else { return }  // it has failed, and said why
    for limit in configuration.limits {
      try step("-R \(limit.name)") { () throws(SystemError) in
        try setLimit(
          limit.kind, soft: limit.soft, hard: limit.hard, of: process, named: limit.name)
      }
    }
    writeAll([1], to: releasing.number)
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
