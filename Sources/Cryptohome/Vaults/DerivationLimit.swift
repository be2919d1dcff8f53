import DaemonStore
import DaemonStoreKernel
import Glibc

/// On whose behalf a password is tried.
package enum KeyRequester: Sendable {
  /// A command of root's.
  case root
  /// A login, or a call on the bus.
  case session
}

/// How many passwords are tried at a time, each of which takes much memory: one for each user, two on
/// the whole machine, and one more for root's commands. The locks are held by processes of root's
/// only, in a directory that only root can enter. A process that is stopped or frozen while it has a
/// place does not count: there is one place more as long as it stands still.
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
    var names: [FilePath] =
      ["derive.1", "derive.2"] + (requester == .root ? ["derive.root"] : [])
    var standing = StandingHolders()
    while true {
      for name in names {
        guard let place = try FileLock(name, in: directory, until: .now) else { continue }
        return try holding(place, name, in: directory, body)
      }
      guard ContinuousClock.now < deadline else { throw tooMany(directory.path, "of other users") }
      let more = min(standing.count(names, in: directory), extraPlaces)
      for number in 0..<more {
        let name: FilePath = "derive.\(3 + number)"
        if !names.contains(name) { names.append(name) }
      }
      pause(.milliseconds(10))
    }
  }

  /// As many processes that stand still in their place leave it to others.
  private static let extraPlaces = 6

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

/// The holders of places that have not run for a while.
private struct StandingHolders {
  /// A password is tried by computing, and a process that computes runs at least that often.
  private static let standstill = Duration.seconds(3)

  private struct Observation {
    let process: pid_t
    let stat: ProcessStat
    let since: ContinuousClock.Instant
  }
  private var seen: [FilePath: Observation] = [:]
  private var next = ContinuousClock.now

  /// How many of these places are held by processes that stand still.
  mutating func count(_ names: [FilePath], in directory: borrowing Directory) -> Int {
    let now = ContinuousClock.now
    if now >= next {
      next = now + .milliseconds(250)
      for name in names {
        guard let process = FileLock.holder(of: name, in: directory),
          let stat = ProcessStat(of: process)
        else {
          seen[name] = nil
          continue
        }
        if let known = seen[name], known.process == process, known.stat == stat { continue }
        seen[name] = Observation(process: process, stat: stat, since: now)
      }
    }
    return seen.values.count { $0.since.duration(to: now) >= Self.standstill }
  }
}
