import CSystemd
import Glibc
import DaemonStoreKernel

/// The one place where a program waits: sd-event(3). Everything runs on the thread that calls
/// ``run()``.
package struct EventLoop: ~Copyable {
  let pointer: OpaquePointer

  package init() throws(SystemError) {
    var pointer: OpaquePointer?
    try accept("sd_event_new", sd_event_new(&pointer))
    guard let pointer else { throw SystemError(operation: "sd_event_new", path: nil, code: ENOMEM) }
    self.pointer = pointer
  }

  deinit { sd_event_unref(pointer) }

  /// Waits and dispatches until somebody calls ``stop(status:)``; that status.
  package func run() throws(SystemError) -> CInt {
    try accept("sd_event_loop", sd_event_loop(pointer))
  }

  /// Ends ``run()`` when what is being dispatched is done.
  package func stop(status: CInt) { sd_event_exit(pointer, status) }

  /// Ends ``run()`` with 0 when one of these signals arrives. They are blocked from here on, and
  /// stay so in children that do not unblock them.
  package func stop(onSignals signals: [CInt]) throws(SystemError) {
    for signal in signals {
      // Without a handler of ours, sd-event stops with what is in place of `userdata`: 0.
      try accept(
        "sd_event_add_signal",
        sd_event_add_signal(pointer, nil, signal | SD_EVENT_SIGNAL_PROCMASK, nil, nil))
    }
  }

  /// What a descriptor is watched for, as in epoll_ctl(2).
  package struct Events: OptionSet, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let readable = Self(rawValue: EPOLLIN.rawValue)
    /// What `/proc/PID/mountinfo` says when it has changed.
    package static let urgent = Self(rawValue: EPOLLPRI.rawValue)
    /// The other end is gone. This is told in any case, so alone it is the empty set.
    package static let hangup = Self([])
  }

  /// Calls `body` whenever one of the events is there, until the source is dropped. The descriptor
  /// stays the caller's, who may close it at any time.
  package func watch(
    _ descriptor: CInt, for events: Events, first isFirst: Bool = false,
    _ body: @escaping () -> Void
  ) throws(SystemError) -> EventSource {
    let source = EventSource(body)
    // One of its own, closed after the source: what epoll(7) watches stays watched when it is closed,
    // as long as anybody has a copy.
    let own = Descriptor(owning: try check("fcntl", nil, fcntl(descriptor, F_DUPFD_CLOEXEC, 3)))
    try accept(
      "sd_event_add_io",
      sd_event_add_io(
        pointer, &source.pointer, own.number, events.rawValue,
        { _, _, _, userdata in EventSource.dispatch(userdata) }, source.userdata))
    try accept(
      "sd_event_source_set_io_fd_own", sd_event_source_set_io_fd_own(source.pointer, 1))
    _ = own.release()
    if isFirst {
      try accept(
        "sd_event_source_set_priority",
        sd_event_source_set_priority(source.pointer, Int64(SD_EVENT_PRIORITY_IMPORTANT)))
    }
    return source
  }

  /// Calls `body` whenever this signal has arrived, until the source is dropped. It is blocked from here
  /// on, and stays so in children that do not unblock it.
  package func watch(
    signal: CInt, _ body: @escaping () -> Void
  ) throws(SystemError) -> EventSource {
    let source = EventSource(body)
    try accept(
      "sd_event_add_signal",
      sd_event_add_signal(
        pointer, &source.pointer, signal | SD_EVENT_SIGNAL_PROCMASK,
        { _, _, userdata in EventSource.dispatch(userdata) }, source.userdata))
    return source
  }

  /// Calls `body` once, after so long, unless the source is dropped before.
  package func after(
    _ time: Duration, _ body: @escaping () -> Void
  ) throws(SystemError) -> EventSource {
    let source = EventSource(body)
    try accept(
      "sd_event_add_time",
      sd_event_add_time_relative(
        pointer, &source.pointer, CLOCK_MONOTONIC, time.microseconds, 0,
        { _, _, userdata in EventSource.dispatch(userdata) }, source.userdata))
    return source
  }
}

/// Something that an ``EventLoop`` waits for, as long as this is kept.
package final class EventSource {
  fileprivate var pointer: OpaquePointer?
  private let body: () -> Void

  fileprivate init(_ body: @escaping () -> Void) { self.body = body }
  deinit { sd_event_source_disable_unref(pointer) }

  /// Whether `body` is called. This needs no descriptor, and no memory.
  package func enable(_ isEnabled: Bool) {
    sd_event_source_set_enabled(pointer, isEnabled ? CInt(SD_EVENT_ON) : CInt(SD_EVENT_OFF))
  }

  /// Not retained: the source in sd-event does not outlive this.
  fileprivate var userdata: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }

  fileprivate static func dispatch(_ userdata: UnsafeMutableRawPointer?) -> CInt {
    guard let userdata else { return -EINVAL }
    // Held until `body` returns, which may drop the source.
    let source = Unmanaged<EventSource>.fromOpaque(userdata).takeUnretainedValue()
    withExtendedLifetime(source) { source.body() }
    return 0
  }
}

/// Tells the service manager that has started this that it is ready: sd_notify(3). Without one, nothing.
package func tellReady() { _ = sd_notify(0, "READY=1") }

extension Duration {
  /// Never negative.
  package var microseconds: UInt64 {
    let (seconds, attoseconds) = components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    let (whole, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000)
    return overflow
      ? .max
      : whole.addingReportingOverflow(
        UInt64(attoseconds) / 1_000_000_000_000
      ).partialValue
  }
}

/// A call of libsystemd, which says what went wrong by a negative errno.
@discardableResult
func accept(_ operation: String, _ result: CInt) throws(SystemError) -> CInt {
  guard result >= 0 else { throw SystemError(operation: operation, path: nil, code: -result) }
  return result
}
