import DaemonStoreAccounts
import DaemonStore
import Glibc
import DaemonStoreKernel

/// What a removal did.
package struct RemovalReport: Sendable {
  /// What is left of the vault and why, each in one line. The same command tries it again.
  package var problems: [String] = []
  /// What became of the files that were in the passwd home before the vault.
  package var notes: [String] = []
}

/// The end of a vault, in this order: the key slots, the name, the files. From the first step on the
/// vault cannot be opened, and the same command finishes what an interruption has left.
enum VaultRemoval {
  /// A directory beside vault.json, from before that is destroyed.
  private static let mark: FilePath = "removing"

  /// The name of a vault whose files are being removed.
  static func doomedName(_ user: ObfuscatedUsername) -> FilePath { ".\(user).gone" }

  /// The users of whom such a vault is left.
  static func pending(_ layout: Layout) throws -> [ObfuscatedUsername] {
    guard let shadow = try UserDirectory.shadow(layout) else { return [] }
    return try shadow.names().compactMap { name in
      let bytes = Array(name.bytes)
      guard bytes.count == 46, bytes.first == UInt8(ascii: "."),
        bytes.suffix(5).elementsEqual(".gone".utf8)
      else { return nil }
      return ObfuscatedUsername(bytes[1..<41])
    }
  }

  /// Whether files of a removed vault of the user are left.
  static func isPending(
    _ user: ObfuscatedUsername, in shadow: borrowing Directory
  ) throws(SystemError) -> Bool {
    try shadow.status(of: doomedName(user)) != nil
  }

  /// Whether a removal was interrupted, before or after the vault lost its name.
  static func isUnfinished(_ home: UserHome) throws -> Bool {
    guard let shadow = home.shadow else { return false }
    if try isPending(home.user, in: shadow.directory) { return true }
    return try home.isRemovalBegun
  }

  /// The kind of a vault that has lost its directory `mount`: only its file is left to be destroyed.
  static func rest(of home: UserHome) throws -> VaultKind? {
    try home.place?.directory.status(of: VaultFile.name) == nil ? nil : .fscrypt
  }

  /// Whether the key slots in a user's directory are gone because of a removal.
  ///
  /// - Parameter record: what was read of vault.json.
  static func hasBegun(
    in home: borrowing Directory, _ record: Result<VaultFile?, any Error>
  ) throws -> Bool {
    guard let status = try home.status(of: mark), status.isDirectory else { return false }
    do {
      // With a sound file nothing was destroyed yet.
      return try record.get() == nil
    } catch let error as SystemError {
      throw error
    } catch {
      return true
    }
  }

  /// Removes what an earlier removal has left.
  ///
  /// - Returns: what could not be removed.
  static func finish(
    _ user: ObfuscatedUsername, in shadow: borrowing Directory
  ) throws -> [SystemError] {
    guard try isPending(user, in: shadow) else { return [] }
    return try shadow.removeVault(doomedName(user))
  }

  /// The same, before something new is made.
  ///
  /// - Throws: ``Refusal`` when not all could be removed.
  static func requireFinished(
    _ user: ObfuscatedUsername, in shadow: borrowing Directory
  ) throws {
    if let error = try finish(user, in: shadow).first {
      throw Refusal(
        path: shadow.path(of: doomedName(user)),
        reason: "is left of an earlier vault and could not be removed (\(error)); run: cryptohome "
          + "remove \(user)")
    }
  }

  /// A full disk must not keep a vault from being removed: without the mark, an interruption before the
  /// vault has lost its name shows as a missing vault.json.
  static func makeMark(in home: borrowing Directory) throws(SystemError) {
    do {
      try home.makeDirectory(mark)
      try home.sync()
    } catch {
      guard [ENOSPC, EDQUOT].contains(error.code) else { throw error }
    }
  }
}

extension Vaults {
  /// Destroys a vault, and all that is in it; or finishes that.
  ///
  /// - Throws: ``Refusal`` for a user who is logged in or has no vault. Nothing was destroyed then.
  package static func remove(_ username: Username, in layout: Layout) throws -> RemovalReport {
    let user = try username.resolve(in: layout)
    // A vault of another account is removed by its hash only. One whose file cannot be read is removed
    // by the name, too: that is what is left to do with it.
    if case .name(let name) = username,
      let record = UserHome(of: user, in: layout).readableRecord,
      let account = try Account.loggingIn(as: name)
    {
      try record.require(account, of: user)
    }
    return try LockedHome(of: user, in: layout).remove(shown: username)
  }
}

