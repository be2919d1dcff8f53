import DaemonStore
import Glibc
import DaemonStoreKernel

/// The secret-less bytes that every obfuscated name of a system depends on. Without them no vault
/// is found again, so a file that cannot be used is an error and never replaced.
package struct Salt: Equatable, Sendable {
  package let bytes: [UInt8]
  /// A salt that is shorter was cut off.
  static let sizes = 16...1 << 20

  /// The older place, which counts where the other does not exist.
  static func legacyPath(_ layout: Layout) -> FilePath { "\(layout.shadow)/salt" }
  static func path(_ layout: Layout) -> FilePath { layout.below("var/lib/system_salt") }
  private static let copyName: FilePath = "salt.copy"
  /// What the vaults beside it were named with.
  static func copyPath(_ layout: Layout) -> FilePath { "\(layout.shadow)/\(copyName)" }

  /// Reads the salt of the system.
  package static func read(_ layout: Layout) throws -> Salt {
    guard let salt = try existing(layout) else {
      throw Refusal(
        path: path(layout),
        reason: "there is no salt yet, and so no vault; the first cryptohome create makes both")
    }
    return salt
  }

  /// Reads the salt, or makes one on a system that has none: 16 random bytes, 0644, all or nothing
  /// and on the disk when this returns.
  ///
  /// - Parameter isForced: whether it is made although `/home` is not mounted and should be.
  package static func readOrMake(_ layout: Layout, isForced: Bool = false) throws -> Salt {
    if let salt = try existing(layout) { return salt }
    if !isForced { try HomeFileSystem.requireMounted(layout) }
    return try make(layout)
  }

  /// The salt, if there is one.
  ///
  /// - Throws: ``Refusal`` with the way out, for a file that is no salt, or not that of the vaults, and
  ///   where vaults are, but no salt.
  package static func existing(_ layout: Layout) throws -> Salt? {
    let copy = try copy(layout)
    for path in [path(layout), legacyPath(layout)] {
      do {
        let salt = try read(
          path, wayOut: restoration(copy, to: path, layout), command(copy, to: path, layout))
        guard let copy, copy != salt else { return salt }
        throw Refusal(
          path: path,
          reason: "is not the salt that the vaults of this machine are named with; "
            + restoration(copy, to: path, layout), fix: command(copy, to: path, layout))
      } catch let error as SystemError where error.code == ENOENT {
        continue
      } catch let error as SystemError where error.code == EACCES {
        throw Refusal(
          path: path,
          reason: "only root can tell whether this salt is in use; ask as root, or give the "
            + "40-digit hash")
      }
    }
    let count = try vaultCount(layout)
    guard copy != nil || count > 0 else { return nil }
    throw Refusal(
      path: path(layout),
      reason: "is gone\(count > 0 ? ", and vaults are named with it (\(count))" : ""); "
        + restoration(copy, to: path(layout), layout),
      fix: command(copy, to: path(layout), layout))
  }

  private static func restoration(_ copy: Salt?, to path: FilePath, _ layout: Layout) -> String {
    command(copy, to: path, layout).map { "restore it with: \($0)" } ?? "restore it from a backup"
  }

  private static func command(_ copy: Salt?, to path: FilePath, _ layout: Layout) -> String? {
    copy == nil ? nil : Finding.command("install", "-m", "644", copyPath(layout), path)
  }

  /// How many users have a vault, as far as the caller may know.
  private static func vaultCount(_ layout: Layout) throws -> Int {
    do {
      return try Set(UserDirectory.all(layout)).union(VaultRegister.all(layout)).count
    } catch let error as SystemError where error.code == EACCES {
      return 0
    }
  }

  /// The copy beside the vaults; nil where there is none, or for a caller who may not read it.
  private static func copy(_ layout: Layout) throws -> Salt? {
    let path = copyPath(layout)
    do {
      return try read(
        path, wayOut: "replace it by \(Self.path(layout)), if that names the vaults", nil)
    } catch let error as SystemError where [ENOENT, EACCES].contains(error.code) {
      return nil
    }
  }

  /// Writes the copy, unless it is there.
  func keepCopy(in shadow: borrowing Directory) throws {
    guard try shadow.status(of: Self.copyName) == nil else { return }
    try shadow.replaceFile(Self.copyName, with: bytes, mode: 0o600)
  }

  /// Removes the copy with the last vault.
  static func forgetCopy(in shadow: borrowing Directory, _ layout: Layout) throws {
    guard try vaultCount(layout) == 0, try VaultRemoval.pending(layout).isEmpty,
      try shadow.status(of: copyName) != nil
    else { return }
    try shadow.removeFile(copyName)
  }

  private static func read(
    _ path: FilePath, wayOut: String, _ command: String?
  ) throws -> Salt {
    func refused(_ reason: String) -> Refusal {
      Refusal(path: path, reason: "\(reason); \(wayOut)", fix: command)
    }
    let file = try Descriptor(opening: path, flags: O_RDONLY | O_NONBLOCK)
    let status = try file.status(shown: path)
    guard status.mode & S_IFMT == S_IFREG else {
      throw refused("is \(status.kind), not a salt file")
    }
    guard let bytes = try file.read(atMost: sizes.upperBound, shown: path) else {
      throw refused("is larger than 1 MiB, so it is no salt")
    }
    guard bytes.count >= sizes.lowerBound else {
      throw refused(
        bytes.isEmpty
          ? "is empty" : "has \(bytes.count) bytes, fewer than the \(sizes.lowerBound) of a salt")
    }
    return Salt(bytes: bytes)
  }

  private static func make(_ layout: Layout) throws -> Salt {
    let salt = Salt(bytes: randomBytes(sizes.lowerBound))
    let directory = try Directory(opening: layout.root).trusted("var/lib")
    let temporary: FilePath = ".system_salt.\(getpid())"
    // What a process of the same number left when it was killed.
    _ = try? directory.removeFile(temporary)
    let file = try directory.file(temporary, flags: O_WRONLY | O_CREAT | O_EXCL, mode: 0o644)
    do {
      try check("chmod", directory.path(of: temporary), fchmod(file.number, 0o644))
      try file.write(salt.bytes, shown: directory.path(of: temporary))
      try check("fsync", directory.path(of: temporary), fsync(file.number))
      try file.close()
      try directory.renameNew(temporary, to: "system_salt")
    } catch  where error.code == EEXIST {
      // Another command was faster: its salt counts.
      try directory.removeFile(temporary)
      return try read(layout)
    } catch {
      _ = try? directory.removeFile(temporary)
      throw error
    }
    try directory.sync()
    return salt
  }
}
