import CLinux
import Glibc
import Kernel

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

  /// The program, or the init of its pid namespace.
  public let process: pid_t

  private let report: Held
  /// nil where the jail is complete before the program is executed.
  private let finish: Held?
  let hasInit: Bool
  private let tellsCalls: Bool
  private let ended: Held
  /// Shows the program's own terminal.
  let terminal: TerminalRelay?

  init(
    process: pid_t, report: Held, finish: Held?, terminal: TerminalRelay?,
    configuration: JailConfiguration
  ) throws(JailError) {
    self.process = process
    self.report = report
    self.finish = finish
    self.terminal = terminal
    hasInit = configuration.processNamespace == .withInit
    tellsCalls = configuration.learnedPolicy != nil
    ended = try step("watch the jail") { () throws(SystemError) in
      Held(try Descriptor(process: process))
    }
  }

  /// Waits for the end.
  ///
  /// - Parameter forwarding: whether blocked signals that arrive here meanwhile go to the jail.
  public func wait(forwarding: Bool = false) throws(JailError) -> End {
    try learn(forwarding: forwarding).end
  }

  /// The same, with what the calls of the program teach, if it tells them and has run.
  func learn(forwarding: Bool) throws(JailError) -> (end: End, learnt: Learning?) {
    var learnt: Learning?
    switch try waitUntilComplete(forwarding: forwarding) {
    case .complete: try wait(for: ended, forwarding: forwarding)
    case .listening(let listener, let report):
      var learning = try Learning(report: report)
      try listen(to: listener, forwarding: forwarding) { learning.add($0) }
      // Everybody is gone who could have reported.
      let answer = try step("wait for the jail") { () throws(SystemError) in
        try finish.map { (finish) throws(SystemError) in
          try ReportSockets.receive(finish.descriptor).bytes
        } ?? []
      }
      let isComplete = answer.first == (report == nil ? nil : UInt8(ascii: "R"))
      if isComplete { learnt = learning }
      if !isComplete, answer.first != UInt8(ascii: "X") {
        return (incomplete(String(decoding: answer.dropFirst(), as: UTF8.self)), nil)
      }
    case .failed(let reason): return (incomplete(reason), nil)
    }
    let end = try step("wait for the jail") { () throws(SystemError) in
      try terminal?.finish()
      return try Kernel.wait(for: process).end
    }
    return (.ended(end, programSignal: hasInit ? programSignal() : nil), learnt)
  }

  private func incomplete(_ reason: String) -> End {
    // A signal that ended it on the way is the better reason, unless it was ours.
    let (end, wasOurs) = kill()
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
    guard let finish else { return .complete }
    try wait(for: finish, forwarding: forwarding)
    let (answer, sender) = try step("wait for the jail") { () throws(SystemError) in
      try ReportSockets.receive(finish.descriptor)
    }
    let text = String(decoding: answer.dropFirst(), as: UTF8.self)
    switch answer.first {
    case UInt8(ascii: "R"), UInt8(ascii: "X"): return .complete
    case UInt8(ascii: "E"): return .failed(text)
    case UInt8(ascii: "L") where tellsCalls:
      let numbers = text.split(separator: "r").map { CInt($0) }
      guard let first = numbers.first, let number = first,
        let listener = try listener(of: sender, at: number)
      else { return .failed("its calls could not be listened to") }
      return .listening(listener, report: numbers.count > 1 ? numbers[1] : nil)
    default: return .failed(Self.noReport)
    }
  }

  /// Ends it, unless it ends by itself, and takes its status.
  @discardableResult
  func kill() -> (end: ProcessEnd?, wasOurs: Bool) {
    // Who lost the other end of the report is about to end, as a rule.
    var entry = pollfd(fd: ended.descriptor.number, events: Int16(POLLIN), revents: 0)
    let wasOurs = poll(&entry, 1, 200) == 0
    if wasOurs { Glibc.kill(process, SIGKILL) }
    return (try? Kernel.wait(for: process).end, wasOurs)
  }

  private func wait(for event: Held, forwarding: Bool) throws(JailError) {
    try step("wait for the jail") { () throws(SystemError) in
      let signals = try SignalMask.descriptor()
      while true {
        let own = [
          (event.descriptor.number, CInt(POLLIN)),
          (forwarding ? signals.descriptor.number : -1, CInt(POLLIN)),
        ]
        let ready = try Kernel.wait(for: own + (terminal?.events ?? []))
        if forwarding { try forward(signals) }
        try terminal?.handle(ready.dropFirst(own.count))
        if ready[0] { return }
      }
    }
  }

  // MARK: Listening

  /// The listener opens a moment after it was announced.
  private func listener(of sender: pid_t, at number: CInt) throws(JailError) -> CallListener? {
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
    to listener: borrowing CallListener, forwarding: Bool, _ record: (CallListener.Call) -> Void
  ) throws(JailError) {
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

  /// What the init has reported.
  private func programSignal() -> CInt? {
    var signal: UInt8 = 0
    _ = fcntl(report.descriptor.number, F_SETFL, O_NONBLOCK)  // somebody may hold the other end
    return read(report.descriptor.number, &signal, 1) == 1 ? CInt(signal) : nil
  }
}
