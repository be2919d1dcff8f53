import DaemonStoreAccounts
import DaemonStore
import DaemonStoreKernel

/// What a login asks for.
package struct LoginRequest: Sendable {
  package let username: Username
  /// The kind of vault to make where there is none; what exists must be of it.
  package let vault: VaultKind?
  /// Of the files of a user without a passwd entry.
  package let owner: Owner?
  /// Of an ephemeral vault, in bytes.
  package let size: UInt64?
  /// The key slot that the password belongs to; nil for any of the first three.
  package let label: KeyLabel?
  /// On whose behalf it is.
  package let requester: KeyRequester

  package init(
    username: Username, vault: VaultKind? = nil, owner: Owner? = nil, size: UInt64? = nil,
    label: KeyLabel? = nil, requester: KeyRequester = .root
  ) {
    self.requester = requester
    self.username = username
    self.vault = vault
    self.owner = owner
    self.size = size
    self.label = label
  }
}

/// What a login did.
package struct LoginReport: Sendable {
  package let user: ObfuscatedUsername
  package let vault: VaultKind
  /// Whether everything was mounted before.
  package let changedNothing: Bool
  package let folders: [FolderReport]
  /// What was not as it should be, and was put right.
  package let repairs: [String]
  /// The folders that are missing now, and the stores whose template is none, each in one line.
  package internal(set) var problems: [String]
}

/// A login that has everything but the user's lock and, of a locked vault, the key.
package struct Login {
  let request: LoginRequest
  /// The passwd entry of the user, to whom the vault belongs.
  let account: Account?
  let templates: Templates
  let lifetime: MountLifetime?
}

/// Mounts a user: opens the vault, shows the homes, and a folder in each store.
extension Login {
  /// Whoever else logs this user in or out waits for it, and it for them.
  ///
  /// - Parameters:
  ///   - lifetime: until when it holds; nil to leave that as it is.
  ///   - credential: asked for when the vault is locked, and once only.
  /// - Throws: when nothing is mounted; nothing is left behind then, and what was locked is locked.
  ///   ``WrongPassword`` and ``AccountMismatch``, too. A store that fails is no error, but a problem
  ///   in the report.
  package static func run(
    _ request: LoginRequest, in layout: Layout, lifetime: MountLifetime? = nil,
    credential: () throws -> Credential
  ) throws -> LoginReport {
    let user = try identify(request, layout)
    let home = UserHome(of: user, in: layout)
    if case .hash = request.username, try home.kind == nil {
      throw Refusal(path: user.path, reason: "no user with this hash has a vault here")
    }
    return try run(request, in: home, lifetime: lifetime, credential: credential)
  }

  /// - Parameter home: as it was before the lock.
  static func run(
    _ request: LoginRequest, in home: UserHome, lifetime: MountLifetime?,
    credential: () throws -> Credential
  ) throws -> LoginReport {
    let login = Login(
      request: request, account: try account(of: request, home),
      templates: try Templates.read(home.layout), lifetime: lifetime)
    // As far as can be told before the lock: a password is typed, and tried, without it.
    var isKeyNeeded = try login.takesKey(home)
    var known: Credential?
    var key: OpenedKey?
    for _ in 1...rounds {
      if isKeyNeeded {
        if known == nil { known = try credential() }
        switch known {
        case .some(let credential): key = try login.key(credential, of: home)
        case .none: break
        }
      }
      let locked = try LockedHome(of: home.user, in: home.layout)
      if try locked.isOpened(by: key, for: login) { return try locked.mount(login, key) }
      // A logout was under way, or another command has changed the key: the lock is let go for this.
      isKeyNeeded = true
    }
    throw Refusal(
      path: request.username.path, reason: "other commands change the keys all the time; try again")
  }

  /// How often a key is tried that was changed when the lock was there.
  private static let rounds = 4

  /// Whether the vault is encrypted and locked.
  func takesKey(_ home: UserHome) throws -> Bool {
    guard try home.kind == .fscrypt, request.vault == nil || request.vault == .fscrypt else {
      return false
    }
    return try FscryptVault(home: home).state() != .unlocked
  }

  private func key(_ credential: borrowing Credential, of user: UserHome) throws -> OpenedKey {
    // As the vault is now: a person may have taken long to type the password.
    let home = UserHome(of: user.user, in: user.layout)
    let claim = try VaultAccount(request.username, account, home.record?.owner)
    return try VaultKeys(in: home, of: request.username, by: request.requester)
      .unlock(request.label, with: credential, for: claim)
  }

  /// The user's obfuscated name; makes the salt on a system that has none, for a vault that is made.
  private static func identify(
    _ request: LoginRequest, _ layout: Layout
  ) throws -> ObfuscatedUsername {
    let username = request.username
    if case .name(let name) = username, request.vault == .plain {
      try VaultAccount.requireName(name)
    }
    if request.vault != nil { return try username.resolve(salt: .makingMissing(), in: layout) }
    guard let user = try username.resolveIfSalted(in: layout) else {
      throw request.withoutVault
    }
    return user
  }

  /// The passwd entry, which the vault must belong to, and which `--owner` must not contradict.
  private static func account(of request: LoginRequest, _ home: UserHome) throws -> Account? {
    let record = try home.record
    let account = try request.username.account(record)
    try record?.require(account, of: home.user)
    guard case .name(let name) = request.username, let account else { return account }
    try request.requireOwner(
      Owner(user: account.user, group: account.group), of: name, in: "in passwd")
    return account
  }

  /// Whom the user's own files belong to; nil to leave them as they are.
  func owner(_ file: VaultFile?, of user: ObfuscatedUsername) throws -> Owner? {
    if let account { return Owner(user: account.user, group: account.group) }
    guard let owner = file?.owner else { return request.owner }
    try request.requireOwner(owner, of: user.path, in: "in its vault")
    return owner
  }
}

extension LoginRequest {
  var withoutVault: Refusal {
    username.withoutVault(
      "make one with cryptohome create, or with --vault plain or --vault ephemeral")
  }

  fileprivate func requireOwner(_ owner: Owner, of name: FilePath, in place: FilePath) throws {
    guard let asked = self.owner, asked != owner else { return }
    throw Refusal(
      path: name,
      reason: "is \(owner.user):\(owner.group) \(place); --owner is for users without an entry")
  }
}

extension Account {
  /// Names that differ in case are one user: the account of either is that user's.
  static func loggingIn(as name: FilePath) throws -> Account? {
    try named(name) ?? named(name.asciiLowercased())
  }
}
