import DaemonStore
import Glibc
import DaemonStoreKernel

/// Whether what is in an encrypted vault can be read: what the kernel says.
package enum VaultLock: String, Sendable {
  case locked
  case unlocked
  /// Nothing more can be opened, but what is open already can still be read.
  case busy

  fileprivate init(_ state: KeyState) {
    self =
      switch state {
      case .absent: .locked
      case .present: .unlocked
      case .busy: .busy
      }
  }
}

/// A directory that the kernel encrypts. The key is in the keyring of the file system while the user
/// is logged in, and nowhere else in clear.
struct FscryptVault: Vault {
  let home: UserHome

  var mountPoint: FilePath? { nil }
  func forget() -> [SystemError] { [] }
  func close() -> Removal? { nil }

  func open(with key: borrowing OpenedKey?) throws -> OpenVault {
    let file = try home.encryptedRecord()
    let made = try MadeHome(of: home)
    // What was read of it is true of this directory only.
    guard try home.place?.directory.status().identity == made.home.identity else {
      throw Refusal(path: home.path, reason: "was replaced just now; run this again")
    }
    let madeRepairs = made.repairs
    let place = OpenDirectory(made.home.opened())
    let keyring = try place.directory.file(".", flags: O_RDONLY | O_DIRECTORY)
    let identifier = try file.requirePolicy(shown: home.path).key
    if try keyring.encryptionKeyState(identifier, shown: home.path) != .present {
      switch key {
      case .none:
        throw Refusal(path: directory, reason: "is locked; it takes the user's password")
      case .some(let key):
        try file.requireSeal(key.key, path: home.path.appending(VaultFile.name))
        try Self.unlock(keyring, identifier, with: key.key, shown: directory)
      }
    }
    let mount = try OwnedDirectory(
      "mount", in: place.directory, owner: 0, group: 0, mode: 0o700)
    let repairs = madeRepairs + mount.repairs
    return OpenVault(directory: mount.opened(), home: place, repairs: repairs)
  }

  private static func unlock(
    _ keyring: borrowing Descriptor, _ identifier: KeyIdentifier, with key: borrowing Secret,
    shown: FilePath
  ) throws {
    let added = try keyring.addEncryptionKey(key, shown: shown)
    guard added == identifier else {
      _ = try keyring.removeEncryptionKey(added, shown: shown)
      throw Refusal(
        path: shown,
        reason: "is encrypted with the key \(identifier), but its vault.json holds "
          + "the key \(added); restore vault.json from a backup")
    }
  }

  /// nil, too, when vault.json cannot tell: what is mounted there is found all the same, and named.
  func coveredHome() -> FilePath? { home.readableRecord?.home }

  /// Takes the key away, and says what is left of it. Nothing of the vault may be open here.
  func lock() throws -> VaultLock? {
    try onKey { keyring, key throws(SystemError) in
      try keyring.removeEncryptionKey(key, shown: directory)
    }
  }

  func state() throws -> VaultLock? {
    try onKey { keyring, key throws(SystemError) in
      try keyring.encryptionKeyState(key, shown: directory)
    }
  }

  /// Asks the file system about the key that the directory is encrypted with. Where there is none,
  /// everything is locked.
  private func onKey(
    _ body: (borrowing Descriptor, KeyIdentifier) throws(SystemError) -> KeyState
  ) throws -> VaultLock {
    guard let place = home.place, let policy = try home.policy else { return .locked }
    let keyring = try place.directory.file(".", flags: O_RDONLY | O_DIRECTORY)
    return VaultLock(try body(keyring, policy.key))
  }

  /// Checks what vault.json in a user's directory says against the directory beside it.
  ///
  /// - Throws: ``Refusal`` when one of the two is missing, or they disagree: nothing is written in
  ///   clear in the place of what is encrypted.
  static func requireRecord(
    _ record: VaultFile?, of policy: EncryptionPolicy?, in home: borrowing Directory
  ) throws(Refusal) {
    let path = home.path(of: VaultFile.name)
    switch (record, policy) {
    case (nil, _):
      throw Refusal(
        path: path,
        reason: "is missing, and without it the vault beside it cannot be opened; restore it from "
          + "a backup")
    case (_, nil):
      throw Refusal(
        path: home.path(of: "mount"),
        reason: "is not encrypted, though \(VaultFile.name) says so; nothing is written there: "
          + "restore the encrypted directory, or move this user's away")
    case (let file?, let policy?):
      let own = try file.requirePolicy(shown: path)
      guard own == policy else {
        throw Refusal(
          path: path,
          reason: "is of another vault: the policy of the directory beside it names the key "
            + "\(policy.key), and this the key \(own.key); restore the one that belongs there")
      }
    }
  }

  /// What the encrypted directory `mount` names.
  static func policy(in home: borrowing Directory) throws -> EncryptionPolicy? {
    let mount = try home.file("mount", flags: O_RDONLY | O_DIRECTORY, crossingMounts: false)
    return try mount.encryptionPolicy(shown: home.path(of: "mount"))
  }
}

extension VaultFile {
  /// - Throws: ``Refusal`` for the file of a vault that is not encrypted.
  fileprivate func requirePolicy(shown: FilePath) throws(Refusal) -> EncryptionPolicy {
    guard let policy else {
      throw Refusal(
        path: shown,
        reason: "is of a \(kind.rawValue) vault, and the directory beside it is encrypted; restore "
          + "the one that belongs there")
    }
    return policy
  }
}

extension Directory {
  /// Opens the directory `name`; nil when there is none.
  func existing(_ name: FilePath) throws(SystemError) -> Directory? {
    do {
      return try directory(name)
    } catch  where error.code == ENOENT {
      return nil
    }
  }
}
