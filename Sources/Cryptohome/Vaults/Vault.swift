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
  var home: UserHome { get }
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
  func coveredHome() -> FilePath?
}

extension Vault {
  func state() -> VaultLock? { nil }
  func lock() -> VaultLock? { nil }
  func coveredHome() -> FilePath? { nil }
}

extension Vault {
  var directory: FilePath { "\(home.path)/mount" }
}

/// An open vault.
struct OpenVault: ~Copyable {
  /// `…/H/mount`.
  let directory: Directory
  /// `…/H`; nil of an ephemeral vault.
  let home: OpenDirectory?
  let repairs: [String]
}

extension VaultKind {
  /// - Parameter size: of an ephemeral vault, in bytes.
  func vault(of home: UserHome, size: UInt64? = nil) -> any Vault {
    switch self {
    case .fscrypt: FscryptVault(home: home)
    case .plain: PlainVault(home: home)
    case .ephemeral: EphemeralVault(home: home, size: size)
    }
  }
}

/// `/home/.shadow` and `…/H`, made or repaired: only root can put anything there.
struct MadeHome: ~Copyable {
  let shadow: OwnedDirectory
  let home: OwnedDirectory

  init(of home: UserHome) throws {
    let shadow = try UserDirectory.makeShadow(home.layout)
    self.home = try OwnedDirectory(
      home.user.path, in: shadow.directory, owner: 0, group: 0, mode: 0o700, crossingMounts: true)
    self.shadow = shadow
  }

  var repairs: [String] { shadow.repairs + home.repairs }
}

/// A directory. What is mounted on it, if somebody does that, is the vault.
private struct PlainVault: Vault {
  let home: UserHome

  func open(with _: borrowing OpenedKey?) throws -> OpenVault {
    let made = try MadeHome(of: home)
    let mount = try OwnedDirectory(
      "mount", in: made.home.directory, owner: 0, group: 0, mode: 0o700, crossingMounts: true)
    let repairs = made.repairs + mount.repairs
    let place = OpenDirectory(made.home.opened())
    return OpenVault(directory: mount.opened(), home: place, repairs: repairs)
  }

  func forget() -> [SystemError] { [] }
  var mountPoint: FilePath? { nil }
  func close() throws -> Removal? { nil }
}

/// A tmpfs on `/home/.shadow/H` itself, with `mount` in it: on the disk nothing remains of it but
/// an empty directory, which is no vault, whenever the machine stops.
struct EphemeralVault: Vault {
  let home: UserHome
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
    let made = try MadeHome(of: home)
    let isNew = try !made.home.directory.status().isMountRoot
    if isNew {
      let options: [(String, FilePath)] =
        [("mode", "0700")] + (size.map { [("size", "\($0)")] } ?? [])
      let memory = try DetachedMount(
        newFilesystem: "tmpfs", source: Self.source, options: options, attributes: .home)
      try memory.root.makeDirectory("mount")
      try memory.attach(on: home.user.path, in: made.shadow.directory)
    } else if let size {
      try requireSize(size, of: made.home.directory)
    }
    let mount = try made.shadow.directory.directory("\(home.user)/mount")
    return OpenVault(directory: mount, home: nil, repairs: made.repairs)
  }

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

  var mountPoint: FilePath? { home.path }

  func close() throws -> Removal? {
    guard let shadow = try home.shadowNow() else { return nil }
    let name = home.user.path
    let removal = shadow.directory.clear(name, lazily: false)
    if let removal, removal.isHeld { return removal }
    try shadow.directory.removeMountPoint(name)
    return removal
  }
}
