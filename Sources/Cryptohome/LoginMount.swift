import DaemonStoreAccounts
import DaemonStore
import Glibc
import DaemonStoreKernel

/// The bind over a passwd home, if there is to be one. Its failure is a problem, like a store's.
private struct CoveredHome: ~Copyable {
  private var bind: HomeBind?
  private(set) var problems: [String] = []
  let wasThere: Bool

  init(
    _ file: VaultFile?, _ account: Account?, source: borrowing OwnedDirectory, in layout: Layout
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

/// The vault that a login has opened, and what it knows of it.
private struct OpenedHome: ~Copyable {
  let vault: OpenVault
  let kind: VaultKind
  /// vault.json as it is now.
  var file: VaultFile?
  var repairs: [String]
  var problems: [String] = []
}

extension LockedHome {
  /// Whether the vault needs no key, or this one opens it as it is now.
  func isOpened(by key: borrowing OpenedKey?, for login: Login) throws -> Bool {
    guard try login.takesKey(home) else { return true }
    switch key {
    case .none: return false
    case .some(let opened): return try opened.isOf(home.record)
    }
  }

  /// Mounts the user, and records until when.
  func mount(_ login: Login, _ key: borrowing OpenedKey?) throws -> LoginReport {
    let existing = try home.kind
    let kind = try chooseVault(existing, for: login)
    let vault = kind.vault(of: home, size: login.request.size)
    let wasLocked = try vault.state().map { $0 != .unlocked } ?? false
    do {
      // Before the first mount: a crash in between leaves what the end of the sessions takes away.
      if login.lifetime == .sessions, try !home.isMounted {
        try SessionRecords(of: user, layout).mark()
      }
      var records: SessionRecords?
      if login.lifetime == .byHand { records = try SessionRecords(ofExisting: user, layout) }
      let opened = try open(vault, of: kind, for: login, key)
      var report = try show(opened, login, key)
      // Only now: what fails takes nothing from the sessions.
      if let records = records.take() { report.problems += Self.forget(records) }
      return report
    } catch {
      if existing == nil { discard(vault) }
      // The first error is the one that counts.
      if wasLocked { _ = try? vault.lock() }
      throw error
    }
  }

  /// What is mounted does not go with the last session any more.
  private static func forget(_ records: consuming SessionRecords) -> [String] {
    do {
      try records.unmark()
      try records.tidy()
      return []
    } catch {
      return ["\(error); what is mounted ends with the user's last session"]
    }
  }

  private func chooseVault(_ existing: VaultKind?, for login: Login) throws -> VaultKind {
    let request = login.request
    if existing == nil { try requireNoOther(login) }
    switch (existing, request.vault) {
    case (nil, nil): throw request.withoutVault
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

  /// - Throws: ``Refusal`` where the user has a vault that is elsewhere, or something is left of one.
  private func requireNoOther(_ login: Login) throws {
    let request = login.request
    if request.vault != nil {
      try HomeFileSystem.requireMounted(layout)
      try VaultRegister.requireNone(of: user, layout, present: false)
    }
    try VaultFile.requireNoneUnderFormerName(of: login.account, layout)
    guard let shadow = home.shadow else { return }
    guard try request.vault != nil || !VaultRemoval.isPending(user, in: shadow.directory) else {
      throw Refusal(
        path: request.username.path,
        reason: "has no vault, and the removal of an earlier one was interrupted; finish it "
          + "with: cryptohome remove \(user)")
    }
    try VaultRemoval.requireFinished(user, in: shadow.directory)
  }

  private func open(
    _ vault: any Vault, of kind: VaultKind, for login: Login, _ key: borrowing OpenedKey?
  ) throws -> OpenedHome {
    let file = try home.record
    try file?.require(login.account, of: user)
    let open = try vault.open(with: key)
    let repairs = open.repairs
    var opened = OpenedHome(vault: open, kind: kind, file: file, repairs: repairs)
    if let place = opened.vault.home {
      try PinRelease.finish(in: opened.vault.directory, place.directory)
    }
    // Nothing in clear stays below the home, whatever an interrupted command has left there.
    clear(&opened, login.account)
    if file?.identity == nil, let account = login.account {
      try requireFormerOwner(account, in: opened.vault.directory)
    }
    return opened
  }

  private func show(
    _ opened: borrowing OpenedHome, _ login: Login, _ key: borrowing OpenedKey?
  ) throws -> LoginReport {
    let file = opened.file
    let tree = try HomeTree(
      in: opened.vault.directory, owner: login.owner(file, of: user), isFilled: file?.home != nil,
      layout)
    // Everything is built before anything is shown: a failure up to here reaches no jail.
    let userHome = try HomeBind(of: user, at: .user, source: tree.user, layout)
    let rootHome = try HomeBind(of: user, at: .root, source: tree.root, layout)
    var passwdHome = CoveredHome(file, login.account, source: tree.user, in: layout)
    var folders = try PreparedFolders(
      of: user, in: tree.root.directory, layout: layout, templates: login.templates)
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
    let recordProblem = record(opened, login, key)
    let reports = folders.reports
    let failures = reports.compactMap { report -> String? in
      guard case .failed(let reason) = report.outcome else { return nil }
      return reason
    }
    return LoginReport(
      user: user, vault: opened.kind,
      changedNothing: wereThere && passwdHome.wasThere
        && reports.allSatisfy { $0.outcome == .present },
      folders: reports,
      repairs: opened.repairs + tree.repairs + folders.storeRepairs + reports.flatMap(\.repairs),
      problems: opened.problems + folders.rejected.map(\.description) + passwdHome.problems
        + failures + recordProblem)
  }

  /// Moves what lies in clear in the passwd home below the vault away.
  private func clear(_ opened: inout OpenedHome, _ account: Account?) {
    guard let account, var file = opened.file, let place = opened.vault.home else { return }
    // Also what a failure has left in it.
    defer { opened.file = file }
    do {
      let moved = try HomeBelow.prepare(
        &file, of: account, in: place.directory, layout: layout, makesMissing: false)
      guard let moved else { return }
      opened.repairs.insert("\(account.home): \(moved)", at: 0)
      opened.problems += moved.problems
    } catch is Refusal {
      // As of a home that cannot be covered: what covers it says so.
    } catch {
      opened.problems.append("\(error)")
    }
  }

  /// The account of a vault that names none is the owner of the files in it.
  private func requireFormerOwner(_ account: Account, in vault: borrowing Directory) throws {
    guard let status = try vault.status(of: "user"), status.owner != account.user else { return }
    throw AccountMismatch(
      user, "belongs to the uid \(status.owner), and \(account.name) has the uid \(account.user)",
      "if this is the same person, run: cryptohome adopt \(account.name)")
  }

  /// Writes what this login has found out about the vault: the account of one that names none, a new
  /// slot for one that is outdated. A vault that is open is worth more than that.
  ///
  /// - Returns: what is to be said about it.
  private func record(
    _ opened: borrowing OpenedHome, _ login: Login, _ key: borrowing OpenedKey?
  ) -> [String] {
    let file = opened.file
    var changed = file
    let claim = VaultAccount(login.request.username, login.account, login.request.owner)
    if opened.kind == .plain, file == nil, let claim {
      changed = VaultFile(kind: .plain, identity: VaultIdentity(of: claim))
      changed?.owner = login.account == nil ? login.request.owner : nil
    }
    var hasOpened = false
    switch key {
    case .none: break
    case .some(let key):
      hasOpened = true
      // What was moved out of a home since is recorded in it.
      var read = key.file
      read.before = file?.before
      if read == file {
        changed = key.changed
        changed?.before = file?.before
      }
    }
    guard opened.kind != .ephemeral, let changed else { return [] }
    do {
      if changed != file, let place = opened.vault.home { try changed.write(in: place.directory) }
      if hasOpened, let shadow = home.shadow {
        try changed.remember(user, in: shadow.directory, layout)
      }
      return []
    } catch {
      return ["\(error); the vault is open, and what is recorded of it is as it was"]
    }
  }

  /// Removes a vault that was made for a login that failed. It was never shown.
  private func discard(_ vault: any Vault) {
    // The error of the login is the one that counts, so what fails here is not reported.
    _ = try? vault.close()
    try? home.shadowNow()?.directory.removeEmptyTree(user.path)
  }
}
