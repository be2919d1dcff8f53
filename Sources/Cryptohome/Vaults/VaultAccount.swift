import DaemonStoreAccounts
import Crypto
import DaemonStore
import FoundationEssentials
import Glibc
import DaemonStoreKernel

/// The account that a vault belongs to: both of these, and not one of them alone.
struct VaultAccount: Equatable {
  var user: uid_t
  /// As the passwd entry spells it.
  var name: FilePath
  /// The name that the seal was made with, where the vault was renamed since, without its key.
  var sealedName: FilePath?

  init(user: uid_t, name: FilePath, sealedName: FilePath? = nil) {
    self.user = user
    self.name = name
    self.sealedName = sealedName
  }

  /// The account of a new record: the passwd entry, or of a user without one the owner and the name. nil
  /// where only a hash is known, and for a name that no record can have.
  init?(_ username: Username, _ account: Account?, _ owner: Owner?) {
    if let account {
      self.init(user: account.user, name: account.name)
    } else if case .name(let name) = username, let owner {
      self.init(user: owner.user, name: name)
    } else {
      return nil
    }
    guard Self.isName(name) else { return nil }
  }

  static let nameLimit = 1024

  /// Whether a line of passwd(5) could have it: what a record is read and written with.
  static func isName(_ name: FilePath) -> Bool {
    (1...nameLimit).contains(name.bytes.count)
      && name.bytes.allSatisfy { $0 >= 0x20 && $0 != 0x7f && $0 != UInt8(ascii: ":") }
      && String(validating: name.bytes, as: UTF8.self) != nil
  }

  /// - Throws: ``Refusal`` for a name that no vault can be made for.
  static func requireName(_ name: FilePath) throws(Refusal) {
    guard !isName(name) else { return }
    throw Refusal(
      path: name.bytes.count > 64 ? "USER" : name,
      reason: "is no name of an account: 1 to \(nameLimit) bytes of UTF-8, without a colon "
        + "and control characters; choose another")
  }
}

/// What version 2 of vault.json adds: what the vault is, and of which account.
struct VaultIdentity: Equatable {
  static let idSize = 16
  static let sealSize = 32

  /// 128 random bits, which stay the same for the life of the vault.
  var id: [UInt8]
  var account: VaultAccount
  /// Authenticates the rest with a key made of the vault's; nil for a vault without a key.
  var seal: [UInt8]?

  /// A new one, without a seal.
  init(of account: VaultAccount) {
    id = randomBytes(Self.idSize)
    self.account = account
  }

  init(id: [UInt8], account: VaultAccount, seal: [UInt8]?) {
    self.id = id
    self.account = account
    self.seal = seal
  }

  /// Seals it with the vault's key, under the present name.
  mutating func seal(with key: borrowing Secret, _ claim: SealedClaim) {
    account.sealedName = nil
    seal = Array(authenticator(key, claim.parts))
  }

  /// Whether the vault's key has sealed this.
  func isSealed(with key: borrowing Secret, _ claim: SealedClaim) -> Bool {
    guard let seal else { return false }
    return authenticator(key, claim.parts) == seal
  }

  /// Whether it was sealed before the seal said whether a home is covered.
  func isSealedFormerly(with key: borrowing Secret, _ claim: SealedClaim) -> Bool {
    guard let seal else { return false }
    return authenticator(key, claim.formerParts) == seal
  }

  private func authenticator(
    _ key: borrowing Secret, _ parts: (VaultIdentity) -> [FilePath]
  ) -> HMAC<SHA256>.MAC {
    let sealing = key.withData {
      HKDF<SHA256>.deriveKey(
        inputKeyMaterial: SymmetricKey(data: $0), salt: id,
        info: Data("daemon-store vault 2 account".utf8), outputByteCount: 32)
    }
    return HMAC<SHA256>.authenticationCode(
      for: Data(parts(self).map { Array($0.bytes) }.joined(separator: [0])), using: sealing)
  }
}

/// What a seal says of a vault beside its identity.
struct SealedClaim {
  let kind: VaultKind
  let owner: Owner?
  /// Which home it is, the passwd entry says: so a rename needs no key.
  let coversHome: Bool

  fileprivate func formerParts(_ identity: VaultIdentity) -> [FilePath] {
    let account = identity.account
    return [
      "daemon-store vault 2", "\(hexadecimal(identity.id))", "\(kind.rawValue)",
      "\(account.user)",
      account.sealedName ?? account.name, owner.map { "\($0.user):\($0.group)" } ?? "",
    ]
  }

  fileprivate func parts(_ identity: VaultIdentity) -> [FilePath] {
    formerParts(identity) + [coversHome ? "home" : "no home"]
  }
}

