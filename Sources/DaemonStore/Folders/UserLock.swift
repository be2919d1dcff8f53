import Glibc
import DaemonStoreKernel

/// While this lives, no other process logs this user in or out. If the lock of the stores is needed
/// too, that one is taken later. The lock file stays while the user is mounted: a logout must not
/// need a new inode.
package struct UserLock: ~Copyable {
  package let user: ObfuscatedUsername
  package let layout: Layout
  private let lock: FileLock
  /// `/run/cryptohome`.
  private let directory: Directory

  /// - Parameter deadline: when to give up waiting; nil for ``LockTimeout/login`` from now.
  /// - Throws: ``Refusal``, which names the holder, when the lock is not free then.
  package init(
    of user: ObfuscatedUsername, in layout: Layout, until deadline: ContinuousClock.Instant? = nil
  ) throws {
    let run = try Directory(opening: layout.root).trusted("run")
    let state = try OwnedDirectory("cryptohome", in: run, owner: 0, group: 0, mode: 0o700)
    let directory = state.opened()
    lock = try FileLock.take(
      Self.name(of: user), in: directory, until: deadline ?? .now + LockTimeout.login,
      for: "logging this user in or out")
    self.directory = directory
    self.user = user
    self.layout = layout
  }

  deinit {
    // The lock is let go after that.
    if !isMounted(user, layout) { _ = try? directory.removeFile(Self.name(of: user)) }
  }

  fileprivate static func name(of user: ObfuscatedUsername) -> FilePath { "\(user).lock" }
}

/// Runs `body` under the user's lock.
package func locked<Value>(
  _ user: ObfuscatedUsername, _ layout: Layout, until deadline: ContinuousClock.Instant? = nil,
  _ body: () throws -> Value
) throws -> Value {
  let lock = try UserLock(of: user, in: layout, until: deadline)
  return try withExtendedLifetime(lock) { try body() }
}

/// Whether the user's home is mounted at its place. Not known is mounted: a lock file harms nothing.
private func isMounted(_ user: ObfuscatedUsername, _ layout: Layout) -> Bool {
  do throws(SystemError) {
    let homes = try Directory(opening: layout.below("home/user"))
    return try homes.status(of: user.path)?.isMountRoot == true
  } catch {
    return error.code != ENOENT
  }
}

/// Whether a process logs this user in or out at this moment.
package func isLocked(_ user: ObfuscatedUsername, _ layout: Layout) throws -> Bool {
  do {
    let state = try Directory(opening: layout.root).trusted("run/cryptohome")
    return try FileLock.isHeld(UserLock.name(of: user), in: state)
  } catch let error as SystemError where error.code == ENOENT {
    return false
  }
}
