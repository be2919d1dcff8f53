import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// Until when a program must be at its entry point.
final class StartClock {
  private let seconds: Int?
  private let ownsProcess: Bool
  private var deadline: ContinuousClock.Instant?

  /// - Parameter ownsProcess: whether this process is the launcher's, and not a service's.
  init(seconds: Int?, ownsProcess: Bool) {
    self.seconds = seconds
    self.ownsProcess = ownsProcess
  }

  /// A program of the same user can stop this process, which then looks at no clock. The kernel kills
  /// it a second after the deadline, and what it traces with it.
  func start() {
    guard let seconds, deadline == nil else { return }
    deadline = .now + .seconds(seconds)
    if ownsProcess { _ = linux_kill_after(UInt64(remaining()) + 1_000) }
  }

  func end() {
    guard deadline != nil else { return }
    deadline = nil
    if ownsProcess { _ = linux_kill_after(0) }
  }

  func check() throws(JailError) {
    guard let deadline, ContinuousClock.now >= deadline else { return }
    throw JailError(
      "the program was not at its entry point within \(seconds ?? 0) s (--start-timeout)",
      status: ExitStatus.noJail)
  }

  /// In milliseconds, for poll(2).
  func remaining() -> CInt {
    guard let deadline else { return -1 }
    let left = ContinuousClock.now.duration(to: deadline)
    return CInt(clamping: Int64(max(0, left / .milliseconds(1)).rounded(.up)))
  }
}
