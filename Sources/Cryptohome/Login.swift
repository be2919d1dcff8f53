import Accounts
import DaemonStore
import Glibc
import Kernel

/// What a login asks for.
public struct LoginRequest: Sendable {
  public let username: Username
  /// The kind of vault to make where there is none; what exists must be of it.
  public let vault: VaultKind?
  /// Of the files of a user without a passwd entry.
  public let owner: Owner?
  /// Of an ephemeral vault, in bytes.
  public let size: UInt64?

  public init(username: Username, vault: VaultKind? = nil, owner: Owner? = nil, size: UInt64? = nil)
  {
    self.username = username
    self.vault = vault
    self.owner = owner
    self.size = size
  }
}

/// What a login did.
public struct LoginReport: Sendable {
  public let user: ObfuscatedUsername
  public let vault: VaultKind
  /// Whether everything was mounted before.
  public let changedNothing: Bool
  public let folders: [FolderReport]
  /// What was not as it should be, and was put right.
  public let repairs: [String]
  /// The folders that are missing now, and the stores whose template is none, each in one line.
  public let problems: [String]
}

/// Mounts a user: opens the vault, shows the homes, and a folder in each store.
public enum Login {
  /// Whoever else logs this user in or out waits for it, and it for them.
  ///
  /// - Throws: when nothing is mounted; nothing is left behind then. A store that fails is no
  ///   error, but a problem in the report.
  public static func run(_ request: LoginRequest, _ layout: Layout) throws -> LoginReport {
    let user = try identify(request.username, layout)
    let templates = try Templates.read(layout)
    let owner = try owner(for: request)
    return try locked(user, layout) {
      let existing = try VaultKind.existing(of: user, layout)
      let kind = try chooseVault(request, existing, user)
      let vault = kind.vault(of: user, layout, size: request.size)
      do {
        return try mount(user, vault, kind, owner: owner, templates, layout)
      } catch {
        if existing == nil { discard(vault, user, layout) }
        throw error
      }
    }
  }

  /// The user's obfuscated name; makes the salt on a system that has none.
  private static func identify(
    _ username: Username, _ layout: Layout
  ) throws -> ObfuscatedUsername {
    switch username {
    case .hash(let user):
      guard try VaultKind.existing(of: user, layout) != nil else {
        throw Refusal(path: user.description, reason: "no user with this hash has a vault here")
      }
      return user
    case .name(let name): return try ObfuscatedUsername(of: name, salt: .readOrMake(layout))
    }
  }

  private static func chooseVault(
    _ request: LoginRequest, _ existing: VaultKind?, _ user: ObfuscatedUsername
  ) throws -> VaultKind {
    switch (existing, request.vault) {
    case (nil, nil):
      throw Refusal(
        path: user.description,
        reason: "this user has no vault; make one with --vault plain or --vault ephemeral")
    case (let existing?, let wanted?) where existing != wanted:
      throw Refusal(
        path: user.description,
        reason: "has a vault of the kind \(existing.rawValue), not \(wanted.rawValue); leave "
          + "--vault out to use it")
    case (let existing?, _): return existing
    case (nil, let wanted?): return wanted
    }
  }

  /// Whom the user's own files belong to; nil to leave them as they are.
  private static func owner(for request: LoginRequest) throws -> Owner? {
    // Names that differ in case are one user: the account of either is that user's.
    guard case .name(let name) = request.username,
      let account = try Account.named(name) ?? Account.named(name.asciiLowercased())
    else { return request.owner }
    let owner = Owner(user: account.user, group: account.group)
    if let asked = request.owner, asked != owner {
      throw Refusal(
        path: name,
        reason: "is \(owner.user):\(owner.group) in passwd; --owner is for users without an entry")
    }
    return owner
  }

  private static func mount(
    _ user: ObfuscatedUsername, _ vault: any Vault, _ kind: VaultKind, owner: Owner?,
    _ templates: Templates, _ layout: Layout
  ) throws -> LoginReport {
    let open = try vault.open()
    let tree = try HomeTree(in: open.directory, owner: owner)
    // Everything is built before anything is shown: a failure up to here reaches no jail.
    let userHome = try HomeBind(of: user, at: .user, source: tree.user, layout)
    let rootHome = try HomeBind(of: user, at: .root, source: tree.root, layout)
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
    folders.attach()

    let reports = folders.reports
    let failures = reports.compactMap { report -> String? in
      guard case .failed(let reason) = report.outcome else { return nil }
      return reason
    }
    return LoginReport(
      user: user, vault: kind,
      changedNothing: wereThere && reports.allSatisfy { $0.outcome == .present },
      folders: reports,
      repairs: open.repairs + tree.repairs + folders.storeRepairs + reports.flatMap(\.repairs),
      problems: folders.rejected.map(\.description) + failures)
  }

  /// Takes a vault away that was made for a login that failed. Nobody has seen it yet.
  private static func discard(_ vault: any Vault, _ user: ObfuscatedUsername, _ layout: Layout) {
    // The error of the login is the one that counts, so what fails here is not reported.
    _ = try? vault.close()
    if let shadow = try? UserDirectory.shadow(layout) ?? nil {
      try? shadow.removeEmptyTree(user.description)
    }
  }
}
