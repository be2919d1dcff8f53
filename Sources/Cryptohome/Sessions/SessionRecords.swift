import DaemonStore
import Glibc
import DaemonStoreKernel

/// `/run/cryptohome/sessions/H`, under the user's lock: an empty file for each session, named by its
/// leader and its id, and `unmount` while what is mounted is to go with the last of them. Each change is one
/// system call, and the order of the changes leaves at any point a state that
/// ``Sessions/lockIfEnded(_:_:ending:id:until:)`` finishes.
struct SessionRecords: ~Copyable {
  private let all: Directory
  private let directory: Directory
  private let user: ObfuscatedUsername
  private static let mark: FilePath = "unmount"

  /// nil when nothing is recorded of the user.
  init?(ofExisting user: ObfuscatedUsername, _ layout: Layout) throws {
    do {
      let all = try Directory(opening: layout.root).trusted("run/cryptohome/sessions")
      directory = try all.trusted(user.path)
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
      user.path, in: all.directory, owner: 0, group: 0, mode: 0o700
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

  func add(_ session: SessionRecord) throws(SystemError) { try make(session.path) }

  func remove(_ session: SessionRecord) throws(SystemError) { try remove(session.path) }

  /// Forgets one session of this leader: which one makes no difference, as they end with it.
  func removeOne(of leader: SessionLeader) throws(SystemError) {
    let sessions = try sessions().filter { $0.leader == leader }
    if let session = sessions.min(by: { $0.description < $1.description }) { try remove(session) }
  }

  /// All that are recorded, also those whose leaders have ended.
  func sessions() throws(SystemError) -> [SessionRecord] {
    try directory.names().compactMap { SessionRecord($0) }
  }

  /// Whether there are sessions, and the leaders of all of them live. Needs no lock.
  func isQuiet() throws(SystemError) -> Bool {
    let sessions = try sessions()
    return !sessions.isEmpty && sessions.allSatisfy(\.leader.isAlive)
  }

  /// Forgets the sessions whose leaders are gone; says whether one is left.
  func hasSession() throws(SystemError) -> Bool {
    var isHeld = false
    for session in try sessions() {
      if session.leader.isAlive { isHeld = true } else { try remove(session) }
    }
    return isHeld
  }

  /// Whether what is mounted should be gone: nobody is left of the sessions that it was for. Changes
  /// nothing.
  func isAbandoned() throws(SystemError) -> Bool {
    guard try isMarked() else { return false }
    return try !sessions().contains { $0.leader.isAlive }
  }

  /// Whether what is mounted goes with the last session.
  func isMarked() throws(SystemError) -> Bool { try directory.status(of: Self.mark) != nil }

  func mark() throws(SystemError) { try make(Self.mark) }

  func unmark() throws(SystemError) { try remove(Self.mark) }

  /// Takes the directory away unless something is recorded in it.
  consuming func tidy() throws(SystemError) {
    do {
      try all.removeDirectory(user.path)
    } catch  where error.code == ENOTEMPTY || error.code == EEXIST {
    }
  }

  private func make(_ name: FilePath) throws(SystemError) {
    _ = try directory.file(name, flags: O_WRONLY | O_CREAT | O_NOFOLLOW, mode: 0o600)
  }

  private func remove(_ name: FilePath) throws(SystemError) {
    do {
      try directory.removeFile(name)
    } catch  where error.code == ENOENT {
    }
  }
}
