import Glibc
import DaemonStoreKernel

/// Runs `body` while no other process logs this user in or out. If the lock of the stores is needed
/// too, that one is taken in `body`. The lock file stays while the user is mounted: a logout must not
/// need a new inode.
///
/// - Parameter deadline: when to give up waiting; nil for ``LockTimeout/login`` from now.
/// - Throws: ``Refusal``, which names the holder, when the lock is not free then.
package func locked<Value>(
  _ user: ObfuscatedUsername, _ layout: Layout, until deadline: ContinuousClock.Instant? = nil,
  _ body: () throws -> Value
) throws -> Value {
  let run = try Directory(opening: layout.root).trusted("run")
  let state = try OwnedDirectory("cryptohome", in: run, owner: 0, group: 0, mode: 0o700)
  let name: FilePath = "\(user).lock"
  let lock = try FileLock.take(
    name, in: state.directory, until: deadline ?? .now + LockTimeout.login,
    for: "logging this user in or out")
  let outcome = Result { try body() }
  if !isMounted(user, layout) { lock.remove(name, in: state.directory) }
  return try outcome.get()
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
    return try FileLock.isHeld("\(user).lock", in: state)
  } catch let error as SystemError where error.code == ENOENT {
    return false
  }
}
