import DaemonStoreAccounts
import DaemonStore
import DaemonStoreKernel

/// What is wrong with a vault that is sound in itself: its account, and what lies below its home.
enum VaultFindings {
  static func all(_ home: UserHome) throws -> [Finding] {
    guard let record = try home.record else { return [try missing(home)].compactMap { $0 } }
    return [
      try account(record, home), try below(record, home), try before(home), try misplaced(home),
    ].compactMap { $0 }
  }

  /// The salt, where it cannot be used: then no user is found by name.
  static func salt(_ layout: Layout) -> [Finding] {
    do {
      _ = try Salt.existing(layout)
      return []
    } catch let refusal as Refusal {
      return [
        Finding(
          .saltUnusable, refusal.path, "cannot be used, so no user can log in",
          evidence: [refusal.reason],
          fix: refusal.fix ?? "# restore \(refusal.path) from a backup")
      ]
    } catch {
      return [
        Finding(
          .saltUnusable, Salt.path(layout), "cannot be read, so no user can log in",
          evidence: ["\(error)"], fix: "ls -l \(Salt.path(layout))  # and look why")
      ]
    }
  }

  /// An encrypted vault that is recorded, and is not there.
  private static func missing(_ home: UserHome) throws -> Finding? {
    let (user, layout) = (home.user, home.layout)
    guard try home.kind == nil,
      try VaultRegister.isRecorded(user, layout)
    else { return nil }
    return Finding(
      .vaultMissing, "user \(user)", "has an encrypted vault that is not there",
      evidence: ["\(VaultRegister.path(of: user, layout)) records it"],
      fix: "# mount its file system, or restore \(layout.shadow)/\(user) from a backup; to "
        + "give it up: cryptohome remove \(user)")
  }

  /// Processes that have files from before the vault open.
  private static func before(_ home: UserHome) throws -> Finding? {
    guard let place = home.place else { return nil }
    let users = try HomeBelow.usersOfBefore(in: place.directory)
    guard !users.isEmpty else { return nil }
    return Finding(
      .homeInClear, "user \(home.user)", "has processes that can write in clear beside the vault",
      evidence: users.map { "files from before the vault are used by \($0)" },
      fix: "# end these processes, and start them again after a login")
  }

  /// What a logout took for directories that it had replaced, because of an exchange: any file by now.
  private static func misplaced(_ home: UserHome) throws -> Finding? {
    guard let place = home.place else { return nil }
    var paths: [FilePath] = []
    for name in try place.directory.names()
    where name.dropping(prefix: DirectoryRenewal.removedPrefix) != nil {
      // One that is empty is removed by the next login or logout.
      guard let found = try place.directory.status(of: name) else { continue }
      if found.isDirectory, try place.directory.directory(name).unsortedNames(atMost: 1).isEmpty {
        continue
      }
      paths.append(place.directory.path(of: name))
    }
    guard let first = paths.first else { return nil }
    return Finding(
      .misplacedDirectory, "user \(home.user)", "has directories that were moved out of the vault",
      evidence: paths.map { "\($0) is kept beside it" },
      fix: Finding.command("ls", "-lA", first)
        + "  # while the user is logged in, move what is the user's into the home, and remove the rest"
    )
  }

  /// What an interrupted removal has left.
  static func unfinishedRemoval(_ home: UserHome) throws -> Finding? {
    guard try VaultRemoval.isUnfinished(home) else { return nil }
    let user = home.user
    return Finding(
      .removalUnfinished, "user \(user)", "has a vault whose removal was interrupted",
      evidence: ["files are left in \(home.layout.shadow)"], fix: "cryptohome remove \(user) --yes")
  }

  private static func account(_ record: VaultFile, _ home: UserHome) throws -> Finding? {
    let (user, layout) = (home.user, home.layout)
    guard let own = record.identity?.account else { return nil }
    let owner = "the vault belongs to \(own.name) (uid \(own.user))"
    guard let account = try Account.named(own.name) else {
      if record.owner != nil { return nil }
      guard let name = try Account.named(own.user) else {
        return Finding(
          .vaultWithoutUser, "user \(user)", "has a vault, and no account any more",
          evidence: [owner], fix: "cryptohome remove \(user)  # destroys all files in it")
      }
      return Finding(
        .vaultWithoutUser, "user \(user)", "has a vault under a name that is no account any more",
        evidence: [owner, "the uid is called \(name) now"],
        fix: Finding.command("cryptohome", "rename", own.name, name))
    }
    guard account.user == own.user else {
      return Finding(
        .vaultForeignUid, "user \(user)", "has a vault that belongs to another uid",
        evidence: [owner, "\(own.name) has the uid \(account.user) now"],
        fix: Finding.command("cryptohome", "adopt", own.name)
          + "  # if the person is the same; else cryptohome remove \(user)")
    }
    // A salt that cannot be used is a finding of its own.
    guard let salt = (try? Salt.existing(layout)) ?? nil,
      try ObfuscatedUsername(of: own.name, salt: salt) != user
    else { return nil }
    return Finding(
      .vaultWithoutUser, "user \(user)", "has a vault that is not found under the account's name",
      evidence: [
        owner,
        "a rename was interrupted, or \(Salt.path(layout)) is not the salt that it was named with",
      ],
      fix: "# restore the salt if it was replaced; else repeat: cryptohome rename OLD \(own.name)")
  }

  private static func below(_ record: VaultFile, _ home: UserHome) throws -> Finding? {
    guard let path = record.home, try !HomeBelow.isPrepared(path, home.layout) else { return nil }
    let user = home.user
    return Finding(
      .homeInClear, "user \(user)", "can have files in clear below the home of the vault",
      evidence: ["\(path) can be written to, or holds files, while the vault is locked"],
      fix: "cryptohome repair-home \(user)")
  }
}
