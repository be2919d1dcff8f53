import Bus
import Cryptohome
import DaemonStore
import Glibc
import Kernel
import Program

/// Those who want to be waited for before a store of theirs is unmounted, and the logouts that wait
/// for them. A delay lasts until every copy of its descriptor is closed.
final class Delays {
  private final class Delay {
    let store: StoreName
    let why: String
    let sender: String
    let reading: Descriptor
    var source: EventSource?

    init(_ store: StoreName, _ why: String, _ sender: String, _ reading: consuming Descriptor) {
      self.store = store
      self.why = why
      self.sender = sender
      self.reading = reading
    }
  }

  private final class Logout {
    let stores: Set<StoreName>
    /// Closed by whoever logs out when that is over.
    let end: Descriptor
    var call: MethodCall?
    var sources: [EventSource] = []

    init(_ stores: Set<StoreName>, _ end: consuming Descriptor, _ call: MethodCall) {
      self.stores = stores
      self.end = end
      self.call = call
    }
  }

  private var delays: [Int: Delay] = [:]
  private var logouts: [Int: Logout] = [:]
  private var count = 0

  private static let limit = 4096
  private static let limitForSender = 16
  static let whyLimit = 256

  /// Begins a delay, and answers `call` with the descriptor that it lasts as long as.
  func add(
    _ store: StoreName, why: String, for call: MethodCall, in loop: borrowing EventLoop
  ) throws {
    let sender = call.message.sender
    guard delays.count < Self.limit,
      delays.values.count(where: { $0.sender == sender }) < Self.limitForSender
    else { throw BusError.limitsExceeded("there are too many delays; close some") }
    let pipe = try Pipe()
    let writing = pipe.writing.number
    call.reply { try $0.append(descriptor: writing) }
    // Ours is closed: the caller has the last one.
    let delay = Delay(store, why, sender, pipe.intoReading())
    count += 1
    let key = count
    delay.source = try loop.watch(delay.reading.number, for: .hangup) { [unowned self] in
      delays[key] = nil
      for logout in logouts.values { answer(logout) }
    }
    delays[key] = delay
  }

  /// Answers `call` when nobody delays any of these stores, or when `limit` is over.
  ///
  /// - Parameters:
  ///   - end: hangs up when the logout is over.
  ///   - done: is called then.
  func wait(
    for stores: Set<StoreName>, until end: consuming Descriptor, atMost limit: Duration,
    _ call: MethodCall, in loop: borrowing EventLoop, done: @escaping () -> Void
  ) throws {
    let logout = Logout(stores, end, call)
    count += 1
    let key = count
    logout.sources = [
      try loop.watch(logout.end.number, for: .hangup) { [unowned self] in
        logouts[key] = nil
        done()
      },
      try loop.after(limit) { [unowned self, unowned logout] in
        answer(logout, isLate: true)
      },
    ]
    logouts[key] = logout
    answer(logout)
  }

  private func answer(_ logout: Logout, isLate: Bool = false) {
    let holders = delays.values.filter { logout.stores.contains($0.store) }
    guard let call = logout.call, holders.isEmpty || isLate else { return }
    logout.call = nil
    logout.sources = Array(logout.sources.prefix(1))
    call.reply { reply in
      let held = holders.map { (store: $0.store.description, why: $0.why) }
        .sorted { ($0.store, $0.why) < ($1.store, $1.why) }
      try reply.append(array: "(ss)", of: held) { message, holder throws(SystemError) in
        try message.append(structure: "ss") { message throws(SystemError) in
          try message.append(holder.store)
          try message.append(holder.why)
        }
      }
    }
  }
}
