import DaemonStore
import Glibc
import DaemonStoreKernel

/// `/home/.shadow/H/vault.json`: what the vault beside it is, whose it is, and the slots that its key
/// lies in. It appears and changes as a whole, and is on the disk when the call returns.
struct VaultFile: Equatable {
  static let name: FilePath = "vault.json"
  static let slotLimit = 32
  static let sizeLimit = 1 << 20

  var kind: VaultKind
  /// nil for a file of version 1.
  var identity: VaultIdentity?
  /// Of an encrypted vault.
  var policy: EncryptionPolicy?
  /// Of the files of a user without a passwd entry.
  var owner: Owner?
  /// The passwd home directory, if `mount/user` is to be shown over it.
  var home: FilePath?
  /// Of the directory that was there before the vault, and lies in `before`.
  var before: HomeAttributes?
  var slots: [KeySlot] = []
  /// Members that this version does not know, kept as they are.
  var others: [[UInt8]: JSON] = [:]

  init(kind: VaultKind, identity: VaultIdentity?) {
    self.kind = kind
    self.identity = identity
  }

  /// What its slots are bound to; nil for a vault without a key.
  var identifiers: VaultIdentifiers? {
    policy.map { VaultIdentifiers(id: identity?.id, policy: $0.key) }
  }

  /// Reads the one in a user's directory; nil when there is none.
  ///
  /// - Throws: ``Refusal`` for what is no such file, or of a version or kind that is not known.
  static func read(in directory: borrowing Directory) throws -> VaultFile? {
    guard let status = try directory.status(of: name) else { return nil }
    let path = directory.path(of: name)
    guard status.mode & S_IFMT == S_IFREG else {
      throw Refusal(path: path, reason: "is \(status.kind), not a vault's file")
    }
    let file = try directory.file(name, flags: O_RDONLY | O_NONBLOCK | O_NOFOLLOW)
    guard let bytes = try file.read(atMost: sizeLimit, shown: path) else {
      throw Refusal(path: path, reason: "is larger than 1 MiB, so it is no vault's file")
    }
    return try VaultFile(bytes, path: path, in: directory.path)
  }

  /// Reads the one of a user, without a look at the vault beside it; nil when it cannot be read.
  static func readable(
    of user: ObfuscatedUsername, in shadow: borrowing Directory
  ) -> VaultFile? {
    do {
      guard let home = try shadow.existing(user.path) else { return nil }
      return try read(in: home)
    } catch {
      return nil
    }
  }

  /// Puts it into a user's directory, in the place of the one that is there: root 0600, whole or
  /// not at all. What the old one held is overwritten.
  func write(in directory: borrowing Directory) throws {
    try directory.replaceFile(Self.name, with: encoded.bytes, mode: 0o600)
  }
}

/// Owner and mode of a home directory.
struct HomeAttributes: Equatable {
  var owner: Owner
  var mode: mode_t
}
