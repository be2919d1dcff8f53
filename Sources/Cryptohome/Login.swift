import DaemonStoreAccounts
import DaemonStore
import Glibc
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

/// The bind over a passwd home, if there is to be one. Its failure is a problem, like a store's.
private struct CoveredHome: ~Copyable {
  private var bind: HomeBind?
  private(set) var problems: [String] = []
  let wasThere: Bool

  init(
    _ file: VaultFile?, _ account: Account?, source: borrowing OwnedDirectory, _ layout: Layout
  ) {
    var isPresent = file?.home == nil
    bind = nil
    do {
      if let path = try file?.coveredHome(of: account) {
        let bind = try HomeBind(over: path, source: source, layout)
        isPresent = bind.isPresent
        self.bind = consume bind
      }
    } catch {
      problems.append("\(error)")
    }
    wasThere = isPresent
  }

  mutating func attach() {
    do {
      try bind.take()?.attach()
    } catch {
      problems.append("\(error)")
    }
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
  package let problems: [String]
}

/// Mounts a user: opens the vault, shows the homes, and a folder in each store.
package enum Login {
  /// Whoever else logs this user in or out waits for it, and it for them.
  ///
  /// - Parameters:
  ///   - lifetime: until when it holds; nil to leave that as it is.
  ///   - credential: asked for when the vault is locked.
  /// - Throws: when nothing is mounted; nothing is left behind then, and what was locked is locked.
  ///   ``WrongPassword`` and ``AccountMismatch``, too. A store that fails is no error, but a problem
  ///   in the report.
  package static func run(
    _ request: LoginRequest, _ layout: Layout, lifetime: MountLifetime? = nil,
    credential: () throws -> Credential
  ) throws -> LoginReport {
    let user = try identify(request, layout)
    let templates = try Templates.read(layout)
    let account = try account(of: request, user, layout)
    // What takes long is done before anybody else has to wait.
    let key = try key(of: user, request, account, layout, credential)
    return try locked(user, layout) {
      let existing = try VaultKind.existing(of: user, layout)
      let kind = try chooseVault(request, existing, account, user, layout)
      let vault = kind.vault(of: user, layout, size: request.size)
      let wasLocked = try vault.state().map { $0 != .unlocked } ?? false
      do {
        return try Sessions.mount(user, until: lifetime, layout) {
          try mount(user, vault, kind, key: key, request, account, templates, layout)
        }
      } catch {
        if existing == nil { discard(vault, user, layout) }
        // The first error is the one that counts.
        if wasLocked { _ = try? vault.lock() }
        throw error
      }
    }
  }

  /// The key of an encrypted vault that is locked; nil for any other.
  private static func key(
    of user: ObfuscatedUsername, _ request: LoginRequest, _ account: Account?, _ layout: Layout,
    _ credential: () throws -> Credential
  ) throws -> OpenedKey? {
    guard try VaultKind.existing(of: user, layout) == .fscrypt,
      request.vault == nil || request.vault == .fscrypt,
      try FscryptVault(user: user, layout: layout).state() != .unlocked
    else { return nil }
    let owner = try VaultFile.existing(of: user, layout)?.owner
    return try VaultKeys.key(
      of: user, layout, by: request.requester, label: request.label,
      VaultAccount(request.username, account, owner), with: credential())
  }

  /// The user's obfuscated name; makes the salt on a system that has none, for a vault that is made.
  private static func identify(
    _ request: LoginRequest, _ layout: Layout
  ) throws -> ObfuscatedUsername {
    switch request.username {
    case .hash(let user):
      guard try VaultKind.existing(of: user, layout) != nil else {
        throw Refusal(path: user.path, reason: "no user with this hash has a vault here")
      }
      return user
    case .name(let name):
      if request.vault == .plain { try VaultAccount.requireName(name) }
      if request.vault != nil {
        return try request.username.resolve(salt: .makingMissing(), in: layout)
      }
      guard let user = try request.username.resolveIfSalted(in: layout) else {
        throw noVault(request)
      }
      return user
    }
  }

  private static func noVault(_ request: LoginRequest) -> Refusal {
    request.username.withoutVault(
      "make one with cryptohome create, or with --vault plain or --vault ephemeral")
  }

  private static func chooseVault(
    _ request: LoginRequest, _ existing: VaultKind?, _ account: Account?,
    _ user: ObfuscatedUsername, _ layout: Layout
  ) throws -> VaultKind {
    if existing == nil {
      if request.vault != nil {
        try HomeFileSystem.requireMounted(layout)
        try VaultRegister.requireNone(of: user, layout, present: false)
      }
      try VaultFile.requireNoneUnderFormerName(of: account, layout)
      if let shadow = try UserDirectory.shadow(layout) {
        guard try request.vault != nil || !VaultRemoval.isPending(user, in: shadow) else {
          throw Refusal(
            path: request.username.path,
            reason: "has no vault, and the removal of an earlier one was interrupted; finish it "
              + "with: cryptohome remove \(user)")
        }
        try VaultRemoval.requireFinished(user, in: shadow)
      }
    }
    switch (existing, request.vault) {
    case (nil, nil): throw noVault(request)
    case (nil, .fscrypt):
      throw request.username.withoutVault("make an encrypted one with cryptohome create")
    case (let existing?, let wanted?) where existing != wanted:
      throw Refusal(
        path: request.username.path,
        reason: "has a vault of the kind \(existing.rawValue), not \(wanted.rawValue); leave "
          + "--vault out to use it")
    case (let existing?, _): return existing
    case (nil, let wanted?): return wanted
    }
  }

  /// The passwd entry of the user, to whom the vault belongs, and which `--owner` must not contradict.
  private static func account(
    of request: LoginRequest, _ user: ObfuscatedUsername, _ layout: Layout
  ) throws -> Account? {
    let record = try VaultFile.existing(of: user, layout)
    let account = try request.username.account(record)
    try record?.require(account, of: user)
    guard case .name(let name) = request.username, let account else { return account }
    try requireOwner(Owner(user: account.user, group: account.group), request, name, "in passwd")
    return account
  }

  /// Whom the user's own files belong to; nil to leave them as they are.
  private static func owner(
    _ request: LoginRequest, _ account: Account?, _ file: VaultFile?, _ user: ObfuscatedUsername
  ) throws -> Owner? {
    if let account { return Owner(user: account.user, group: account.group) }
    guard let owner = file?.owner else { return request.owner }
    try requireOwner(owner, request, user.path, "in its vault")
    return owner
  }

  private static func requireOwner(
    _ owner: Owner, _ request: LoginRequest, _ name: FilePath, _ place: FilePath
  ) throws {
    guard let asked = request.owner, asked != owner else { return }
    throw Refusal(
      path: name,
      reason: "is \(owner.user):\(owner.group) \(place); --owner is for users without an entry")
  }

  private static func mount(
    _ user: ObfuscatedUsername, _ vault: any Vault, _ kind: VaultKind,
    key: borrowing OpenedKey?, _ request: LoginRequest, _ account: Account?,
    _ templates: Templates, _ layout: Layout
  ) throws -> LoginReport {
    // Again, as it may have changed before the lock was taken.
    var file = try VaultFile.existing(of: user, layout)
    try file?.require(account, of: user)
    let open = try vault.open(with: key)
    if vault.mountPoint == nil, let home = try UserDirectory.shadow(layout)?.existing("\(user)") {
      try PinRelease.finish(in: open.directory, home)
    }
    // Nothing in clear stays below the home, whatever an interrupted command has left there.
    let moved = clear(account, of: user, layout)
    file = try VaultFile.existing(of: user, layout)
    let owner = try owner(request, account, file, user)
    if file?.identity == nil, let account {
      try requireFormerOwner(account, of: user, in: open.directory)
    }
    let tree = try HomeTree(
      in: open.directory, owner: owner, isFilled: file?.home != nil, layout)
    // Everything is built before anything is shown: a failure up to here reaches no jail.
    let userHome = try HomeBind(of: user, at: .user, source: tree.user, layout)
    let rootHome = try HomeBind(of: user, at: .root, source: tree.root, layout)
    var passwdHome = CoveredHome(file, account, source: tree.user, layout)
    var folders = try PreparedFolders(
      of: user, in: tree.root.directory, layout: layout, templates: templates)
    let wereThere = userHome.isPresent && rootHome.isPresent
    let userWasThere = userHome.isPresent
    try userHome.attach()
    do {
      try rootHome.attach()
    } catch {
      if !userWasThere { HomePlace.user.remove(user, layout, lazily: false) }
      throw error
    }
    passwdHome.attach()
    folders.attach()
    // Last: a login that fails leaves no record.
    let recordProblem = record(
      kind, file, key, VaultAccount(request.username, account, request.owner),
      account == nil ? request.owner : nil, user, layout)
    let reports = folders.reports
    let failures = reports.compactMap { report -> String? in
      guard case .failed(let reason) = report.outcome else { return nil }
      return reason
    }
    return LoginReport(
      user: user, vault: kind,
      changedNothing: wereThere && passwdHome.wasThere
        && reports.allSatisfy { $0.outcome == .present },
      folders: reports,
      repairs: moved.repairs + open.repairs + tree.repairs + folders.storeRepairs
        + reports.flatMap(\.repairs),
      problems: moved.problems + folders.rejected.map(\.description) + passwdHome.problems
        + failures + recordProblem)
  }

  /// Moves what lies in clear in the passwd home below the vault away.
  private static func clear(
    _ account: Account?, of user: ObfuscatedUsername, _ layout: Layout
  ) -> (repairs: [String], problems: [String]) {
    do {
      guard let account, let home = try UserDirectory.shadow(layout)?.existing(user.path),
        let moved = try HomeBelow.prepare(account, in: home, layout, makesMissing: false)
      else { return ([], []) }
      return (["\(account.home): \(moved)"], moved.problems)
    } catch is Refusal {
      return ([], [])  // as of a home that cannot be covered: what covers it says so
    } catch {
      return ([], ["\(error)"])
    }
  }

  /// The account of a vault that names none is the owner of the files in it.
  private static func requireFormerOwner(
    _ account: Account, of user: ObfuscatedUsername, in vault: borrowing Directory
  ) throws {
    guard let status = try vault.status(of: "user"), status.owner != account.user else { return }
    throw AccountMismatch(
      user, "belongs to the uid \(status.owner), and \(account.name) has the uid \(account.user)",
      "if this is the same person, run: cryptohome adopt \(account.name)")
  }

  /// Writes what this login has found out about the vault: the account of one that names none, a new
  /// slot for one that is outdated. A vault that is open is worth more than that.
  ///
  /// - Returns: what is to be said about it.
  private static func record(
    _ kind: VaultKind, _ file: VaultFile?, _ key: borrowing OpenedKey?, _ account: VaultAccount?,
    _ owner: Owner?, _ user: ObfuscatedUsername, _ layout: Layout
  ) -> [String] {
    var changed = file
    if kind == .plain, file == nil, let account {
      changed = VaultFile(kind: .plain, identity: VaultIdentity(of: account))
      changed?.owner = owner
    }
    var hasOpened = false
    switch key {
    case .none: break
    case .some(let opened):
      hasOpened = true
      // What was moved out of a home since is recorded in it.
      var read = opened.file
      read.before = file?.before
      if read == file {
        changed = opened.changed
        changed?.before = file?.before
      }
    }
    guard kind != .ephemeral, let changed else { return [] }
    do {
      guard let shadow = try UserDirectory.shadow(layout),
        let home = try shadow.existing(user.path)
      else { return [] }
      if changed != file { try changed.write(in: home) }
      if hasOpened { try changed.remember(user, in: shadow, layout) }
      return []
    } catch {
      return ["\(error); the vault is open, and what is recorded of it is as it was"]
    }
  }

  /// Takes a vault away that was made for a login that failed. Nobody has seen it yet.
  private static func discard(_ vault: any Vault, _ user: ObfuscatedUsername, _ layout: Layout) {
    // The error of the login is the one that counts, so what fails here is not reported.
    _ = try? vault.close()
    if let shadow = try? UserDirectory.shadow(layout) ?? nil {
      try? shadow.removeEmptyTree(user.path)
    }
  }
}

extension Account {
  /// Names that differ in case are one user: the account of either is that user's.
  static func loggingIn(as name: FilePath) throws -> Account? {
    try named(name) ?? named(name.asciiLowercased())
  }
}
