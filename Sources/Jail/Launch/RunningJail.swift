import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// A jail that was started: its first process is a child of the caller.
public final class RunningJail {
  /// How a jail ended.
  public enum End: Equatable, Sendable {
    /// By itself. With an init, `programSignal` is the signal that ended the program, if one did:
    /// the init's own status is then 254.
    case ended(ProcessEnd, programSignal: CInt?)
    /// It was killed: what was left to do inside the program was not done, for this reason.
    case unfinished(String)
  }

  enum Answer: ~Copyable {
    /// The jail is complete; or it ended on the way, and its own status says why.
    case complete
    /// It waits for the launcher to listen. With `report`, the descriptor that the library will
    /// report on when the loader is done.
    case listening(CallListener, report: CInt?)
    case failed(String)
  }

  /// The pid of the program, or of the init of its pid namespace, as this process sees it. It stays
  /// valid until ``wait(forwarding:)`` returns, which reaps it.
  public let process: pid_t

  private let configuration: JailConfiguration
  private let log: Log
  private let starting: StartingJail
  private let start: StartingJail.Result
  private let outcome: SharedOutcome
  private let ended: SharedDescriptor?

  init(
    _ starting: StartingJail, _ start: StartingJail.Result, _ outcome: SharedOutcome, _ log: Log
  ) throws(JailError) {
    configuration = starting.configuration
    process = starting.first
    self.starting = starting
    self.start = start
    self.outcome = outcome
    self.log = log
    guard case .complete = start else {
      ended = nil
      return
    }
    ended = try step("watch the jail") { () throws(SystemError) in
      SharedDescriptor(try Descriptor(process: starting.first))
    }
  }

  /// Whether the library, or what listens to the calls of a program without it, has a part in it.
  private var waitsForLibrary: Bool {
    !starting.traces && (configuration.mayNeedCompletion || configuration.learnedPolicy != nil)
  }

  private var hasInit: Bool { configuration.processNamespace == .withInit }

  /// Shows the program's own terminal.
  private var terminal: TerminalRelay? { starting.terminal }

  /// The signal that ended the set-up, if one did.
  var interruption: CInt? {
    if case .interrupted(let signal) = start { signal } else { nil }
  }

  /// Waits for the end of the jail, and reaps its first process. To be called once.
  ///
  /// - Parameter forwarding: whether signals that are blocked in the calling thread, and arrive
  ///   meanwhile, go to the jail.
  /// - Throws: when the waiting itself failed, as when another waitpid(2) has reaped the process.
  public func wait(forwarding: Bool = false) throws(JailError) -> End {
    try learn(forwarding: forwarding).end
  }

  /// The same, with what the calls of the program teach, if it tells them and has run.
  func learn(forwarding: Bool) throws(JailError) -> (end: End, learnt: Learning?) {
    defer { terminal?.restore() }
    if case .complete = start {} else { terminal?.finish() }
    switch start {
    case .complete: break
    case .ended(let end): return (executionFailed(end) ?? .ended(end, programSignal: nil), nil)
    case .interrupted(let signal): return (.ended(.killed(signal: signal), programSignal: nil), nil)
    case .failed(let reason): return (.unfinished(reason), nil)
    case .programEnded(let end): return (try endedEarly(end), nil)
    }
    if starting.traces {
      var learnt: Learning?
      if starting.learning != nil {
        try listen(to: starting.listener.take(), forwarding: forwarding) {
          self.starting.learning?.add($0)
        }
        learnt = starting.learning
      } else {
        try wait(for: ended, forwarding: forwarding)
      }
      return (try takeEnd(), learnt)
    }
    return try learnWithLibrary(forwarding: forwarding)
  }

  private func takeEnd() throws(JailError) -> End {
    terminal?.finish()
    let end = try step("wait for the jail") { () throws(SystemError) in
      try DaemonStoreKernel.wait(for: process).end
    }
    return executionFailed(end) ?? .ended(end, programSignal: hasInit ? programSignal() : nil)
  }