extension LockedHome {
  fileprivate func remove(shown username: Username) throws -> RemovalReport {
    let kind = try home.present ?? VaultRemoval.rest(of: home)
    guard let shadow = home.shadow else { return try forget(username) }
    let isPending = try VaultRemoval.isPending(user, in: shadow.directory)
    guard kind != nil || isPending else { return try forget(username) }
    try kind.map { try home.requireLoggedOut($0, shown: username.path) }
    var report = RemovalReport()
    do {
      if kind == nil { try VaultRegister.forget(user, layout) }
      report.problems = try VaultRemoval.finish(user, in: shadow.directory).map(\.description)
    } catch {
      // The keys of that one are gone.
      report.problems = ["\(error)"]
    }
    // What is left would be in the way of the name.
    guard report.problems.isEmpty else { return report }
    do {
      if let kind {
        report.notes = try HomeBelow.restore(user, in: shadow.directory, layout)
        try destroy(kind, in: shadow.directory, into: &report)
      }
      try Salt.forgetCopy(in: shadow.directory, layout)
    } catch {
      guard isPending || !report.notes.isEmpty else { throw error }
      report.problems.append("\(error)")
    }
    return report
  }

  /// Destroys the vault at the user's name.
  ///
  /// - Throws: when nothing was destroyed. What fails later is in the report.
  func destroy(
    _ kind: VaultKind, in shadow: borrowing Directory, into report: inout RemovalReport
  ) throws {
    let home = try shadow.directory(user.path)
    if kind == .fscrypt { try VaultRemoval.makeMark(in: home) }
    do {
      for name in [VaultFile.name, ".\(VaultFile.name).new"] { try home.destroyFile(name) }
      try home.sync()
      try shadow.rename(user.path, to: VaultRemoval.doomedName(user))
      try shadow.sync()
      // While it shows what was begun: the record goes before the last that is left.
      try VaultRegister.forget(user, layout)
      report.problems += try shadow.removeVault(VaultRemoval.doomedName(user)).map(\.description)
    } catch {
      report.problems.append("\(error)")
    }
  }

  /// Removes the record of a vault that is not there.
  private func forget(_ username: Username) throws -> RemovalReport {
    guard try VaultRegister.isRecorded(user, layout) else { throw username.withoutVault() }
    try VaultRegister.forget(user, layout)
    var report = RemovalReport()
    report.notes = ["there was no vault of \(username) in \(layout.shadow), only a record of one"]
    return report
  }
}

extension UserHome {
  /// - Throws: ``Refusal`` for a user who is logged in, or whose key is still there.
  func requireLoggedOut(_ kind: VaultKind, shown name: FilePath) throws {
    let lock = try kind.vault(of: self).state()
    guard try kind != .ephemeral && !isMounted else {
      throw Refusal(
        path: name,
        reason: "is logged in; run first: \(Finding.command("cryptohome", "unmount", name))")
    }
    guard let lock, lock != .locked else { return }
    throw Refusal(
      path: name,
      reason: (lock == .busy
        ? "is logged out, but files of the vault are still open; these processes must end first: "
        : "is logged out, but the vault's key is still there; remove it first: ")
        + Finding.command("cryptohome", "unmount", name) + (lock == .busy ? " names them" : ""))
  }
}

extension Directory {
  /// Removes a user's directory, if there is one of that name: first what the key is in.
  ///
  /// - Returns: what could not be removed.
  @discardableResult
  func removeVault(_ name: FilePath) throws -> [SystemError] {
    guard let home = try existing(name) else { return [] }
    for file in [VaultFile.name, ".\(VaultFile.name).new"] { try home.destroyFile(file) }
    // The files from before the vault are not part of it.
    for before in try home.names() where HomeBelow.isBefore(before) {
      let holdsFiles = try home.directory(before, crossingMounts: false).names().isEmpty == false
      if holdsFiles {
        return [SystemError(operation: "rmdir", path: home.path(of: before), code: ENOTEMPTY)]
      }
    }
    if try home.status(of: "mount")?.isEncrypted == true {
      try home.directory("mount", crossingMounts: false).removeLockedContents()
    }
    let errors = try home.removeContents()
    if errors.isEmpty {
      try removeDirectory(name)
      try sync()
    }
    return errors
  }
}
