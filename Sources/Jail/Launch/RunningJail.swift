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

  enum LibraryAnswer: Equatable {
    /// The jail is complete; or it ended on the way, and its own status says why.
    case reported
    case failed(String)
  }

  /// The program, or the init of its pid namespace.
  public let process: pid_t

  private let report: Held
  private let finish: Held
  private let hasInit: Bool
  private let mayNeedLibrary: Bool
  private let ended: Held

  init(
    process: pid_t, report: Held, finish: Held, configuration: JailConfiguration
  ) throws(JailError) {
    self.process = process
    self.report = report
    self.finish = finish
    hasInit = configuration.processNamespace == .withInit
    mayNeedLibrary = configuration.mayNeedLibrary
    ended = try step("watch the jail") { () throws(SystemError) in
      Held(try Descriptor(process: process))
    }
  }

  /// Waits for the end.
  ///
  /// - Parameter forwarding: whether blocked signals that arrive here meanwhile go to the jail.
  public func wait(forwarding: Bool = false) throws(JailError) -> End {
    if case .failed(let reason) = try waitForLibrary(forwarding: forwarding) {
      kill()
      return .unfinished(reason)
    }
    try wait(until: ended, forwarding: forwarding)
    let end = try step("wait for the jail") { () throws(SystemError) in
      try Kernel.wait(for: process).end
    }
    return .ended(end, programSignal: hasInit ? programSignal() : nil)
  }

  /// Waits until the jail is complete: at once, unless a part of it is done inside the program.
  func waitForLibrary(forwarding: Bool) throws(JailError) -> LibraryAnswer {
    guard mayNeedLibrary else { return .reported }
    try wait(until: finish, forwarding: forwarding)
    // One read: who the program forked may keep the other end open.
    var answer = [UInt8](repeating: 0, count: 512)
    let count = try step("wait for the jail") { () throws(SystemError) in
      try check("read", nil, read(finish.descriptor.number, &answer, answer.count))
    }
    switch count > 0 ? answer.first : nil {
    case UInt8(ascii: "R"), UInt8(ascii: "X"): return .reported
    case UInt8(ascii: "E"):
      return .failed(String(decoding: answer[1..<count], as: UTF8.self))
    default:
      return .failed("\(PreloadLibrary.fileName) has not reported from inside the program")
    }
  }

  /// Ends it, and takes its status.
  func kill() {
    Glibc.kill(process, SIGKILL)
    _ = try? Kernel.wait(for: process)
  }

  private func wait(until event: Held, forwarding: Bool) throws(JailError) {
    try step("wait for the jail") { () throws(SystemError) in
      guard forwarding else {
        _ = try waitUntilReadable([event.descriptor.number])
        return
      }
      let signals = try SignalMask.descriptor()
      while true {
        let ready = try waitUntilReadable([event.descriptor.number, signals.descriptor.number])
        while let signal = try signals.next() {
          if signal != SIGCHLD { Glibc.kill(process, signal) }
        }
        if ready[0] { return }
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