  /// Says why the program was not executed, if it was not: by then the jail has nothing to say it
  /// with.
  private func executionFailed(_ end: ProcessEnd) -> End? {
    guard outcome.executionError != 0 else { return nil }
    let failedStep = Trampoline.failedStep(starting.trampolineCalls, at: outcome.failedCall)
    if case .load(let filter) = failedStep {
      let error = SystemError(operation: "seccomp", path: nil, code: outcome.executionError)
      log.error("\(filter.loading): \(error)")
      return .ended(.exited(ExitStatus.failure), programSignal: nil)
    }
    let failed = ExecutionFailure(configuration.program, outcome.executionError)
    if !configuration.background { log.error(failed.text) }
    // What a filter does to the call that ends the process is no violation of the program's.
    return .ended(.exited(failed.status), programSignal: nil)
  }

  /// A program that ended before the jail was complete has not run as it should.
  private func endedEarly(_ end: ProcessEnd) throws(JailError) -> End {
    var last = end
    if hasInit {
      last = try step("wait for the jail") { () throws(SystemError) in
        try DaemonStoreKernel.wait(for: process).end
      }
    }
    guard starting.images > 0, case .exited(let status) = end else {
      return executionFailed(last) ?? .ended(last, programSignal: hasInit ? programSignal() : nil)
    }
    return .unfinished("the program ended with status \(status) before its entry point")
  }

  // MARK: The library

  private func learnWithLibrary(
    forwarding: Bool
  ) throws(JailError) -> (end: End, learnt: Learning?) {
    var learnt: Learning?
    switch try waitUntilComplete(forwarding: forwarding) {
    case .complete: try wait(for: ended, forwarding: forwarding)
    case .listening(let listener, let report):
      var learning = try Learning(report: report, isLoading: report != nil)
      try listen(to: listener, forwarding: forwarding) { learning.add($0) }
      // Everybody is gone who could have reported.
      let answer = try step("wait for the jail") { () throws(SystemError) in
        try ReportSockets.receive(starting.messages.descriptor).bytes
      }
      let isComplete = answer.first == (report == nil ? nil : UInt8(ascii: "R"))
      if isComplete { learnt = learning }
      if !isComplete, answer.first != UInt8(ascii: "X") {
        return (incomplete(String(decoding: answer.dropFirst(), as: UTF8.self)), nil)
      }
    case .failed(let reason): return (incomplete(reason), nil)
    }
    return (try takeEnd(), outcome.executionError == 0 ? learnt : nil)
  }

  private func incomplete(_ reason: String) -> End {
    // A signal that ended it on the way is the better reason, unless it was ours.
    let (end, wasOurs) = kill()
    terminal?.finish()
    if let end, !wasOurs {
      let inside = hasInit ? programSignal() : nil
      if case .killed = end { return .ended(end, programSignal: nil) }
      if inside != nil { return .ended(end, programSignal: inside) }
    }
    let text = reason.isEmpty ? Self.noReport : reason
    return .unfinished(text)
  }

  private static let noReport =
    "\(PreloadLibrary.fileName) has not reported from inside the program"

  /// Waits until the jail is complete: at once, unless a part of it is done inside the program.
  func waitUntilComplete(forwarding: Bool) throws(JailError) -> Answer {
    if case .failed(let reason) = start { return .failed(reason) }
    guard case .complete = start, starting.isSetUp, waitsForLibrary else {
      return try completeOrEndedEarly()
    }
    let messages = starting.messages
    guard try waitForLibrary(messages, forwarding: forwarding) else {
      return .failed(
        "\(PreloadLibrary.fileName) has not reported within \(configuration.startTimeout ?? 0) s "
          + "(--start-timeout)")
    }
    let (answer, sender) = try step("wait for the jail") { () throws(SystemError) in
      try ReportSockets.receive(messages.descriptor)
    }
    let text = String(decoding: answer.dropFirst(), as: UTF8.self)
    switch answer.first {
    case UInt8(ascii: "R"), UInt8(ascii: "X"): return .complete
    case UInt8(ascii: "E"): return .failed(text)
    case UInt8(ascii: "L") where configuration.learnedPolicy != nil:
      let numbers = text.utf8.split(separator: UInt8(ascii: "r")).map { CInt(String($0) ?? "") }
      guard let first = numbers.first, let number = first,
        let listener = try Self.listener(of: sender, at: number)
      else { return .failed("its calls could not be listened to") }
      return .listening(listener, report: numbers.count > 1 ? numbers[1] : nil)
    default: return .failed(Self.noReport)
    }
  }

