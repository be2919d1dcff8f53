import Accounts
import DaemonStore
import Glibc
import Kernel
import MountTable

/// What a new vault is to be.
public struct VaultRequest: Sendable {
  public let name: String
  public let kind: VaultKind
  /// Of the files of a user without a passwd entry.
  public let owner: Owner?
  public let label: KeyLabel
  /// Whether the user's files are shown over the passwd home directory too.
  public let coversHome: Bool

  public init(
    name: String, kind: VaultKind = .fscrypt, owner: Owner? = nil, label: KeyLabel = .first,
    coversHome: Bool = false
  ) {
    self.name = name
    self.kind = kind
    self.owner = owner
    self.label = label
    self.coversHome = coversHome
  }
}

/// The first and the last moment of a vault.
public enum Vaults {
  /// Makes a vault, which stays locked. A crash leaves it or nothing: it is made beside its place,
  /// and renamed when it is whole and on the disk.
  ///
  /// - Parameter password: asked for when everything else is known to be right.
  /// - Throws: ``Refusal`` for a user who has a vault, and where the file system cannot encrypt.
  public static func create(
    _ request: VaultRequest, _ layout: Layout, password: () throws -> Secret
  ) throws -> ObfuscatedUsername {
    let account = try Account.loggingIn(as: request.name)
    let owner = try stored(request, account)
    let home = try request.coversHome ? PasswdHome.path(of: request.name, account) : nil
    let user = try ObfuscatedUsername(of: request.name, salt: .readOrMake(layout))
    try refuseExisting(user, layout)
    guard request.kind == .fscrypt else {
      try locked(user, layout) {
        try refuseExisting(user, layout)
        _ = try request.kind.vault(of: user, layout, size: nil).open(with: nil)
      }
      return user
    }
    try FscryptVault.requireEncryption(UserDirectory.makeShadow(layout).directory)
    let file = try newFile(for: user, owner, home, request.label, password)
    try locked(user, layout) {
      try refuseExisting(user, layout)
      try make(file, of: user, in: UserDirectory.makeShadow(layout).directory)
    }
    return user
  }

  /// A new key, and what is written about it.
  private static func newFile(
    for user: ObfuscatedUsername, _ owner: Owner?, _ home: String?, _ label: KeyLabel,
    _ password: () throws -> Secret
  ) throws -> VaultFile {
    let key = try Secret(randomBytes: 64)
    let password = try password()
    guard let identifier = key.identifier() else {
      throw SystemError(operation: "derive key", path: nil, code: EINVAL)
    }
    let slot = try KeySlot(
      wrapping: key, under: password, label: label, of: user, identifier, cost: .calibrated())
    return VaultFile(
      policy: EncryptionPolicy(key: identifier), owner: owner, home: home, slots: [slot])
  }

  private static func make(
    _ file: VaultFile, of user: ObfuscatedUsername, in shadow: borrowing Directory
  ) throws {
    let temporary = ".\(user).new"
    try shadow.removeVault(temporary)
    try shadow.makeDirectory(temporary)
    do {
      try fill(shadow.directory(temporary), file)
    } catch {
      _ = try? shadow.removeVault(temporary)  // the first error is the one that counts
      throw error
    }
    do {
      try shadow.rename(temporary, to: user.description)
    } catch {
      _ = try? shadow.removeVault(temporary)
      guard error.code == ENOTEMPTY || error.code == EEXIST else { throw error }
      throw Refusal(
        path: shadow.path(of: user.description), reason: "holds files, but no vault; move it away")
    }
    try shadow.sync()
  }

  private static func fill(_ home: borrowing Directory, _ file: VaultFile) throws {
    try home.makeDirectory("mount")
    let mount = try home.file("mount", flags: O_RDONLY | O_DIRECTORY)
    try mount.setEncryptionPolicy(file.policy, shown: home.path(of: "mount"))
    try mount.sync(shown: home.path(of: "mount"))
    try file.write(in: home)
  }

