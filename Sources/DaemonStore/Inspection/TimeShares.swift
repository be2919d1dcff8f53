import Glibc
import DaemonStoreKernel

/// The time of an inspection, divided among the users whose processes and mount namespaces it looks at. What
/// one user's millions of descriptors take is taken from that user's share.
///
/// Root and the user whom the inspection is for come first, and have half of the time. All others have an
/// eighth of it: first a small part each, and then those who need more divide what is left.
final class TimeShares {
  private let end: ContinuousClock.Instant
  private let start = ContinuousClock.now
  private let favoured: Set<uid_t>
  /// Users whose things are not looked at: earlier inspections did not come back from them. The caller has
  /// named them.
  var skipped: Set<uid_t> = []
  private let favouredTime: Duration
  private let othersTime: Duration
  private var spent: [uid_t: Duration] = [:]
  /// What each user may have spent at the end of the turn, or of the last one.
  private var limits: [uid_t: Duration] = [:]
  /// What is looked at now; nil between two looks.
  private var look: Look?
  private var isOver = false
  private var nextCheck = ContinuousClock.now
  /// `/proc/self/schedstat`; -1 on a kernel without it.
  private let schedule: CInt

  private struct Look {
    let user: uid_t
    /// What the user may have spent at the end of it.
    let limit: Duration
    var begun: Duration
  }

