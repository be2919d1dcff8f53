import Kernel

/// Runs `body` while nobody else logs this user in or out. Whoever wants the lock of the stores, too,
/// takes that one in `body`.
///
/// - Parameter deadline: when to give up waiting for whoever does; nil for never.
/// - Throws: ``Refusal`` when somebody still does then.
public func locked<Value>(
  _ user: ObfuscatedUsername, _ layout: Layout, until deadline: ContinuousClock.Instant? = nil,
  _ body: () throws -> Value
) throws -> Value {
  let run = try Directory(opening: layout.root).trusted("run")
  let state = try OwnedDirectory("cryptohome", in: run, owner: 0, group: 0, mode: 0o700)
  let name = "\(user).lock"
  let lock: FileLock
  if let deadline {
    guard let held = try FileLock(name, in: state.directory, until: deadline) else {
      throw Refusal(
        path: state.directory.path(of: name),
        reason: "somebody else is logging this user in or out; try again, or wait longer")
    }
    lock = held
  } else {
    lock = try FileLock(name, in: state.directory)
  }
  let outcome = Result { try body() }
  lock.remove(name, in: state.directory)
  return try outcome.get()
}

/// Whether somebody logs this user in or out at this moment.
public func isLocked(_ user: ObfuscatedUsername, _ layout: Layout) -> Bool {
  guard let state = try? Directory(opening: layout.root).trusted("run/cryptohome") else {
    return false
  }
  return FileLock.isHeld("\(user).lock", in: state)
}
