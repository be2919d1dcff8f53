import DaemonStore
import Glibc
import DaemonStoreKernel

/// The encrypted vaults of this machine, one file each in `/var/lib/daemon-store/vaults`, beside the
/// salt. An attacker who has only the disk below `/home` cannot put a directory in clear in the place
/// of a vault that is recorded here.
enum VaultRegister {
  private static let parent: FilePath = "var/lib"
  private static let place: FilePath = "daemon-store/vaults"

  static func path(of user: ObfuscatedUsername, _ layout: Layout) -> FilePath {
    "\(layout.below("\(parent)/\(place)"))/\(user)"
  }

  /// Every user with a recorded vault.
  static func all(_ layout: Layout) throws -> [ObfuscatedUsername] {
    guard let vaults = try existing(layout) else { return [] }
    return try vaults.names().compactMap { ObfuscatedUsername($0) }
  }

  /// Whether the user has, or had, an encrypted vault. That the file is there is what counts.
  static func isRecorded(_ user: ObfuscatedUsername, _ layout: Layout) throws -> Bool {
    try existing(layout)?.status(of: user.path) != nil
  }

  /// Records an encrypted vault. The record is on the disk when this returns.
  static func record(_ file: VaultFile, of user: ObfuscatedUsername, _ layout: Layout) throws {
    guard file.kind == .fscrypt else { return }
    let library = try Directory(opening: layout.root).trusted(parent)
    let own = try OwnedDirectory("daemon-store", in: library, owner: 0, group: 0, mode: 0o755)
    let vaults = try OwnedDirectory(
      "vaults", in: own.directory, owner: 0, group: 0, mode: 0o700
    ).opened()
    let bytes = contents(file)
    if let status = try vaults.status(of: user.path), status.mode & S_IFMT == S_IFREG,
      try vaults.file(user.path, flags: O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
        .read(atMost: bytes.count, shown: vaults.path(of: user.path)) == bytes
    {
      return
    }
    try vaults.replaceFile(user.path, with: bytes, mode: 0o600)
    if own.isNew { try library.sync() }
    try own.directory.sync()
  }

  /// Removes the record, if there is one.
  static func forget(_ user: ObfuscatedUsername, _ layout: Layout) throws {
    guard let vaults = try existing(layout), try vaults.status(of: user.path) != nil else {
      return
    }
    try vaults.removeFile(user.path)
    try vaults.sync()
  }

  /// - Throws: ``Refusal`` where an encrypted vault is recorded, and what is at its place is not
  ///   encrypted, or nothing is there.
  static func requireNone(
    of user: ObfuscatedUsername, _ layout: Layout, present: Bool
  ) throws {
    guard try isRecorded(user, layout) else { return }
    throw Refusal(
      path: "\(layout.shadow)/\(user)",
      reason: (present
        ? "is not encrypted, and the vault of this user was, by \(path(of: user, layout)): restore "
          + "the encrypted vault from a backup"
        : "is missing, and \(path(of: user, layout)) records an encrypted vault: mount the file "
          + "system that has it, or restore it from a backup")
        + "; to give it up, run: cryptohome remove \(user)")
  }

  /// Moves the record to another name of the user.
  static func rename(
    _ file: VaultFile, from old: ObfuscatedUsername, to new: ObfuscatedUsername, _ layout: Layout,
    _ body: () throws -> Void
  ) throws {
    // Both for a moment: an interruption leaves no vault without a record.
    if try isRecorded(old, layout) { try record(file, of: new, layout) }
    try body()
    try forget(old, layout)
  }

  private static func existing(_ layout: Layout) throws(SystemError) -> Directory? {
    try Directory(opening: layout.root).existing("\(parent)/\(place)")
  }

  private static func contents(_ file: VaultFile) -> [UInt8] {
    var members: [[UInt8]: JSON] = [
      Array("version".utf8): .number(1), Array("kind".utf8): .text(file.kind.rawValue),
    ]
    if let identity = file.identity { members[Array("id".utf8)] = .text(hexadecimal(identity.id)) }
    return JSON.object(members).bytes
  }
}

extension VaultFile {
  /// Records an encrypted vault that its key has opened outside of `/home`, and the salt that it is named
  /// with beside it.
  func remember(
    _ user: ObfuscatedUsername, in shadow: borrowing Directory, _ layout: Layout
  ) throws {
    try VaultRegister.record(self, of: user, layout)
    guard let name = identity?.account.name,
      let salt = (try? Salt.existing(layout)) ?? nil,
      try ObfuscatedUsername(of: name, salt: salt) == user
    else { return }
    try salt.keepCopy(in: shadow)
  }
}
