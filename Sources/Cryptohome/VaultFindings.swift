import Accounts
import DaemonStore
import Kernel

/// What is wrong with a vault that is sound in itself: its account, and what lies below its home.
enum VaultFindings {
  static func all(_ user: ObfuscatedUsername, _ layout: Layout) throws -> [Finding] {
    guard let record = try VaultFile.existing(of: user, layout) else { return [] }
    return [try account(record, user, layout), try home(record, user, layout)].compactMap { $0 }
  }

  /// What an interrupted removal has left.
  static func unfinishedRemoval(
    _ user: ObfuscatedUsername, _ layout: Layout
  ) throws -> Finding? {
    guard try VaultRemoval.isUnfinished(user, layout) else { return nil }
    return Finding(
      .removalUnfinished, "user \(user)", "has a vault whose removal was interrupted",
      evidence: ["files are left in \(layout.shadow)"], mend: "cryptohome remove \(user) --yes")
  }

  private static func account(
    _ record: VaultFile, _ user: ObfuscatedUsername, _ layout: Layout
  ) throws -> Finding? {
    guard let own = record.identity?.account else { return nil }
    let owner = "the vault belongs to \(own.name) (uid \(own.user))"
    guard let account = try Account.named(own.name) else {
      if record.owner != nil { return nil }
      guard let name = try Account.named(own.user) else {
        return Finding(
          .vaultWithoutUser, "user \(user)", "has a vault, and no account any more",
          evidence: [owner], mend: "cryptohome remove \(user)  # destroys all files in it")
      }
      return Finding(
        .vaultWithoutUser, "user \(user)", "has a vault under a name that is no account any more",
        evidence: [owner, "the uid is called \(name) now"],
        mend: Finding.command("cryptohome", "rename", own.name, name))
    }
    guard account.user == own.user else {
      return Finding(
        .vaultForeignUid, "user \(user)", "has a vault that belongs to another uid",
        evidence: [owner, "\(own.name) has the uid \(account.user) now"],
        mend: Finding.command("cryptohome", "adopt", own.name)
          + "  # if the person is the same; else cryptohome remove \(user)")
    }
    guard let salt = try Salt.existing(layout),
      try ObfuscatedUsername(of: own.name, salt: salt) != user
    else { return nil }
    return Finding(
      .vaultWithoutUser, "user \(user)", "has a vault that is not found under the account's name",
      evidence: [owner, "a rename was interrupted, or the directory is from another system"],
      mend: "# repeat cryptohome rename OLD \(own.name), or move \(layout.shadow)/\(user) away")
  }

  private static func home(
    _ record: VaultFile, _ user: ObfuscatedUsername, _ layout: Layout
  ) throws -> Finding? {
    guard let path = record.home, try !HomeBelow.isPrepared(path, layout) else { return nil }
    return Finding(
      .homeInClear, "user \(user)", "can have files in clear below the home of the vault",
      evidence: ["\(path) can be written to, or holds files, while the vault is locked"],
      mend: "cryptohome repair-home \(user)")
  }
}
