import DaemonStore
import DaemonStoreKernel

/// On whose behalf a password is tried.
package enum KeyRequester: Sendable {
  /// A command of root's.
  case root
  /// A login, or a call on the bus.
  case session
}

/// How many passwords are tried at a time, each of which takes much memory: one for each user, two on
/// the whole machine, and one more for root's commands. The locks are held by processes of root's
/// only, in a directory that only root can enter.
enum DerivationLimit {
  /// How long to wait for the others.
  private static let timeout = Duration.seconds(30)

  /// Runs `body`, which tries passwords of `user`, as soon as the limit allows it.
  ///
  /// - Throws: ``Refusal`` when others do so for too long.
  static func hold<Value: ~Copyable>(
    for user: ObfuscatedUsername, _ requester: KeyRequester, _ layout: Layout,
    _ body: () throws -> Value
  ) throws -> Value {
    let run = try Directory(opening: layout.root).trusted("run")
    let state = try OwnedDirectory("cryptohome", in: run, owner: 0, group: 0, mode: 0o700)
    let directory = state.opened()
    let deadline = ContinuousClock.now + timeout
    // The user's first: a process that waits for its own user takes no place from others.
    let ownName: FilePath = "derive.\(user)"
    guard let own = try FileLock(ownName, in: directory, until: deadline) else {
      throw tooMany(directory.path, "of this user")
    }
    return try holding(own, ownName, in: directory) {
      try holdPlace(requester, in: directory, until: deadline, body)
    }
  }

  private static func holdPlace<Value: ~Copyable>(
    _ requester: KeyRequester, in directory: borrowing Directory,
    until deadline: ContinuousClock.Instant, _ body: () throws -> Value
  ) throws -> Value {
    let names: [FilePath] =
      ["derive.1", "derive.2"] + (requester == .root ? ["derive.root"] : [])
    while true {
      for name in names {
        guard let place = try FileLock(name, in: directory, until: .now) else { continue }
        return try holding(place, name, in: directory, body)
      }
      guard ContinuousClock.now < deadline else { throw tooMany(directory.path, "of other users") }
      pause(.milliseconds(10))
    }
  }

  private static func holding<Value: ~Copyable>(
    _ lock: consuming FileLock, _ name: FilePath, in directory: borrowing Directory,
    _ body: () throws -> Value
  ) throws -> Value {
    let value: Value
    do {
      value = try body()
    } catch {
      lock.remove(name, in: directory)
      throw error
    }
    lock.remove(name, in: directory)
    return value
  }

  private static func tooMany(_ path: FilePath, _ which: String) -> Refusal {
    Refusal(
      path: path,
      reason: "other passwords \(which) have been tried for \(timeout.components.seconds) "
        + "seconds; try again")
  }
}
