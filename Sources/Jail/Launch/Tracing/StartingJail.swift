import CLinux
import Glibc
import Kernel

/// A jail from its fork until the launcher has nothing left to do for it: the set-up is over, or,
/// where a part of the jail waits for the dynamic loader, the launcher has completed it (decision
/// 0018). One loop waits for the jail, for signals and for the deadline.
final class StartingJail {
  enum Result {
    /// Nothing is left to the launcher.
    case complete
    /// The first process has ended, and its status was taken.
    case ended(ProcessEnd)
    /// The program has ended before the jail was complete. With an init, the init has a status too.
    case programEnded(ProcessEnd)
    /// This signal came during the set-up, and the jail was killed.
    case interrupted(CInt)
    /// The jail could not be completed, and was killed, for this reason.
    case failed(String)
  }

  /// What the jail sends to the launcher while it is set up, beside texts.
  enum Report {
    static let wantsLimits: UInt8 = 0xf1
    static let isSetUp: UInt8 = 0xf0
  }

  let configuration: JailConfiguration
  /// The first process of the jail.
  let first: pid_t
  /// Between the launcher and the jail, until its set-up is over.
  let messages: Held
  private let signals: SignalDescriptor
  /// Whether signals go to the jail when its set-up is over.
  private let forwards: Bool
  let forwarding: SignalForwarding
  /// A stop and its end that came while the jail was being completed.
  private var deferred: [CInt] = []

  // What the jail has told before its program was executed.
  var isSetUp = false
  private var messagesEnded = false
  var expectsCompletion = false
  var trustsLoader = true
  var ruleset: Descriptor?
  var listener: CallListener?
  var learning: Learning?

  private var interruption: CInt?
  /// Until when the program must be at its entry point.
  private var deadline: ContinuousClock.Instant?

  // Tracing.
  let traces: Bool
  var program: pid_t?
  var threads: [pid_t: ThreadState] = [:]
  var doomed: Set<pid_t> = []
  var image: ProgramImage?
  var images = 0
  var isHalting = false
  var isAtEntry = false
  var programEnd: ProcessEnd?
  /// Children of the launcher that are not the jail's.
  var ownChildren: Set<pid_t> = []
  /// How many filters of system calls the program started with.
  var filters: SeccompState?

  enum ThreadState: Equatable {
    case running
    /// With a signal to deliver.
    case stopped(CInt)
  }

  init(
    _ configuration: JailConfiguration, first: pid_t, messages: Held,
    signals: consuming SignalDescriptor, forwards: Bool, terminal: TerminalRelay?
  ) {
    self.configuration = configuration
    self.first = first
    self.messages = messages
    self.signals = signals
    self.forwards = forwards
    forwarding = SignalForwarding(
      process: first, hasInit: configuration.processNamespace == .withInit, terminal: terminal)
    traces = configuration.isCompletedByTracer
  }

  /// Shows the program's own terminal: it may print before its entry point.
  var terminal: TerminalRelay? { forwarding.terminal }

  /// - Throws: ``JailError`` with the status ``ExitStatus/noJail`` when the program was executed and
  ///   the jail could not be completed. The jail has to be killed after an error.
  func run() throws(JailError) -> Result {
    while true {
      if traces, let result = try advanceTracing() {
        try passDeferred()
        return result
      }
      if !isHalting { try passDeferred() }
      if let interruption, !traces {
        _ = try step("wait for the jail") { () throws(SystemError) in try Kernel.wait(for: first) }
        return .interrupted(interruption)
      }
      if !traces, isSetUp || messagesEnded { return .complete }
      try awaitEvent()
    }
  }

  /// The result of an end of the program or of the first process.
  func result(of end: ProcessEnd, _ process: pid_t) throws(JailError) -> Result {
    if let interruption {
      if process != first {
        _ = try step("wait for the jail") { () throws(SystemError) in try Kernel.wait(for: first) }
      }
      return .interrupted(interruption)
    }
    return images > 0 ? .programEnded(end) : process == first ? .ended(end) : .programEnded(end)
  }

  func startClock() {
    guard let limit = configuration.startTimeout, deadline == nil else { return }
    deadline = .now + .seconds(limit)
  }

  // MARK: Events

  /// Waits for something to happen, and deals with it unless it is a stop of a traced thread.
  func awaitEvent() throws(JailError) {
    let none: CInt = -1
    let own = [
      signals.descriptor.number, messagesEnded ? none : messages.descriptor.number, listenerNumber,
    ].map { ($0, CInt(POLLIN)) }
    var entries = (own + (terminal?.events ?? [])).map {
      pollfd(fd: $0, events: Int16($1), revents: 0)
    }
    try step("wait for the jail") { () throws(SystemError) in
      try check("poll", nil, poll(&entries, nfds_t(entries.count), remaining()))
    }
    try checkDeadline()
    // What was sent before a signal came counts first: it may be that the set-up is over.
    if entries[1].revents != 0 { try takeMessages() }
    if entries[0].revents != 0 { try takeSignals() }
    if entries[2].revents & Int16(POLLIN) != 0 { try takeCall() }
    if let terminal {
      let ready = entries.dropFirst(own.count).map { $0.revents != 0 }
      try step("--pty") { () throws(SystemError) in
        try stoppingClock { () throws(SystemError) in try terminal.handle(ready[...]) }
      }
    }
  }

  private var listenerNumber: CInt { listener == nil ? -1 : (listener?.descriptor.number ?? -1) }

  func checkDeadline() throws(JailError) {
    guard let deadline, ContinuousClock.now >= deadline else { return }
    throw JailError(
      "the program was not at its entry point within \(configuration.startTimeout ?? 0) s "
        + "(--start-timeout)", status: ExitStatus.noJail)
  }

