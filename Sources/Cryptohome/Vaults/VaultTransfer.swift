import DaemonStoreAccounts
import DaemonStore
import Glibc
import DaemonStoreKernel

/// A vault that goes to another account: after a change of the account's name, or of its uid.
package enum VaultTransfer {
  /// Gives the vault of a renamed account the new name. The uid is the same, so that takes no
  /// password, but for a vault of version 1: its slots are bound to the old name.
  ///
  /// - Parameter credential: asked for where it is needed.
  /// - Returns: where the vault is now.
  package static func rename(
    _ old: FilePath, to new: FilePath, in layout: Layout, credential: () throws -> Credential
  ) throws -> ObfuscatedUsername {
    let salt = SaltSource.known(try .read(layout))
    let source = try Username.name(old).resolve(salt: salt, in: layout)
    let target = try Username.name(new).resolve(salt: salt, in: layout)
    guard let account = try Account.named(new), account.name == new else {
      throw Refusal(path: new, reason: "has no passwd entry; rename the account first (usermod -l)")
    }
    let (home, record) = try existing(source, old, in: layout)
    let claim = VaultAccount(user: account.user, name: account.name)
    var changed =
      record.identity == nil
      ? try resealed(record, for: claim, of: home, credential)
      : try renamed(record, from: old, to: account)
    try changed.moveHome(to: account)
    guard source != target else {
      let home = try LockedHome(of: source, in: layout)
      try home.requireUnchanged(record, shown: old)
      try home.write(changed)
      return target
    }
    // In the order that every process takes them in.
    let first = try LockedHome(of: min(source, target), in: layout)
    let second = try LockedHome(of: max(source, target), in: layout)
    if source < target {
      try first.give(changed, to: second, old: (record, old), new: new)
    } else {
      try second.give(changed, to: first, old: (record, old), new: new)
    }
    return target
  }

  private static func renamed(
    _ record: VaultFile, from old: FilePath, to account: Account
  ) throws -> VaultFile {
    guard let identity = record.identity else { return record }
    let own = identity.account
    let isFinished = own.name == account.name
    guard isFinished || own.name.asciiLowercased() == old.asciiLowercased() else {
      throw Refusal(path: old, reason: "has a vault that belongs to \(own.name); give that name")
    }
    guard own.user == account.user else {
      throw Refusal(
        path: account.name,
        reason: "has the uid \(account.user), and the vault of \(own.name) belongs to the uid "
          + "\(own.user); change the uid of the vault first: usermod -l \(own.name) \(account.name) && "
          + "cryptohome adopt \(own.name) && usermod -l \(account.name) \(own.name); then run this "
          + "again")
    }
    var changed = record
    let sealed = identity.seal == nil ? nil : own.sealedName ?? own.name
    changed.identity?.account = VaultAccount(
      user: own.user, name: account.name,
      sealedName: sealed == account.name ? nil : sealed)
    return changed
  }

  /// Gives a vault to the account that has its name now, with another uid. It takes a password of an
  /// encrypted vault: the uid is sealed with its key.
  ///
  /// - Returns: the uid that the vault belonged to, nil where that was not recorded; the account's name;
  ///   and the home in the vault while it is mounted.
  package static func adopt(
    _ name: FilePath, in layout: Layout, credential: () throws -> Credential
  ) throws -> (former: uid_t?, name: FilePath, home: FilePath) {
    let user = try Username.name(name).resolve(in: layout)
    guard let account = try Account.loggingIn(as: name) else {
      throw Refusal(path: name, reason: "has no passwd entry to give the vault to")
    }
    let (before, record) = try existing(user, name, in: layout)
    let claim = VaultAccount(user: account.user, name: account.name)
    let former = record.identity?.account
    if former == claim {
      throw Refusal(path: name, reason: "has this vault already")
    }
    var changed = try resealed(record, for: claim, of: before, credential)
    changed.owner = nil
    try changed.moveHome(to: account)
    let home = try LockedHome(of: user, in: layout)
    try home.requireUnchanged(record, shown: name)
    try home.write(changed)
    let shown = layout.below("home/\(HomePlace.user.rawValue)/\(user)")
    return (former?.user == account.user ? nil : former?.user, account.name, shown)
  }

  /// With this account, sealed by the key where there is one.
  private static func resealed(
    _ record: VaultFile, for claim: VaultAccount, of home: UserHome,
    _ credential: () throws -> Credential
  ) throws -> VaultFile {
    var changed = record
    if record.identity == nil { changed.identity = VaultIdentity(of: claim) }
    changed.identity?.account = claim
    changed.owner = nil
    guard record.kind == .fscrypt else { return changed }
    let credential = try credential()
    let opened = try DerivationLimit.hold(for: home.user, .root, home.layout) {
      try VaultKeys.open(record, label: nil, with: credential)
    }
    changed.seal(with: opened.key)
    return changed
  }

  /// What is recorded of the vault of a user who is logged out. A plain one of an older version has
  /// nothing.
  private static func existing(
    _ user: ObfuscatedUsername, _ name: FilePath, in layout: Layout
  ) throws -> (home: UserHome, record: VaultFile) {
    let home = UserHome(of: user, in: layout)
    guard let kind = try home.kind else { throw Username.name(name).withoutVault() }
    try home.requireLoggedOut(kind, shown: name)
    return (home, try home.record ?? VaultFile(kind: kind, identity: nil))
  }
}

