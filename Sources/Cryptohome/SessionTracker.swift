import DaemonStore

/// What `org.chromium.SessionManagerInterface` calls the state of the session.
package enum SessionState: String, Sendable {
  /// Somebody is logged in.
  case started
  /// The last who is logged in is leaving.
  case stopping
  /// Nobody is mounted.
  case stopped
}

/// Something that whoever follows logins is told.
package enum SessionEvent: Equatable, Sendable {
  case storeMounted(StoreName, ObfuscatedUsername)
  case storeUnmounting(StoreName, ObfuscatedUsername)
  case storeUnmounted(StoreName, ObfuscatedUsername)
  case userMounted(ObfuscatedUsername)
  case userUnmounted(ObfuscatedUsername)
  case stateChanged(SessionState)
}

/// Turns what the kernel shows, one look after another, into events in a fixed order. Pure.
///
/// A login: the stores, then the user, then `started`, once the stores that the login has mounted
/// are all there. A logout: `stopping` and the stores that are going to leave, if it was announced;
/// then the stores that have left, the user, and `stopped` after the last one.
package struct SessionTracker: Sendable {
  /// Who is logged in, in the order of their logins.
  package private(set) var users: [ObfuscatedUsername] = []
  package private(set) var mounted = MountedUsers(users: [], stores: [:])
  package private(set) var state = SessionState.stopped
  /// Whose logout was announced, and what they had mounted then.
  private var leaving: [ObfuscatedUsername: Set<StoreName>] = [:]

  package init() {}

  /// Who is mounted, but not told yet: somebody is at work on them.
  package var pending: [ObfuscatedUsername] { mounted.users.filter { !users.contains($0) } }

  /// - Parameter isInWork: whether a login or logout of the user is under way.
  package mutating func update(
    _ next: MountedUsers, isInWork: (ObfuscatedUsername) -> Bool
  ) -> [SessionEvent] {
    let before = mounted
    mounted = next
    var events: [SessionEvent] = []
    for user in Set(before.stores.keys).sorted() {
      let gone = before.stores[user, default: []].subtracting(next.stores[user, default: []])
      events += gone.sorted().map { .storeUnmounted($0, user) }
    }
    let gone = users.filter { !next.users.contains($0) }
    users.removeAll { gone.contains($0) }
    events += gone.map { .userUnmounted($0) }
    leaving = leaving.filter { next.users.contains($0.key) }

    for user in next.users {
      let new = next.stores[user, default: []].subtracting(before.stores[user, default: []])
      events += new.sorted().map { .storeMounted($0, user) }
      // Who gets something mounted is not leaving.
      if !new.isEmpty { leaving[user] = nil }
    }
    if users.isEmpty { events += change(to: .stopped) }
    for user in pending where !isInWork(user) {
      users.append(user)
      events.append(.userMounted(user))
      state = .started
      events.append(.stateChanged(.started))
    }
    return events + updateState()
  }

  /// A logout is about to begin.
  package mutating func announce(_ user: ObfuscatedUsername) -> [SessionEvent] {
    // Told once, however often it is tried.
    guard users.contains(user), leaving[user] == nil else { return [] }
    let stores = mounted.stores[user, default: []]
    leaving[user] = stores
    return updateState() + stores.sorted().map { .storeUnmounting($0, user) }
  }

  /// The logout that was announced is over. Who still has all that was there then is not leaving.
  package mutating func withdraw(_ user: ObfuscatedUsername) -> [SessionEvent] {
    if leaving[user] == mounted.stores[user, default: []] { leaving[user] = nil }
    return updateState()
  }

  private mutating func updateState() -> [SessionEvent] {
    if users.isEmpty { return change(to: .stopped) }
    return change(to: users.allSatisfy { leaving[$0] != nil } ? .stopping : .started)
  }

  private mutating func change(to state: SessionState) -> [SessionEvent] {
    guard self.state != state else { return [] }
    self.state = state
    return [.stateChanged(state)]
  }
}
