import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

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
  /// What this process does of the plan when the jail asks for it.
  private let limits: [ResourceLimit]
  let trampolineCalls: [CallStep]
  /// The first process of the jail.
  let first: pid_t
  /// Between the launcher and the jail, until its set-up is over.
  let messages: SharedDescriptor
  private let signals: SignalDescriptor
  /// Whether signals go to the jail when its set-up is over.
  private let forwards: Bool
  let forwarding: SignalForwarding
  /// A stop and its end that came before the jail was complete: a launcher that has stopped looks at
  /// nothing, while the program runs on.
  private var deferred: [CInt] = []

  // What the jail has told before its program was executed.
  var isSetUp = false
  private var messagesEnded = false
  var expectsCompletion = false
  var trustsLoader = true
  var ruleset: Descriptor?
  var listener: CallListener?
  /// Where the listener will be open.
  private var announced: (process: pid_t, number: CInt, tries: Int)?
  var learning: Learning?

  private var interruption: CInt?
  /// Until when the program must be at its entry point.
  let clock: StartClock

  // Tracing.
  let traces: Bool
  /// Whether the calling thread has begun to.
  var isTracing = false
  var program: pid_t?
  var threads: [pid_t: ThreadState] = [:]
  var doomed: Set<pid_t> = []
  var image: ProgramImage?
  /// Without the trampoline's.
  var images = 0
  var trampolineRuns = false
  /// That of the program whose jail is being completed.
  var completedImage = 0
  var hasMoreStops = false
  var isHalting = false
  /// Whether there is an init that has not been let go.
  var isInitTraced = false
  var isAtEntry = false
  var programEnd: ProcessEnd?
  /// How many filters of system calls the program started with.
  var filters: SeccompState?
  /// Whether the program was to stop, as with the terminal's stop key: it stops when its jail is complete.
  var stopsLater = false

  enum ThreadState: Equatable {
    case running
    /// With a signal to deliver.
    case stopped(CInt)
  }

  init(
    _ plan: JailPlan, first: pid_t, messages: SharedDescriptor,
    signals: consuming SignalDescriptor, forwards: Bool, terminal: TerminalRelay?,
    clock: StartClock
  ) {
    configuration = plan.configuration
    limits = plan.steps.limits
    trampolineCalls = plan.steps.trampolineCalls
    self.first = first
    self.messages = messages
    self.signals = signals
    self.forwards = forwards
    self.clock = clock
    forwarding = SignalForwarding(
      process: first, hasInit: configuration.processNamespace == .withInit, terminal: terminal)
    traces = configuration.isCompletedByTracer
    terminal?.mayStop = !traces
  }

  /// Shows the program's own terminal: it may print before its entry point.
  var terminal: TerminalRelay? { forwarding.terminal }

  /// - Throws: ``JailError`` with the status ``ExitStatus/noJail`` when the program was executed and
  ///   the jail could not be completed. The jail has to be killed after an error.
  func run() throws(JailError) -> Result {
    while true {
      if traces, let result = try advanceTracing() { return result }
      if let interruption, !traces {
        _ = try step("wait for the jail") { () throws(SystemError) in
          try DaemonStoreKernel.wait(for: first)
        }
        return .interrupted(interruption)
      }
      if !traces, isSetUp || messagesEnded { return .complete }
      try awaitEvent()
    }
  }

  /// The result of an end of the program or of the first process.
  func result(of end: ProcessEnd, _ process: pid_t) -> Result {
    if let interruption { return .interrupted(interruption) }
    return images > 0 ? .programEnded(end) : process == first ? .ended(end) : .programEnded(end)
  }

  /// ``run()`` in the thread that traces, and the end of everything where the jail is not complete.
  func runTracing() throws(JailError) -> Result {
    do throws(JailError) {
      try beginTracing()
      // Another process of the program's user can stop it as soon as it has that user's id.
      clock.start()
      try releaseJail()
      let result = try run()
      switch result {
      case .complete: break
      // An init says how the program has ended.
      case .programEnded: endAll(endsFirst: false)
      default: endAll()
      }
      clock.end()
      if case .complete = result { try passDeferred() }
      return result
    } catch {
      guard endAll() else {
        throw JailError(
          "\(error.description); one of its processes does not end", status: error.status)
      }
      throw error
    }
  }

  // MARK: Events

  /// Waits for something to happen, and deals with it unless it is a stop of a traced thread.
  func awaitEvent() throws(JailError) {
    try takeListener()
    let none: CInt = -1
    let own = [
      signals.descriptor.number, messagesEnded ? none : messages.descriptor.number, listenerNumber,
    ].map { ($0, CInt(POLLIN)) }
    var entries = (own + (terminal?.events ?? [])).map {
      pollfd(fd: $0, events: Int16($1), revents: 0)
    }
    try step("wait for the jail") { () throws(SystemError) in
      let time = hasMoreStops ? 0 : announced == nil ? clock.remaining() : 1
      try check("poll", nil, poll(&entries, nfds_t(entries.count), time))
    }
    try clock.check()
    // What was sent before a signal came counts first: it may be that the set-up is over.
    if entries[1].revents != 0 { try takeMessages() }
    if entries[0].revents != 0 { try takeSignals() }
    if entries[2].revents & Int16(POLLIN) != 0 { try takeCall() }
    if let terminal {
      let ready = entries.dropFirst(own.count).map { $0.revents != 0 }
      try step("--pty") { () throws(SystemError) in try terminal.handle(ready[...]) }
    }
  }

  /// It opens a moment after it was announced, which nothing tells.
  private func takeListener() throws(JailError) {
    guard var announced else { return }
    announced.tries -= 1
    self.announced = announced
    listener = try step("--learn: take the listener of process \(announced.process)") {
      () throws(SystemError) in
      let process = try Descriptor(process: announced.process)
      return try CallListener(of: process, at: announced.number)
    }
    if listener != nil { self.announced = nil }
    if listener == nil, announced.tries == 0 { throw Self.noListener }
  }

  private var listenerNumber: CInt { listener == nil ? -1 : (listener?.descriptor.number ?? -1) }

  /// Whether nothing of the program has run. What has its user's id by then may be stopped, so that
  /// only SIGKILL ends it.
  private var isStarting: Bool { !isSetUp || (traces && images == 0) }

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
        guard isStarting || !forwards, Self.endsSetUp(signal) else {
          try pass(signal)
          continue
        }
        interruption = signal
        Glibc.kill(first, SIGKILL)
      }
    }
    for signal in own { Glibc.kill(getpid(), signal) }
  }

  private func pass(_ signal: CInt) throws(SystemError) {
    if traces, signal == SIGTSTP || signal == SIGCONT {
      deferred.append(signal)
    } else {
      try forwarding.pass(signal)
    }
  }

  private func passDeferred() throws(JailError) {
    let signals = deferred
    deferred = []
    try step("pass a signal on") { () throws(SystemError) in
      terminal?.mayStop = true
      try terminal?.resume()
      for signal in signals { try forwarding.pass(signal) }
    }
  }

  /// Waits a second, or until a process has ended.
  ///
  /// - Returns: whether a signal that ends this process has come.
  func takeEndingSignal() -> Bool {
    var entry = pollfd(fd: signals.descriptor.number, events: Int16(POLLIN), revents: 0)
    _ = poll(&entry, 1, 1_000)
    var ends = false
    while let signal = try? signals.next() { ends = ends || Self.endsSetUp(signal) }
    return ends
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
      announced = (sender, number, tries: 2_000)
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
    for limit in limits {
      try step("-R \(limit.kind.name)") { () throws(SystemError) in
        try setLimit(
          limit.kind.rawValue, soft: limit.soft, hard: limit.hard, of: first,
          named: "\(limit.kind.name)")
      }
    }
    try releaseJail()
  }

  func releaseJail() throws(JailError) {
    try step("let the jail go on") { () throws(SystemError) in
      try messages.descriptor.write([1], shown: "socket")
    }
  }
}
