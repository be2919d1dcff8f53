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
    _ old: FilePath, to new: FilePath, _ layout: Layout, credential: () throws -> Credential
  ) throws -> ObfuscatedUsername {
    let salt = SaltSource.known(try .read(layout))
    let source = try Username.name(old).resolve(salt: salt, in: layout)
    let target = try Username.name(new).resolve(salt: salt, in: layout)
    guard let account = try Account.named(new), account.name == new else {
      throw Refusal(path: new, reason: "has no passwd entry; rename the account first (usermod -l)")
    }
    let record = try existing(source, old, layout)
    var changed = try renamed(record, from: old, source, account, layout, credential)
    try changed.moveHome(to: account)
    try lockedBoth(source, target, layout) {
      let shadow = try unchanged(record, of: source, old, layout)
      if source != target {
        guard try VaultKind.existing(of: target, layout) == nil,
          try !VaultRemoval.isPending(target, in: shadow)
        else { throw Refusal(path: new, reason: "has a vault already; remove it first") }
      }
      // The file first: what an interruption leaves is finished by the same command.
      try changed.write(in: shadow.directory(source.path))
      guard source != target else { return }
      try VaultRegister.rename(changed, from: source, to: target, layout) {
        try shadow.renameNew(source.path, to: target.path)
        try shadow.syncChange()
      }
    }
    return target
  }

  private static func renamed(
    _ record: VaultFile, from old: FilePath, _ user: ObfuscatedUsername, _ account: Account,
    _ layout: Layout, _ credential: () throws -> Credential
  ) throws -> VaultFile {
    let claim = VaultAccount(user: account.user, name: account.name)
    guard let identity = record.identity else {
      return try resealed(record, for: claim, user, layout, credential)
    }
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
    _ name: FilePath, _ layout: Layout, credential: () throws -> Credential
  ) throws -> (former: uid_t?, name: FilePath, home: FilePath) {
    let user = try Username.name(name).resolve(in: layout)
    guard let account = try Account.loggingIn(as: name) else {
      throw Refusal(path: name, reason: "has no passwd entry to give the vault to")
    }
    let record = try existing(user, name, layout)
    let claim = VaultAccount(user: account.user, name: account.name)
    let former = record.identity?.account
    if former == claim {
      throw Refusal(path: name, reason: "has this vault already")
    }
    var changed = try resealed(record, for: claim, user, layout, credential)
    changed.owner = nil
    try changed.moveHome(to: account)
    try locked(user, layout) {
      let shadow = try unchanged(record, of: user, name, layout)
      try changed.write(in: shadow.directory(user.path))
    }
    let home = layout.below("home/\(HomePlace.user.rawValue)/\(user)")
    return (former?.user == account.user ? nil : former?.user, account.name, home)
  }

  /// With this account, sealed by the key where there is one.
  private static func resealed(
    _ record: VaultFile, for claim: VaultAccount, _ user: ObfuscatedUsername, _ layout: Layout,
    _ credential: () throws -> Credential
  ) throws -> VaultFile {
    var changed = record
    if record.identity == nil { changed.identity = VaultIdentity(of: claim) }
    changed.identity?.account = claim
    changed.owner = nil
    guard record.kind == .fscrypt else { return changed }
    let credential = try credential()
    let opened = try DerivationLimit.hold(for: user, .root, layout) {
      try VaultKeys.open(record, of: user, label: nil, with: credential)
    }
    changed.seal(with: opened.key)
    return changed
  }

  /// What is recorded of the vault. A plain one of an older version has nothing.
  private static func existing(
    _ user: ObfuscatedUsername, _ name: FilePath, _ layout: Layout
  ) throws -> VaultFile {
    guard let kind = try VaultKind.existing(of: user, layout) else {
      throw Username.name(name).withoutVault()
    }
    try Vaults.requireLoggedOut(user, kind, layout, shown: name)
    return try VaultFile.existing(of: user, layout) ?? VaultFile(kind: kind, identity: nil)
  }

  /// Under the lock: the user is logged out, and the file is as it was.
  private static func unchanged(
    _ record: VaultFile, of user: ObfuscatedUsername, _ name: FilePath, _ layout: Layout
  ) throws -> Directory {
    guard let shadow = try UserDirectory.shadow(layout),
      let kind = try VaultKind.existing(of: user, layout),
      try VaultFile.existing(of: user, layout) ?? VaultFile(kind: kind, identity: nil) == record
    else {
      throw Refusal(
        path: name, reason: "another command changed the vault just now; try again")
    }
    try Vaults.requireLoggedOut(user, kind, layout, shown: name)
    return shadow
  }

  /// Both locks, in the order that every process takes them in.
  private static func lockedBoth(
    _ one: ObfuscatedUsername, _ other: ObfuscatedUsername, _ layout: Layout,
    _ body: () throws -> Void
  ) throws {
    if one == other { return try locked(one, layout) { try body() } }
    try locked(min(one, other), layout) {
      try locked(max(one, other), layout) { try body() }
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
  package static func repairHome(_ username: Username, _ layout: Layout) throws -> MovedHome? {
    let (user, _) = try VaultKeys.require(username, layout)
    return try locked(user, layout) {
      guard let kind = try VaultKind.existing(of: user, layout),
        let record = try VaultFile.existing(of: user, layout), record.home != nil,
        let shadow = try UserDirectory.shadow(layout)
      else {
        throw Refusal(
          path: username.path, reason: "has no vault that is shown over a home directory")
      }
      try requireLoggedOut(user, kind, layout, shown: username.path)
      guard let account = try username.account(record) else {
        throw Refusal(path: username.path, reason: "has no passwd entry")
      }
      return try HomeBelow.prepare(account, in: shadow.directory(user.path), layout)
    }
  }
}