  /// For poll(2).
  func remaining() -> CInt {
    guard let deadline else { return -1 }
    let left = ContinuousClock.now.duration(to: deadline)
    return CInt(clamping: Int64(max(0, left / .milliseconds(1)).rounded(.up)))
  }

  private func takeSignals() throws(JailError) {
    // A launcher that forwards nothing, and has nothing left to do, takes them itself afterwards.
    let areOwn = isSetUp && !traces && !forwards
    var own: [CInt] = []
    try step("take a signal") { () throws(SystemError) in
      while let signal = try signals.next() {
        guard signal != SIGCHLD else { continue }
        guard !areOwn else {
          own.append(signal)
          continue
        }
        guard !isSetUp || !forwards, Self.endsSetUp(signal) else {
          try pass(signal)
          continue
        }
        // Nothing of the program has run, so that nothing needs time to end.
        interruption = signal
        Glibc.kill(first, SIGKILL)
      }
    }
    for signal in own { Glibc.kill(getpid(), signal) }
  }

  private func pass(_ signal: CInt) throws(SystemError) {
    if isHalting, signal == SIGTSTP || signal == SIGCONT {
      deferred.append(signal)
    } else {
      try stoppingClock { () throws(SystemError) in try forwarding.pass(signal) }
    }
  }

  private func passDeferred() throws(JailError) {
    let signals = deferred
    deferred = []
    for signal in signals {
      try step("pass a signal on") { () throws(SystemError) in
        try stoppingClock { () throws(SystemError) in try forwarding.pass(signal) }
      }
    }
  }

  /// The time for which this process is stopped is not the program's.
  private func stoppingClock(_ body: () throws(SystemError) -> Void) throws(SystemError) {
    let before = ContinuousClock.now
    try body()
    if let deadline { self.deadline = deadline + before.duration(to: .now) }
  }

  static let ending = [SIGTERM, SIGINT, SIGHUP, SIGQUIT]

  private static func endsSetUp(_ signal: CInt) -> Bool {
    guard ending.contains(signal) else { return false }
    var action = sigaction()
    guard sigaction(signal, nil, &action) == 0 else { return true }
    return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) != 1  // SIG_IGN
  }

  private func takeCall() throws(JailError) {
    try step("--learn") { () throws(SystemError) in
      guard let call = try listener?.next() else { return }
      learning?.add(call)
      listener?.letGo(call)
    }
  }

  /// What the set-up says before the program is executed. Nothing else holds the other end.
  private func takeMessage() throws(JailError) {
    let (bytes, sender, number) = try step("wait for the jail") { () throws(SystemError) in
      try ReportSockets.receiveDescriptor(messages.descriptor)
    }
    let descriptor = number.map { Descriptor(owning: $0) }
    switch bytes.first {
    case nil: messagesEnded = true
    case Report.isSetUp: isSetUp = true
    case Report.wantsLimits: try setLimits()
    case UInt8(ascii: "T"):
      expectsCompletion = true
      trustsLoader = bytes.dropFirst().first != UInt8(ascii: "u")
      ruleset = descriptor
    case UInt8(ascii: "L"):
      let text = String(decoding: bytes.dropFirst(), as: UTF8.self)
      guard let number = CInt(text) else { throw Self.noListener }
      learning = try Learning(report: nil, isLoading: expectsCompletion)
      listener = try RunningJail.listener(of: sender, at: number)
      guard listener != nil else { throw Self.noListener }
    default: break
    }
  }

  private static var noListener: JailError {
    JailError("--learn: the calls of the program could not be listened to")
  }

  /// Everything that has been sent. What follows the set-up is the library's.
  func takeMessages() throws(JailError) {
    while !messagesEnded, traces || !isSetUp {
      var entry = pollfd(fd: messages.descriptor.number, events: Int16(POLLIN), revents: 0)
      guard poll(&entry, 1, 0) == 1 else { return }
      try takeMessage()
    }
  }

  /// Sets them from outside, with the launcher's rights, at the moment that the jail asks for:
  /// when its set-up needs no more memory or descriptors.
  private func setLimits() throws(JailError) {
    for limit in configuration.limits {
      try step("-R \(limit.name)") { () throws(SystemError) in
        try setLimit(
          limit.kind, soft: limit.soft, hard: limit.hard, of: first, named: "\(limit.name)")
      }
    }
    try releaseJail()
  }

  func releaseJail() throws(JailError) {
    try step("let the jail go on") { () throws(SystemError) in
      try messages.descriptor.write([1], shown: "socket")
    }
  }

  /// Ends everything of the jail, after an error.
  func killAndReap() {
    var numbers = doomed.union(threads.keys)
    if let program {
      kill(program, SIGKILL)
      numbers.formUnion((try? ProcessFiles.threads(of: program)) ?? [])
    }
    // One that an init has just forked is traced already.
    if configuration.processNamespace == .withInit, traces {
      numbers.formUnion((try? ProcessFiles.children(of: first, thread: first)) ?? [])
    }
    for number in doomed { kill(number, SIGKILL) }
    kill(first, SIGKILL)
    // The first thread of a process is reported after all others.
    for number in numbers.subtracting([first, program ?? first]) { Self.reap(number) }
    if let program, program != first { Self.reap(program) }
    Self.reap(first)
  }

  private static func reap(_ number: pid_t) {
    while true {
      do throws(SystemError) {
        guard case .ended = try TracedThread(number).end() else { continue }
        return
      } catch {
        return  // not ours, or taken already
      }
    }
  }
}
