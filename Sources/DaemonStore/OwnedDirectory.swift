import Glibc
import DaemonStoreKernel

/// A directory that has the owner and the mode that it should have: made if absent, repaired
/// through its descriptor if different. Nothing in it is touched, and nothing is ever deleted.
package struct OwnedDirectory: ~Copyable {
  package let directory: Directory
  package let identity: FileIdentity
  /// What was put right, each as `PATH: owner 0:0, now 5:60`; nothing for a new directory.
  package let repairs: [String]

  /// Whether it was made just now.
  package let isNew: Bool

  /// - Parameters:
  ///   - mode: the twelve low bits; nil to make a new one 0700 and leave any other as the owner
  ///     wants it.
  ///   - crossingMounts: whether something may be mounted on it.
  /// - Throws: ``Refusal`` when something else is at the place, or ``SystemError``.
  package init(
    _ name: FilePath, in parent: borrowing Directory, owner: uid_t, group: gid_t, mode: mode_t?,
    crossingMounts: Bool = false
  ) throws {
    let isNew = try parent.makeDirectory(name)
    if !isNew, let status = try parent.status(of: name), !status.isDirectory {
      throw Refusal(
        path: parent.path(of: name),
        reason: "is \(status.kind), not a directory; move it away")
    }
    let directory = try parent.directory(name, crossingMounts: crossingMounts)
    let status = try directory.status()
    let mode = mode ?? (isNew ? 0o700 : status.permissions)
    var changes: [String] = []
    if status.owner != owner || status.group != group {
      changes.append("owner \(status.owner):\(status.group), now \(owner):\(group)")
    }
    if status.permissions != mode {
      changes.append("mode \(octal(status.permissions)), now \(octal(mode))")
    }
    if !changes.isEmpty { try directory.set(owner: owner, group: group, mode: mode) }
    identity = status.identity
    repairs = isNew ? [] : changes.map { "\(directory.path): \($0)" }
    self.isNew = isNew
    self.directory = directory
  }

  /// Gives up the rest.
  package consuming func opened() -> Directory { directory }
}