extension LockedHome {
  /// - Throws: ``Refusal`` unless the user is logged out, and the file is as it was.
  fileprivate func requireUnchanged(_ record: VaultFile, shown name: FilePath) throws {
    guard let kind = try home.kind,
      try home.record ?? VaultFile(kind: kind, identity: nil) == record
    else {
      throw Refusal(
        path: name, reason: "another command changed the vault just now; try again")
    }
    try home.requireLoggedOut(kind, shown: name)
  }

  /// Gives the vault to another name, which must be free.
  ///
  /// - Parameters:
  ///   - old: what vault.json was, and the former name.
  ///   - new: the new name.
  fileprivate func give(
    _ changed: VaultFile, to target: borrowing LockedHome, old: (record: VaultFile, name: FilePath),
    new: FilePath
  ) throws {
    try requireUnchanged(old.record, shown: old.name)
    guard let shadow = home.shadow else { throw Username.name(old.name).withoutVault() }
    guard try target.home.kind == nil,
      try !VaultRemoval.isPending(target.user, in: shadow.directory)
    else { throw Refusal(path: new, reason: "has a vault already; remove it first") }
    // The file first: what an interruption leaves is finished by the same command.
    try write(changed)
    let (from, to) = (user, target.user)
    try VaultRegister.rename(changed, from: from, to: to, layout) {
      try shadow.directory.renameNew(from.path, to: to.path)
      try shadow.directory.syncChange()
    }
  }
}

extension VaultFile {
  /// Shows the files over the home directory that the passwd entry names now.
  fileprivate mutating func moveHome(to account: Account) throws {
    if home != nil { home = try PasswdHome.path(of: account.name, account) }
  }
}

extension Vaults {
  /// Moves what lies in clear in the passwd home below a vault away, of a user who is logged out.
  ///
  /// - Returns: what was moved; nil when nothing lies there in clear.
  package static func repairHome(_ username: Username, in layout: Layout) throws -> MovedHome? {
    let user = try username.resolve(in: layout)
    if case .name = username {
      let record = try UserHome(of: user, in: layout).record
      try record?.require(username.account(record), of: user)
    }
    return try LockedHome(of: user, in: layout).repairHome(username)
  }
}

extension LockedHome {
  fileprivate func repairHome(_ username: Username) throws -> MovedHome? {
    guard let kind = try home.kind, var record = try home.record, record.home != nil,
      let place = home.place
    else {
      throw Refusal(
        path: username.path, reason: "has no vault that is shown over a home directory")
    }
    try home.requireLoggedOut(kind, shown: username.path)
    guard let account = try username.account(record) else {
      throw Refusal(path: username.path, reason: "has no passwd entry")
    }
    return try HomeBelow.prepare(&record, of: account, in: place.directory, layout: layout)
  }
}
