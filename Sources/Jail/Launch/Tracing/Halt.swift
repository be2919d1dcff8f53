import Glibc
import DaemonStoreKernel

extension StartingJail {
  /// Stops every thread of the program, and waits until every process that it has started is gone.
  /// All of them are traced from their birth: ``UntracedFilter``.
  ///
  /// - Returns: false when another program was executed meanwhile, or the program has ended.
  func halt(_ main: pid_t) throws(JailError) -> Bool {
    let generation = images
    isHalting = true
    for (number, state) in threads where state == .running {
      try ignoringEnd { () throws(SystemError) in try TracedThread(number).interrupt() }
    }
    while true {
      try takeStops()
      if images != generation || programEnd != nil { return false }
      if hasMoreStops || threads.values.contains(.running) || !doomed.isEmpty {
        try awaitEvent()
        continue
      }
      // Nothing of the program runs any more, so that nothing new can appear.
      let listed: Set<pid_t> = try tracing { () throws(SystemError) in
        try Set(Directory(opening: "/proc/\(main)/task").names().compactMap { $0.bytes.number() })
      }
      if listed == Set(threads.keys) { return true }
      guard listed.isSubset(of: threads.keys) else {
        throw JailError(
          "the kernel runs a thread in it that cannot be traced (io_uring)",
          status: ExitStatus.noJail)
      }
      try awaitEvent()  // one was killed
    }
  }

  /// Ends everything of the jail, after an error: every process that this thread traces, those too
  /// that no stop has told of, and the first process. An init ends last of all.
  ///
  /// - Parameter endsFirst: whether the first process is killed, or is left to end by itself.
  /// - Returns: false when one of them does not end: a call in the kernel keeps it.
  @discardableResult
  func endAll(endsFirst: Bool = true) -> Bool {
    let deadline = ContinuousClock.now + .seconds(10)
    for number in doomed { kill(number, SIGKILL) }
    if let program, programEnd == nil { kill(program, SIGKILL) }
    // Without an init it is the program, and its number may be another's when it was reaped.
    let isGone = programEnd != nil && program == first
    if endsFirst, !isGone { kill(first, SIGKILL) }
    clock.end()
    while ContinuousClock.now < deadline {
      reapTracees()
      let isReaped = !endsFirst || isGone || (try? reapEnded(first)) != .noneEnded
      if isReaped, !isTracing || !TracedThread.hasAny { return true }
      if takeEndingSignal() { return false }
    }
    return false
  }

  private func reapTracees() {
    guard isTracing else { return }
    while let next = try? TracedThread.next() {
      if case .ended(let end) = next.stop {
        if next.thread.number == program, programEnd == nil { programEnd = end }
      } else {
        kill(next.thread.number, SIGKILL)
      }
    }
  }
}