extension VaultFile {
  var claim: SealedClaim { SealedClaim(kind: kind, owner: owner, coversHome: home != nil) }

  /// Seals the identity under the present name.
  mutating func seal(with key: borrowing Secret) {
    let claim = claim
    identity?.seal(with: key, claim)
  }

  /// The home directory that is shown over: the one that the passwd entry of the vault's account
  /// names, whatever the file says. nil for a vault without one.
  ///
  /// - Throws: ``Refusal`` when the two differ.
  func coveredHome(of account: Account?) throws(Refusal) -> FilePath? {
    guard let home else { return nil }
    guard let account, identity.map({ $0.account.user == account.user }) ?? true else {
      throw Refusal(
        path: home,
        reason: "is not covered: the vault names it, but its account has no passwd entry of that "
          + "home directory")
    }
    guard account.home == home else {
      throw Refusal(
        path: home,
        reason: "is not the home directory of \(account.name) any more, which is \(account.home); "
          + "run: cryptohome rename \(account.name) \(account.name)")
    }
    return try PasswdHome.path(of: account.name, account)
  }
}

/// The vault belongs to another account than the one that asks for it.
package struct AccountMismatch: Error, CustomStringConvertible {
  package let description: String

  init(_ user: ObfuscatedUsername, _ problem: String, _ wayOut: String) {
    description =
      "the vault \(user) \(problem); \(wayOut), or destroy it with: cryptohome remove \(user)"
  }
}

extension VaultFile {
  /// Checks the account that a vault is opened for, before anything is unlocked.
  ///
  /// - Parameter account: the passwd entry of the name that was given, nil where there is none.
  /// - Throws: ``AccountMismatch``, with the way out.
  func require(_ account: Account?, of user: ObfuscatedUsername) throws(AccountMismatch) {
    guard let own = identity?.account else { return }
    guard let account else {
      // Made for a user without a passwd entry.
      if owner != nil { return }
      throw AccountMismatch(
        user, "belongs to \(own.name) (uid \(own.user)), which has no passwd entry any more",
        "if the account was renamed, run: cryptohome rename \(own.name) NEW")
    }
    if account.name == own.name {
      guard account.user != own.user else { return }
      throw AccountMismatch(
        user,
        "belongs to \(own.name) with the uid \(own.user), and \(account.name) has the uid "
          + "\(account.user) now",
        "if this is the same person, run: cryptohome adopt \(account.name)")
    }
    if account.user == own.user {
      throw AccountMismatch(
        user, "belongs to \(own.name), and the account is called \(account.name) now",
        "run: cryptohome rename \(own.name) \(account.name)")
    }
    guard own.name.asciiLowercased() == account.name.asciiLowercased() else {
      throw AccountMismatch(
        user, "has a vault.json of another vault, which belongs to \(own.name) (uid \(own.user))",
        "restore the one that belongs there from a backup")
    }
    throw AccountMismatch(
      user,
      "belongs to \(own.name) (uid \(own.user)), not to \(account.name) (uid "
        + "\(account.user)): names that differ in case only have one vault",
      "rename one of the accounts, then the vault with: cryptohome rename \(own.name) NEW")
  }

  /// The vault of an account that was renamed: of the same uid, under a name that no passwd entry has
  /// any more. A file that cannot be read is passed over: this is for a message.
  static func requireNoneUnderFormerName(of account: Account?, _ layout: Layout) throws {
    guard let account, let shadow = try UserDirectory.shadow(layout) else { return }
    for user in try shadow.names().compactMap({ ObfuscatedUsername($0) }) {
      guard let record = readable(of: user, in: shadow),
        let own = record.identity?.account, own.user == account.user,
        own.name != account.name, try Account.named(own.name) == nil
      else { continue }
      try record.require(account, of: user)
    }
  }

  /// Checks the account part with the vault's key. A file of version 1 has none.
  func requireSeal(_ key: borrowing Secret, path: FilePath) throws {
    guard let identity, !identity.isSealed(with: key, claim),
      !identity.isSealedFormerly(with: key, claim)
    else { return }
    throw Refusal(
      path: path,
      reason: "names an account that was not sealed with the key of this vault: somebody has "
        + "changed the file; restore it from a backup")
  }
}

extension Username {
  /// The passwd entry that is meant: of the name as given, or else in lower case; for a hash of the
  /// account that its vault names.
  func account(_ record: VaultFile?) throws -> Account? {
    switch self {
    case .name(let name): return try Account.loggingIn(as: name)
    case .hash: return try (record?.identity?.account.name).flatMap { try Account.named($0) }
    }
  }
}