  /// Ends it, unless it ends by itself, and takes its status.
  @discardableResult
  func kill() -> (end: ProcessEnd?, wasOurs: Bool) {
    guard let ended else { return (nil, false) }
    // Who lost the other end of the report is about to end, as a rule.
    var entry = pollfd(fd: ended.descriptor.number, events: Int16(POLLIN), revents: 0)
    let wasOurs = poll(&entry, 1, 200) == 0
    if wasOurs { Glibc.kill(process, SIGKILL) }
    return (try? DaemonStoreKernel.wait(for: process).end, wasOurs)
  }

  /// What a launcher that goes on at once has to know.
  private func completeOrEndedEarly() throws(JailError) -> Answer {
    guard case .programEnded(let end) = start, case .unfinished(let text) = try endedEarly(end)
    else { return .complete }
    return .failed(text)
  }

  /// - Returns: false when the library takes longer than it may.
  private func waitForLibrary(_ messages: SharedDescriptor, forwarding: Bool) throws(JailError)
    -> Bool
  {
    let deadline = configuration.startTimeout.map { ContinuousClock.now + .seconds($0) }
    return try step("wait for the jail") { () throws(SystemError) in
      let signals = try SignalMask.descriptor()
      while true {
        let left = deadline.map { ContinuousClock.now.duration(to: $0) / .milliseconds(1) } ?? -1
        if deadline != nil, left <= 0 { return false }
        let ready = try next(
          messages, forwarding ? signals.descriptor.number : -1,
          milliseconds: CInt(clamping: Int64(left.rounded(.up))))
        if forwarding { try forward(signals) }
        if ready { return true }
      }
    }
  }

  private func wait(for event: SharedDescriptor?, forwarding: Bool) throws(JailError) {
    guard let event else { return }
    try step("wait for the jail") { () throws(SystemError) in
      let signals = try SignalMask.descriptor()
      while true {
        let ready = try next(event, forwarding ? signals.descriptor.number : -1)
        if forwarding { try forward(signals) }
        if ready { return }
      }
    }
  }

  /// Waits for the event or a signal, and shows the program's terminal.
  ///
  /// - Returns: whether the event is there.
  private func next(
    _ event: SharedDescriptor, _ signals: CInt, milliseconds: CInt = -1
  ) throws(SystemError) -> Bool {
    let own = [(event.descriptor.number, CInt(POLLIN)), (signals, CInt(POLLIN))]
    let ready = try DaemonStoreKernel.wait(
      for: own + (terminal?.events ?? []), milliseconds: milliseconds)
    try terminal?.handle(ready.dropFirst(own.count))
    return ready[0]
  }

  private func forward(_ signals: borrowing SignalDescriptor) throws(SystemError) {
    while let signal = try signals.next() {
      if signal != SIGCHLD { try starting.forwarding.pass(signal) }
    }
  }

  // MARK: Listening

  /// The listener opens a moment after it was announced.
  static func listener(of sender: pid_t, at number: CInt) throws(JailError) -> CallListener? {
    try step("--learn: take the listener of process \(sender)") { () throws(SystemError) in
      let process = try Descriptor(process: sender)
      for _ in 0..<2_000 {
        if let listener = try CallListener(of: process, at: number) { return listener }
        usleep(500)
      }
      return nil
    }
  }

  /// Until nobody is left whose calls come here.
  private func listen(
    to listener: consuming CallListener?, forwarding: Bool, _ record: (CallListener.Call) -> Void
  ) throws(JailError) {
    guard let listener else { return }
    try step("--learn") { () throws(SystemError) in
      let signals = try SignalMask.descriptor()
      while true {
        var entries = [listener.descriptor.number, signals.descriptor.number].map {
          pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
        }
        try check("poll", nil, poll(&entries, nfds_t(entries.count), -1))
        if forwarding { try forward(signals) }
        if entries[0].revents & Int16(POLLIN) != 0 {
          if let call = try listener.next() {
            record(call)
            listener.letGo(call)
          }
        } else if entries[0].revents != 0 {
          return
        }
      }
    }
  }

  /// What the init has said.
  private func programSignal() -> CInt? {
    outcome.programSignal == 0 ? nil : outcome.programSignal
  }
}
