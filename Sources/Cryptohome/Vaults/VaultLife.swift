import DaemonStoreAccounts
import DaemonStore
import Glibc
import DaemonStoreKernel
import MountAdvice

/// What a new vault is to be.
package struct VaultRequest: Sendable {
  package let name: FilePath
  package let kind: VaultKind
  /// Of the files of a user without a passwd entry.
  package let owner: Owner?
  /// What the first key is called; nil for the usual name.
  package let label: KeyLabel?
  /// Whether the user's files are shown over the passwd home directory too.
  package let coversHome: Bool
  /// Whether it is made although `/home` should be mounted, and is not.
  package let isForced: Bool

  package init(
    name: FilePath, kind: VaultKind = .fscrypt, owner: Owner? = nil, label: KeyLabel? = nil,
    coversHome: Bool = false, isForced: Bool = false
  ) {
    self.isForced = isForced
    self.name = name
    self.kind = kind
    self.owner = owner
    self.label = label
    self.coversHome = coversHome
  }
}

/// A vault that was made.
package struct NewVault: Sendable {
  package let user: ObfuscatedUsername
  /// Whether it was made just now: else only its home was prepared, which an interruption had left.
  package let isNew: Bool
  /// What was in the passwd home before.
  package let moved: MovedHome?
}

/// The first and the last moment of a vault.
package enum Vaults {
  /// Makes a vault, which stays locked. A crash leaves it or nothing: it is made beside its place,
  /// and renamed when it is whole and on the disk. The passwd home is exchanged after that.
  ///
  /// - Parameter credential: asked for when everything else is known to be right.
  /// - Throws: ``Refusal`` for a user who has a vault, and where the file system cannot encrypt.
  package static func create(
    _ request: VaultRequest, in layout: Layout, credential: () throws -> Credential
  ) throws -> NewVault {
    try VaultAccount.requireName(request.name)
    let account = try Account.loggingIn(as: request.name)
    let owner = try stored(request, account)
    let home = try request.coversHome ? PasswdHome.path(of: request.name, account) : nil
    let user = try Username.name(request.name).resolve(
      salt: .makingMissing(isForced: request.isForced), in: layout)
    if !request.isForced { try HomeFileSystem.requireMounted(layout) }
    guard let claim = VaultAccount(.name(request.name), account, owner) else {
      throw Refusal(path: request.name, reason: "has no passwd entry; specify --owner UID:GID")
    }
    try VaultFile.requireNoneUnderFormerName(of: account, layout)
    let before = UserHome(of: user, in: layout)
    if let account, home != nil, let moved = try finishHome(before, account) {
      return NewVault(user: user, isNew: false, moved: moved)
    }
    try before.requireNoVault(request)
    if let home {
      try HomeBelow.check(home, layout)
      try HomeBelow.requireUnused(home, layout)
    }
    var file = VaultFile(kind: request.kind, identity: VaultIdentity(of: claim))
    file.owner = owner
    file.home = home
    if request.kind == .fscrypt {
      try FscryptVault.requireEncryption(UserDirectory.makeShadow(layout).directory)
      try fill(&file, of: before, label: request.label, credential)
    }
    return try LockedHome(of: user, in: layout).make(file, request, account)
  }

  /// Moves away what is in the home of a vault that was made before: an interruption has left that.
  ///
  /// - Returns: nil when there is no such vault, or nothing to be moved.
  private static func finishHome(_ before: UserHome, _ account: Account) throws -> MovedHome? {
    guard try before.kind != nil, let record = try before.record, record.home != nil else {
      return nil
    }
    try record.require(account, of: before.user)
    let locked = try LockedHome(of: before.user, in: before.layout)
    guard let kind = try locked.home.kind, var file = try locked.home.record,
      let place = locked.home.place, try kind.vault(of: locked.home).state() == .locked
    else { return nil }
    return try HomeBelow.prepare(
      &file, of: account, in: place.directory, layout: before.layout)
  }

  /// A new key, and the slot that it lies in.
  private static func fill(
    _ file: inout VaultFile, of home: UserHome, label: KeyLabel?,
    _ credential: () throws -> Credential
  ) throws {
    let key = try Secret(randomBytes: 64)
    guard let identifier = key.identifier() else {
      throw SystemError(operation: "derive key", path: nil, code: EINVAL)
    }
    file.policy = EncryptionPolicy(key: identifier)
    file.seal(with: key)
    let credential = try credential()
    let bare = file
    let label = label ?? (credential.isRaw ? .firstFile : .first)
    file.slots = [
      try DerivationLimit.hold(for: home.user, .root, home.layout) {
        try bare.newSlot(key, under: credential, label: label, of: home.user)
      }
    ]
  }

  /// What vault.json must say of the owner: nothing for a user with a passwd entry.
  private static func stored(_ request: VaultRequest, _ account: Account?) throws -> Owner? {
    guard let account else {
      guard let owner = request.owner else {
        throw Refusal(
          path: request.name,
          reason: "has no passwd entry; specify --owner UID:GID")
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
}

extension LockedHome {
  fileprivate func make(
    _ file: VaultFile, _ request: VaultRequest, _ account: Account?
  ) throws -> NewVault {
    try home.requireNoVault(request)
    let shadow = try UserDirectory.makeShadow(layout).opened()
    if try VaultRemoval.isPending(user, in: shadow) { try VaultRegister.forget(user, layout) }
    try VaultRemoval.requireFinished(user, in: shadow)
    if request.kind == .fscrypt {
      try makeEncrypted(file, in: shadow)
    } else {
      _ = try request.kind.vault(of: home).open(with: nil)
      try file.write(in: shadow.directory(user.path))
    }
    let moved = try complete(file, account, in: shadow)
    return NewVault(user: user, isNew: true, moved: moved)
  }

  /// Records the vault, and moves away what is in the passwd home. A vault for which that fails is taken
  /// back: it is empty.
  private func complete(
    _ made: VaultFile, _ account: Account?, in shadow: borrowing Directory
  ) throws -> MovedHome? {
    do {
      try made.remember(user, in: shadow, layout)
      guard let account else { return nil }
      var file = made
      let moved = try HomeBelow.prepare(
        &file, of: account, in: shadow.directory(user.path), layout: layout)
      if let problem = moved?.problems.first {
        throw Refusal(path: account.home, reason: "was left as it was: \(problem)")
      }
      return moved
    } catch {
      var report = RemovalReport()
      report.notes = try HomeBelow.restore(user, in: shadow, layout)
      try destroy(made.kind, in: shadow, into: &report)
      try Salt.forgetCopy(in: shadow, layout)
      throw error
    }
  }

  /// Makes an encrypted vault beside its place, and gives it its name when it is whole.
  private func makeEncrypted(_ file: VaultFile, in shadow: borrowing Directory) throws {
    let temporary: FilePath = ".\(user).new"
    try shadow.removeVault(temporary)
    try shadow.makeDirectory(temporary)
    do {
      try fill(shadow.directory(temporary), file)
    } catch {
      _ = try? shadow.removeVault(temporary)  // the first error is the one that counts
      throw error
    }
    do {
      try shadow.rename(temporary, to: user.path)
    } catch {
      _ = try? shadow.removeVault(temporary)
      guard error.code == ENOTEMPTY || error.code == EEXIST else { throw error }
      throw Refusal(
        path: shadow.path(of: user.path), reason: "holds files, but no vault; move it away")
    }
    try shadow.syncChange()
  }

  private func fill(_ home: borrowing Directory, _ file: VaultFile) throws {
    guard let policy = file.policy else {
      throw SystemError(operation: "set encryption policy", path: home.path, code: EINVAL)
    }
    try home.makeDirectory("mount")
    let mount = try home.file("mount", flags: O_RDONLY | O_DIRECTORY)
    try mount.setEncryptionPolicy(policy, shown: home.path(of: "mount"))
    try mount.sync(shown: home.path(of: "mount"))
    try file.write(in: home)
  }
}

extension UserHome {
  /// - Throws: ``Refusal`` for a user who has a vault.
  fileprivate func requireNoVault(_ request: VaultRequest) throws {
    if let kind = try kind {
      throw Refusal(
        path: request.name, reason: "has a vault already, of the kind \(kind.rawValue): \(path)")
    }
    // What an interrupted removal has left is finished here.
    if request.kind == .fscrypt, let shadow,
      try VaultRemoval.isPending(user, in: shadow.directory)
    {
      return
    }
    try VaultRegister.requireNone(of: user, layout, present: false)
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
    guard let mount = try MountTable.current().mounts.first(where: { $0.id == id }) else {
      return "its file system cannot encrypt; use ext4 or f2fs"
    }
    // The kernel may call it /dev/root, which is no file.
    let device = try MountAdvice()?.device(of: mount) ?? mount.source
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
