import DaemonStore
import Glibc
import DaemonStoreKernel

/// How a user's data is kept.
package enum VaultKind: String, CaseIterable, Sendable {
  /// A directory that the kernel encrypts, with a key that takes the user's password.
  case fscrypt
  /// A directory: somebody else encrypts it, or nobody does.
  case plain
  /// A file system in memory that is gone at logout: for guests.
  case ephemeral
}

/// What opens and closes the directory `/home/.shadow/H/mount`.
protocol Vault {
  /// Opens it; one that takes no key is made if it is not there.
  ///
  /// - Parameter key: of an encrypted one that is locked.
  func open(with key: borrowing OpenedKey?) throws -> OpenVault
  /// Destroys what is in it, if it is not to be kept: when nothing of it is mounted elsewhere any
  /// more, so that whoever kept a copy of a mount keeps nothing.
  ///
  /// - Returns: what of it could not be destroyed.
  func forget() throws -> [SystemError]
  /// `…/H/mount`.
  var directory: FilePath { get }
  /// Where it is mounted, if it is.
  var mountPoint: FilePath? { get }
  /// Takes away what ``open()`` put in place, when nobody uses it any more: nil when there is
  /// nothing to take away.
  func close() throws -> Removal?
  /// Whether the kernel can read it; nil for a vault that is not encrypted.
  func state() throws -> VaultLock?
  /// Takes the key away from the kernel, and asks it what is left of it; nil for a vault without a
  /// key. Nothing of the vault may be open here.
  func lock() throws -> VaultLock?
  /// The passwd home directory that the user's files are shown over; nil for none.
  func coveredHome() throws -> FilePath?
}

extension Vault {
  func state() -> VaultLock? { nil }
  func lock() -> VaultLock? { nil }
  func coveredHome() -> FilePath? { nil }
}

/// An open vault.
struct OpenVault: ~Copyable {
  /// `…/H/mount`.
  let directory: Directory
  let repairs: [String]
}

extension VaultKind {
  /// The kind of vault that a user has, from the disk and the kernel alone; nil for none.
  ///
  /// - Throws: ``Refusal`` for a vault that this version cannot open.
  static func existing(
    of user: ObfuscatedUsername, _ layout: Layout
  ) throws -> VaultKind? {
    guard let shadow = try UserDirectory.shadow(layout),
      let status = try shadow.status(of: user.path)
    else { return nil }
    guard status.isDirectory else {
      throw Refusal(
        path: shadow.path(of: user.path),
        reason: "is \(status.kind), not a user's directory; move it away")
    }
    if status.isMountRoot, try EphemeralVault.isMounted(status) { return .ephemeral }
    let directory = try shadow.directory(user.path)
    if try VaultRemoval.hasBegun(in: directory) {
      throw Refusal(
        path: directory.path,
        reason: "is a vault whose removal was interrupted; finish it with: cryptohome remove "
          + "\(user)")
    }
    let mount = try directory.status(of: "mount")
    let record = try VaultFile.read(in: directory)
    // Never anything in clear in the place of what is encrypted, or was.
    if mount?.isEncrypted == true || record?.kind == .fscrypt {
      _ = try FscryptVault.file(in: directory)
      return .fscrypt
    }
    if mount == nil && record == nil { return nil }
    try VaultRegister.requireNone(of: user, layout, present: true)
    return .plain
  }

  func vault(of user: ObfuscatedUsername, _ layout: Layout, size: UInt64?) -> any Vault {
    switch self {
    case .fscrypt: FscryptVault(user: user, layout: layout)
    case .plain: PlainVault(user: user, layout: layout)
    case .ephemeral: EphemeralVault(user: user, layout: layout, size: size)
    }
  }
}

/// A directory. What is mounted on it, if somebody does that, is the vault.
private struct PlainVault: Vault {
  let user: ObfuscatedUsername
  let layout: Layout

  func open(with _: borrowing OpenedKey?) throws -> OpenVault {
    let shadow = try UserDirectory.makeShadow(layout)
    let home = try OwnedDirectory(
      user.path, in: shadow.directory, owner: 0, group: 0, mode: 0o700,
      crossingMounts: true)
    let mount = try OwnedDirectory(
      "mount", in: home.directory, owner: 0, group: 0, mode: 0o700, crossingMounts: true)
    let repairs = shadow.repairs + home.repairs + mount.repairs
    return OpenVault(directory: mount.opened(), repairs: repairs)
  }

  var directory: FilePath { "\(layout.shadow)/\(user)/mount" }

  func forget() -> [SystemError] { [] }
  var mountPoint: FilePath? { nil }
  func close() throws -> Removal? { nil }
}

/// A tmpfs on `/home/.shadow/H` itself, with `mount` in it: on the disk nothing remains of it but
/// an empty directory, which is no vault, whenever the machine stops.
struct EphemeralVault: Vault {
  let user: ObfuscatedUsername
  let layout: Layout
  /// In bytes; nil for the kernel's default, half of the memory, or what it has.
  let size: UInt64?

  /// What mountinfo says was mounted.
  private static let source: FilePath = "daemon-store-ephemeral"

  /// Whether the root of a mount is that of an ephemeral vault.
  static func isMounted(_ status: FileStatus) throws -> Bool {
    try MountTable.current().mounts.contains {
      $0.id == status.mountID && $0.fileSystem == "tmpfs" && $0.source == source
    }
  }

  func open(with _: borrowing OpenedKey?) throws -> OpenVault {
    let shadow = try UserDirectory.makeShadow(layout)
    let home = try OwnedDirectory(
      user.path, in: shadow.directory, owner: 0, group: 0, mode: 0o700,
      crossingMounts: true)
    let isNew = try !home.directory.status().isMountRoot
    if isNew {
      let options: [(String, FilePath)] =
        [("mode", "0700")] + (size.map { [("size", "\($0)")] } ?? [])
      let memory = try DetachedMount(
        newFilesystem: "tmpfs", source: Self.source, options: options, attributes: .home)
      try memory.root.makeDirectory("mount")
      try memory.attach(on: user.path, in: shadow.directory)
    } else if let size {
      try requireSize(size, of: home.directory)
    }
    let mount = try shadow.directory.directory("\(user)/mount")
    let repairs = shadow.repairs + home.repairs
    return OpenVault(directory: mount, repairs: repairs)
  }

  var directory: FilePath { "\(layout.shadow)/\(user)/mount" }

  /// A tmpfs has whole pages.
  private func requireSize(_ size: UInt64, of memory: borrowing Directory) throws {
    var space = statvfs()
    try check("statvfs", memory.path, fstatvfs(memory.descriptor.number, &space))
    let present = UInt64(space.f_blocks) * UInt64(space.f_frsize)
    let page = UInt64(space.f_bsize)
    guard present != (size + page - 1) / page * page else { return }
    throw Refusal(
      path: memory.path,
      reason: "has \(present) bytes, not \(size); leave --size out to use it as it is")
  }

  func forget() throws -> [SystemError] {
    try Directory(opening: directory).removeContents(emptyingFiles: true)
  }

  var mountPoint: FilePath? { "\(layout.shadow)/\(user)" }

  func close() throws -> Removal? {
    guard let shadow = try UserDirectory.shadow(layout) else { return nil }
    let removal = shadow.clear(user.path, lazily: false)
    if let removal, removal.isHeld { return removal }
    try shadow.removeMountPoint(user.path)
    return removal
  }
}