  private static func refuseExisting(_ user: ObfuscatedUsername, _ layout: Layout) throws {
    guard let kind = try VaultKind.existing(of: user, layout) else { return }
    throw Refusal(
      path: user.description, reason: "has a vault already, of the kind \(kind.rawValue)")
  }

  /// What vault.json must say of the owner: nothing for a user with a passwd entry.
  private static func stored(_ request: VaultRequest, _ account: Account?) throws -> Owner? {
    guard let account else {
      guard let owner = request.owner else {
        throw Refusal(
          path: request.name,
          reason: "has no passwd entry; say with --owner UID:GID whom the files belong to")
      }
      return owner
    }
    let owner = Owner(user: account.user, group: account.group)
    if let asked = request.owner, asked != owner {
      throw Refusal(
        path: request.name,
        reason: "is \(owner.user):\(owner.group) in passwd; --owner is for users without an entry")
    }
    return nil
  }

  /// Destroys a vault, and all that is in it: first what its key is in, then the rest.
  ///
  /// - Returns: what of the rest could not be removed. The vault is gone all the same.
  /// - Throws: ``Refusal`` for a user who is logged in.
  public static func remove(_ user: ObfuscatedUsername, _ layout: Layout) throws -> [SystemError] {
    try locked(user, layout) {
      guard let kind = try VaultKind.mounted(of: user, layout),
        let shadow = try UserDirectory.shadow(layout)
      else { throw Refusal(path: user.description, reason: "has no vault") }
      let lock = try kind.vault(of: user, layout, size: nil).state()
      let isMounted = try UserStatus.of(user, layout).isMounted
      guard kind != .ephemeral, !isMounted, lock == nil || lock == .locked else {
        throw Refusal(
          path: user.description,
          reason: "is logged in; run cryptohome unmount first")
      }
      return try destroy(user, in: shadow)
    }
  }

  private static func destroy(
    _ user: ObfuscatedUsername, in shadow: borrowing Directory
  ) throws -> [SystemError] {
    let doomed = ".\(user).gone"
    try shadow.removeVault(doomed)
    try shadow.rename(user.description, to: doomed)
    try shadow.sync()
    return try shadow.removeVault(doomed)
  }
}

extension FscryptVault {
  /// - Throws: ``Refusal`` with the way out, where directories cannot be encrypted.
  static func requireEncryption(_ shadow: borrowing Directory) throws {
    let place = try shadow.file(".", flags: O_RDONLY | O_DIRECTORY)
    guard try !place.canEncrypt(shown: shadow.path) else { return }
    throw Refusal(path: shadow.path, reason: try reason(shadow))
  }

  private static func reason(_ shadow: borrowing Directory) throws -> String {
    let id = try shadow.status().mountID
    guard let mount = try MountTable.current().mounts.first(where: { UInt64($0.id) == id }) else {
      return "its file system cannot encrypt; use ext4 or f2fs"
    }
    let device = mount.source
    let cure: String
    switch mount.fileSystem {
    case "ext4": cure = "turn it on with: tune2fs -O encrypt \(device)"
    case "f2fs": cure = "turn it on, unmounted, with: fsck.f2fs -O encrypt \(device)"
    default:
      return "is on \(device), of the type \(mount.fileSystem), which cannot encrypt; use ext4 or "
        + "f2fs for it, or --vault plain if somebody else encrypts"
    }
    return "is on \(device), whose \(mount.fileSystem) does not have the feature encrypt, or the "
      + "kernel not; \(cure)"
  }
}

extension Directory {
  /// Removes a user's directory, if there is one of that name: first what the key is in.
  ///
  /// - Returns: what of a vault that is not encrypted could not be removed.
  @discardableResult
  fileprivate func removeVault(_ name: String) throws -> [SystemError] {
    guard let home = try existing(name) else { return [] }
    if try home.status(of: VaultFile.name) != nil { try home.removeFile(VaultFile.name) }
    if try home.status(of: "mount")?.isEncrypted == true {
      try home.directory("mount", crossingMounts: false).removeLockedContents()
    }
    let errors = try home.removeContents()
    if errors.isEmpty { try removeDirectory(name) }
    return errors
  }
}
