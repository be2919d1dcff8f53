import DaemonStore
import Glibc
import DaemonStoreKernel

/// How long a user stays mounted.
package enum MountLifetime: Sendable {
  /// Until the user is unmounted by a command or over the bus.
  case byHand
  /// Until all of the user's sessions have ended.
  case sessions
}

/// A session is held by its leader, a process: what ends with that needs no count, and a session that
/// nobody has closed ends with its leader too.
package enum Sessions {
  /// Opens a session: mounts the user, unless that was done before, until the last session ends.
  ///
  /// A leader is a session's also when the vault stays locked: another session may open it, and its
  /// end must not take the mounts from this one.
  ///
  /// - Returns: nil for a user without a vault.
  package static func open(
    _ username: Username, _ session: SessionRecord, _ layout: Layout,
    password: () throws -> Secret
  ) throws -> LoginReport? {
    guard let user = try username.resolveIfSalted(in: layout) else { return nil }
    let home = UserHome(of: user, in: layout)
    // Before the session counts: it must not keep the vault of another account open.
    let record = try home.record
    let account = try username.account(record)
    try record?.require(account, of: user)
    guard try home.kind != nil else {
      try VaultFile.requireNoneUnderFormerName(of: account, layout)
      return nil
    }
    // First: nobody who logs out from here on locks the vault.
    try locked(user, layout) { try SessionRecords(of: user, layout).add(session) }
    let request = LoginRequest(username: username, requester: .session)
    let report = try Login.run(request, in: home, lifetime: .sessions) {
      .password(try password())
    }
    // Killed meanwhile, it ends nothing any more.
    if !session.leader.isAlive { try lockIfEnded(user, layout) }
    return report
  }

  /// Ends a session.
  ///
  /// - Parameter id: nil for any one of the leader's.
  /// - Returns: what was unmounted with it; nil when it was not the last one.
  @discardableResult
  package static func close(
    _ username: Username, _ leader: SessionLeader, id: String?, _ layout: Layout
  ) throws -> LogoutReport? {
    guard let user = try username.resolveIfSalted(in: layout) else { return nil }
    return try lockIfEnded(user, layout, ending: leader, id: id)
  }

  /// The leaders of a user's sessions that are alive. Needs no lock.
  package static func leaders(
    of user: ObfuscatedUsername, _ layout: Layout
  ) throws -> Set<SessionLeader> {
    guard let records = try SessionRecords(ofExisting: user, layout) else { return [] }
    return Set(try records.sessions().map(\.leader).filter(\.isAlive))
  }

  /// The users of whom a session, or a logout that is not finished, is known.
  package static func users(_ layout: Layout) throws -> [ObfuscatedUsername] {
    try SessionRecords.users(layout)
  }

  /// Ends the sessions whose leaders are gone, and locks the user's vault if none is left. A logout that
  /// others have kept from its end is tried again.
  ///
  /// - Parameter deadline: when to give up waiting for another login or logout of the user.
  /// - Returns: nil when there was nothing to unmount.
  @discardableResult
  package static func lockIfEnded(
    _ user: ObfuscatedUsername, _ layout: Layout, ending leader: SessionLeader? = nil,
    id: String? = nil, until deadline: ContinuousClock.Instant? = nil
  ) throws -> LogoutReport? {
    guard let records = try SessionRecords(ofExisting: user, layout),
      try leader != nil || !records.isQuiet()
    else { return nil }
    let home = try LockedHome(
      of: user, in: layout, until: deadline ?? .now + LockTimeout.logout)
    guard let records = try SessionRecords(ofExisting: user, layout) else { return nil }
    if let leader {
      if let id, let session = SessionRecord(leader, id: id) {
        try records.remove(session)
      } else {
        try records.removeOne(of: leader)
      }
    }
    guard try !records.hasSession(), try records.isMarked() else {
      try records.tidy()
      return nil
    }
    return announced(user, layout) { home.unmount(lazily: false) }
  }

  /// The users of whom a session has ended without being closed, or a logout is not finished.
  package static func usersWithEndedSessions(_ layout: Layout) throws -> [ObfuscatedUsername] {
    try users(layout).filter { try SessionRecords(ofExisting: $0, layout)?.isQuiet() == false }
  }

  /// Records what an unmount has left: that goes as soon as it can, and no session is open.
  static func note(_ report: LogoutReport, _ layout: Layout) throws {
    if report.isComplete {
      guard let records = try SessionRecords(ofExisting: report.user, layout) else { return }
      try records.unmark()
      try records.tidy()
    } else {
      try SessionRecords(of: report.user, layout).mark()
    }
  }

  /// The user, if there is a vault that takes a password; nil for any other.
  package static func userWithPassword(
    _ username: Username, _ layout: Layout
  ) throws -> ObfuscatedUsername? {
    guard let user = try username.resolveIfSalted(in: layout) else { return nil }
    return try UserHome(of: user, in: layout).kind == .fscrypt ? user : nil
  }
}
