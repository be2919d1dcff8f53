import CLinux
import Glibc
import Kernel

/// Starts a plan in a process of its own, and waits for it.
struct Launcher {
  let plan: JailPlan
  let log: Log

  private var configuration: JailConfiguration { plan.configuration }

  /// - Returns: the exit status of the launcher.
  func run() throws(JailError) -> CInt {
    if setpgid(0, 0) != 0, errno != EPERM {
      throw JailError("setpgid", SystemError(operation: "setpgid", path: nil, code: errno))
    }
    let network = try networkNamespace()
    try StoreMounts.verify(configuration.daemonStores)
    // Signals wait from here on: none is lost between the fork and the moment that it can be
    // forwarded. An ignored SIGCHLD would take the child's status away.
    let child = signal(SIGCHLD, SIG_DFL)
    let mask = try step("block signals") { () throws(SystemError) in try SignalMask.blockAll() }
    let release = try step("make a pipe") { () throws(SystemError) in try Pipe() }
    let report = try step("make a pipe") { () throws(SystemError) in try Pipe() }
    let kinds = configuration.namespaces.intersection(.process)
    let what =
      kinds.isEmpty ? "start the jail" : "start the jail in a new pid namespace (CAP_SYS_ADMIN)"
    let process = try step(what) { () throws(SystemError) in try fork(into: kinds) }
    guard let process else {
      let jailed = JailProcess(
        plan: plan, log: log, mask: mask, childSignal: child,
        release: Held(release.intoReading()), report: Held(report.intoWriting()),
        network: network)
      jailed.becomeJail()
    }
    if let file = configuration.pidFile {
      do { try write(process, to: file) } catch {
        kill(process, SIGKILL)
        throw error
      }
    }
    writeAll([1], to: release.writing.number)
    if configuration.background { return 0 }
    let end = try wait(for: process, mask)
    return status(of: end, process, insideSignal: received(from: report.intoReading()))
  }

  private func networkNamespace() throws(JailError) -> Held? {
    guard let file = configuration.networkNamespaceFile else { return nil }
    return try step("-e\(file)") { () throws(SystemError) in
      Held(try Descriptor(followingLinks: file, flags: O_RDONLY))
    }
  }

  /// The process's number, for whoever supervises it: before the program can run.
  private func write(_ process: pid_t, to file: String) throws(JailError) {
    try step("-f \(file)") { () throws(SystemError) in
      let descriptor = Descriptor(
        owning: try check(
          "open", file, open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)))
      try descriptor.write(Array("\(process)\n".utf8), shown: file)
      try descriptor.close()
    }
  }

  private func wait(for process: pid_t, _ mask: SignalMask) throws(JailError) -> ProcessEnd {
    try step("wait for the jail") { () throws(SystemError) in
      guard configuration.forwardsSignals else {
        try mask.restore()
        return try Kernel.wait(for: process).end
      }
      while true {
        let signal = try SignalMask.next()
        if signal != SIGCHLD { kill(process, signal) }
        if case .ended(_, let end) = try reapEnded(process) { return end }
      }
    }
  }

  /// The signal that ended the program, which process 1 of a new namespace reports.
  private func received(from report: consuming Descriptor) -> CInt? {
    guard configuration.processNamespace == .withInit else { return nil }
    var signal: UInt8 = 0
    _ = fcntl(report.number, F_SETFL, O_NONBLOCK)  // somebody may still hold the other end
    return read(report.number, &signal, 1) == 1 ? CInt(signal) : nil
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
    case .killed(SIGSYS):
      log.end("child process \(process) had a policy violation (NO-LABEL)", isWarning: true)
      return ExitStatus.policyViolation
    case .killed(let signal):
      log.end("child process \(process) received signal \(signal)", isWarning: true)
      return ExitStatus.killed(by: signal)
    }
  }
}