  /// - Parameter favoured: root, and those that the inspection is for.
  init(until end: ContinuousClock.Instant, favoured: Set<uid_t>) {
    self.end = end
    self.favoured = favoured
    let time = max(.zero, ContinuousClock.now.duration(to: end))
    favouredTime = time / 2
    othersTime = time / 8
    schedule = Glibc.open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC)
  }

  deinit { if schedule >= 0 { close(schedule) } }

  /// Whether the time of the whole inspection is over.
  var isLate: Bool { ContinuousClock.now >= end }

  /// Calls `body` with each item, one user's after another's.
  ///
  /// - Parameter isRepeatable: whether a look that took too long is made again when all users had their
  ///   turns, with the time that they have left.
  /// - Returns: those that there was no time for.
  func inTurns<Item>(
    _ items: [(user: uid_t, item: Item)], isRepeatable: Bool = true,
    _ body: (Item) throws(SystemError) -> Void
  ) throws(SystemError) -> [(user: uid_t, item: Item)] {
    let others = Set(items.lazy.map(\.user)).subtracting(favoured).count
    let part = othersTime / max(others, isRepeatable ? 8 : 1)
    let rest = try round(turns(of: items), body) { _ in part }
    guard isRepeatable, !rest.isEmpty else { return rest }
    let heavy = Set(rest.lazy.map(\.user)).subtracting(favoured)
    let known = spent
    let used = known.reduce(Duration.zero) { favoured.contains($1.key) ? $0 : $0 + $1.value }
    let bonus = max(.zero, othersTime - used) / max(heavy.count, 1)
    return try round(rest, body) { known[$0, default: .zero] + bonus }
  }

  /// The items in the order of the looks: those of favoured users, one of each other user, a second one of
  /// each.
  private func turns<Item>(
    of items: [(user: uid_t, item: Item)]
  ) -> [(user: uid_t, item: Item)] {
    let lists = Dictionary(grouping: items, by: \.user)
    let first = lists.keys.filter { favoured.contains($0) }.sorted()
    let others = lists.keys.filter { !favoured.contains($0) }.sorted()
    var ordered = first.flatMap { lists[$0] ?? [] }
    var turn = 0
    var waiting = others.compactMap { lists[$0] }
    while !waiting.isEmpty {
      ordered += waiting.map { $0[turn] }
      turn += 1
      waiting.removeAll { $0.count <= turn }
    }
    return ordered
  }

  private func round<Item>(
    _ items: [(user: uid_t, item: Item)], _ body: (Item) throws(SystemError) -> Void,
    limit: (uid_t) -> Duration
  ) throws(SystemError) -> [(user: uid_t, item: Item)] {
    var rest: [(user: uid_t, item: Item)] = []
    let outer = (look, isOver)
    recordTime()
    defer { goBack(to: outer) }
    for (user, item) in items where !skipped.contains(user) {
      recordTime()
      let limit =
        favoured.contains(user)
        ? spent[user, default: .zero] + favouredTime - favouredSpent : limit(user)
      guard spent[user, default: .zero] < limit, !isLate else {
        rest.append((user, item))
        continue
      }
      limits[user] = limit
      look = Look(user: user, limit: limit, begun: time)
      isOver = false
      try body(item)
      _ = check(.now)
      if isOver { rest.append((user, item)) }
    }
    return rest
  }

  /// Runs `body` in what is left of the time of a user, also in the turn of another user.
  func inTime(of user: uid_t, _ body: () -> Void) {
    let outer = (look, isOver)
    recordTime()
    defer { goBack(to: outer) }
    look = Look(user: user, limit: limits[user] ?? favouredTime, begun: time)
    isOver = skipped.contains(user)
    _ = check(.now)
    body()
  }

  private func goBack(to outer: (look: Look?, isOver: Bool)) {
    recordTime()
    look = outer.look
    look?.begun = time
    isOver = outer.isOver
    nextCheck = .now
  }

  private var favouredSpent: Duration {
    favoured.reduce(.zero) { $0 + spent[$1, default: .zero] }
  }

  /// Notes what the look has taken until now.
  private func recordTime() {
    guard let current = look else { return }
    let now = time
    spent[current.user, default: .zero] += now - current.begun
    look?.begun = now
  }

  /// Whether the look may go on.
  ///
  /// - Parameter said: called now and then.
  func goesOn(_ said: () -> Void) -> Bool {
    guard !isOver else { return false }
    let now = ContinuousClock.now
    guard now >= nextCheck else { return true }
    nextCheck = now + .milliseconds(20)
    said()
    return check(now)
  }

  private func check(_ now: ContinuousClock.Instant) -> Bool {
    if now >= end { isOver = true }
    if let look, spent[look.user, default: .zero] + time - look.begun >= look.limit {
      isOver = true
    }
    return !isOver
  }

  /// Takes time from the user that the caller will need for what was found.
  ///
  /// - Returns: whether the user has that.
  func charge(_ time: Duration) -> Bool {
    if let look { spent[look.user, default: .zero] += time }
    return check(.now)
  }

  /// How long this process has lived and not waited for a processor: on a busy machine that is no time of
  /// a user's. But at least half of all time counts, since that ends for all users.
  /// schedstat: nanoseconds on the processor, nanoseconds of waiting, times.
  private var time: Duration {
    let all = start.duration(to: .now)
    guard schedule >= 0 else { return all }
    var text = [UInt8](repeating: 0, count: 128)
    let count = pread(schedule, &text, text.count, 0)
    let words = text.prefix(max(0, count)).words
    guard words.count > 1, let waited: Int64 = words[1].number() else { return all }
    return max(all - .nanoseconds(waited), all / 2)
  }
}

extension Inspection {
  /// Calls `body` with each process, in turns of their users, and of each user's first with those that have
  /// few open files. What there is no time for is named.
  static func inTurns(
    _ processes: [pid_t], _ unknowns: Unknowns, _ body: (pid_t) throws(SystemError) -> Void
  ) throws(SystemError) {
    var files: [pid_t: UInt64] = [:]
    for process in processes { files[process] = Processes.openFiles(of: process) }
    let items = processes.sorted { (files[$0] ?? 0, $0) < (files[$1] ?? 0, $1) }
      // One that is gone has no user any more, and takes no time.
      .map { (user: Processes.responsibleUser(of: $0) ?? 0, item: $0) }
    name(try shares.inTurns(items, body), unknowns)
  }

  /// Names the users whose things there was no time for.
  static func name<Item>(_ rest: [(user: uid_t, item: Item)], _ unknowns: Unknowns) {
    for user in Set(rest.lazy.map(\.user)).sorted() {
      unknowns.add("all \(kind.noun) of user \(user) in time")
    }
  }
}
