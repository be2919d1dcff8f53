import DaemonStore
import Glibc
import Kernel

/// `/run/cryptohome/sessions/H`, under the user's lock: an empty file for each session, named by its
/// leader, and `unmount` while what is mounted is to go with the last of them. Each change is one
/// system call, and the order of the changes leaves at any point a state that ``Sessions/settle(_:_:)``
/// finishes.
struct SessionRecords: ~Copyable {
  private let all: Directory
  private let directory: Directory
  private let user: ObfuscatedUsername
  private static let mark = "unmount"

  /// nil when nothing is recorded of the user.
  init?(ofExisting user: ObfuscatedUsername, _ layout: Layout) throws {
    do {
      let all = try Directory(opening: layout.root).trusted("run/cryptohome/sessions")
      directory = try all.trusted(user.description)
      self.all = all
      self.user = user
    } catch let error as SystemError where error.code == ENOENT {
      return nil
    }
  }

  /// Makes the directory if need be.
  init(of user: ObfuscatedUsername, _ layout: Layout) throws {
    let run = try Directory(opening: layout.root).trusted("run")
    let state = try OwnedDirectory("cryptohome", in: run, owner: 0, group: 0, mode: 0o700)
    let all = try OwnedDirectory("sessions", in: state.directory, owner: 0, group: 0, mode: 0o700)
    directory = try OwnedDirectory(
      user.description, in: all.directory, owner: 0, group: 0, mode: 0o700
    ).opened()
    self.all = all.opened()
    self.user = user
  }

  /// The users of whom something is recorded, without a lock.
  static func users(_ layout: Layout) throws -> [ObfuscatedUsername] {
    do {
      return try Directory(opening: layout.root).trusted("run/cryptohome/sessions").names()
        .compactMap { ObfuscatedUsername($0) }
    } catch let error as SystemError where error.code == ENOENT {
      return []
    }
  }

  func add(_ leader: SessionLeader) throws(SystemError) { try make(leader.description) }

  func remove(_ leader: SessionLeader) throws(SystemError) { try remove(leader.description) }

  /// Whether there are sessions, and the leaders of all of them live. Needs no lock.
  func isQuiet() throws(SystemError) -> Bool {
    let leaders = try directory.names().compactMap { SessionLeader($0) }
    return !leaders.isEmpty && leaders.allSatisfy(\.isAlive)
  }

  /// Forgets the sessions whose leaders are gone; says whether one is left.
  func hasSession() throws(SystemError) -> Bool {
    var isHeld = false
    for name in try directory.names() {
      guard let leader = SessionLeader(name) else { continue }
      if leader.isAlive { isHeld = true } else { try remove(name) }
    }
    return isHeld
  }

  /// Whether what is mounted should be gone: nobody is left of the sessions that it was for. Changes
  /// nothing.
  func isAbandoned() throws(SystemError) -> Bool {
    guard try isMarked() else { return false }
    return try !directory.names().contains { SessionLeader($0)?.isAlive == true }
  }

  /// Whether what is mounted goes with the last session.
  func isMarked() throws(SystemError) -> Bool { try directory.status(of: Self.mark) != nil }

  func mark() throws(SystemError) { try make(Self.mark) }

  func unmark() throws(SystemError) { try remove(Self.mark) }

  /// Takes the directory away unless something is recorded in it.
  consuming func tidy() throws(SystemError) {
    do {
      try all.removeDirectory(user.description)
    } catch  where error.code == ENOTEMPTY || error.code == EEXIST {
    }
  }

  private func make(_ name: String) throws(SystemError) {
    _ = try directory.file(name, flags: O_WRONLY | O_CREAT | O_NOFOLLOW, mode: 0o600)
  }

  private func remove(_ name: String) throws(SystemError) {
    do {
      try directory.removeFile(name)
    } catch  where error.code == ENOENT {
    }
  }
}
