import DaemonStoreBus
import Cryptohome
import DaemonStore
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram

/// Those who want to be waited for before a store of theirs is unmounted, and the logouts that wait
/// for them. A delay lasts until every copy of its descriptor is closed.
final class Delays {
  /// Gets those that are not waited for any longer.
  typealias Answer = ([(store: StoreName, why: String)]) -> Void

  private final class Delay {
    let store: StoreName
    let why: String
    let user: uid_t
    let reading: Descriptor
    var source: EventSource?

    init(
      of store: StoreName, why: String, by user: uid_t, until reading: consuming Descriptor
    ) {
      self.store = store
      self.why = why
      self.user = user
      self.reading = reading
    }
  }

  private final class Logout {
    let stores: Set<StoreName>
    /// Closed by whoever logs out when that is over.
    let end: Descriptor
    var answer: Answer?
    var sources: [EventSource] = []

    init(_ stores: Set<StoreName>, _ end: consuming Descriptor, _ answer: @escaping Answer) {
      self.stores = stores
      self.end = end
      self.answer = answer
    }
  }

  private var delays: [Int: Delay] = [:]
  private var logouts: [Int: Logout] = [:]
  private var count = 0

  private static let limit = 4096
  /// For one user, however many connections it has; and for root.
  private static let limitForUser = 16
  private static let limitForRoot = 2048
  static let whyLimit = 256

  /// - Throws: when a user has as many delays as there may be.
  func requireRoom(for user: uid_t) throws {
    let limit = user == 0 ? Self.limitForRoot : Self.limitForUser
    guard delays.count < Self.limit, delays.values.count(where: { $0.user == user }) < limit
    else { throw BusError.limitsExceeded("there are too many delays; close some") }
  }

  /// Begins a delay, and answers `call` with the descriptor that it lasts as long as.
  func add(
    _ store: StoreName, why: String, of user: uid_t, for call: MethodCall,
    in loop: borrowing EventLoop
  ) throws {
    try requireRoom(for: user)
    let pipe = try Pipe()
    let writing = pipe.writing.number
    call.reply { try $0.append(descriptor: writing) }
    // Ours is closed: the caller has the last one.
    let delay = Delay(of: store, why: why, by: user, until: pipe.intoReading())
    count += 1
    let key = count
    delay.source = try loop.watch(delay.reading.number, for: .hangup, first: true) {
      [unowned self] in
      delays[key] = nil
      for logout in logouts.values { answer(logout) }
    }
    delays[key] = delay
  }

  /// Calls `answer` when no daemon delays any of these stores, or when `limit` is over.
  ///
  /// - Parameters:
  ///   - end: hangs up when the logout is over.
  ///   - done: is called then.
  func wait(
    for stores: Set<StoreName>, until end: consuming Descriptor, atMost limit: Duration,
    in loop: borrowing EventLoop, answer: @escaping Answer, done: @escaping () -> Void
  ) throws {
    let logout = Logout(stores, end, answer)
    count += 1
    let key = count
    logout.sources = [
      try loop.watch(logout.end.number, for: .hangup, first: true) { [unowned self] in
        logouts[key] = nil
        done()
      },
      try loop.after(limit) { [unowned self, unowned logout] in
        self.answer(logout, isLate: true)
      },
    ]
    logouts[key] = logout
    self.answer(logout)
  }

  private func answer(_ logout: Logout, isLate: Bool = false) {
    let holders = delays.values.filter { logout.stores.contains($0.store) }
    guard let answer = logout.answer, holders.isEmpty || isLate else { return }
    logout.answer = nil
    logout.sources = Array(logout.sources.prefix(1))
    answer(
      holders.map { (store: $0.store, why: $0.why) }
        .sorted { ($0.store.description, $0.why) < ($1.store.description, $1.why) })
  }
}
