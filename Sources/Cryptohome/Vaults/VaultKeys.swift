import DaemonStore
import Glibc
import Kernel

/// No slot of the vault opens with this password.
public struct WrongPassword: Error, Equatable, CustomStringConvertible {
  /// The slot that was asked for.
  let label: KeyLabel?

  public var description: String {
    label.map { "wrong password, or no key of the label \($0)" } ?? "wrong password"
  }
}

/// A key slot, as a list shows it.
public struct KeyDescription: Equatable, Sendable {
  /// Of a password: what scrypt is given.
  public struct Work: Equatable, Sendable {
    public let n: Int
    public let r: Int
    public let p: Int
    /// In bytes: what a guess takes.
    public let memory: Int
    /// Less than is asked for today.
    public let isWeak: Bool
  }

  public let label: String
  public let type: String
  public let version: Int64
  /// nil for a key that is no password.
  public let work: Work?
  /// Seconds since 1970.
  public let created: Int64?
  public let lastUsed: Int64?

  init(_ slot: KeySlot) {
    label = slot.label.description
    type = slot.method.name
    version = slot.binding.version
    created = slot.created
    lastUsed = slot.lastUsed
    if case .password(let cost) = slot.method {
      work = Work(n: cost.n, r: cost.r, p: cost.p, memory: cost.memory, isWeak: cost.isWeak)
    } else {
      work = nil
    }
  }
}

/// What opens a vault: a password, or the bytes of a key file.
public struct Credential: ~Copyable {
  let secret: Secret
  let isRaw: Bool

  public static func password(_ secret: consuming Secret) -> Credential {
    Credential(secret: secret, isRaw: false)
  }

  /// - Throws: ``Refusal`` for a size that no key has.
  public static func keyFile(_ secret: consuming Secret) throws -> Credential {
    guard (32...64).contains(secret.count) else {
      throw Refusal(
        path: "key file", reason: "has \(secret.count) bytes; a key has 32 to 64 random ones")
    }
    return Credential(secret: secret, isRaw: true)
  }

  private init(secret: consuming Secret, isRaw: Bool) {
    self.secret = secret
    self.isRaw = isRaw
  }

  /// How a new slot is made of it. Takes time.
  func newMethod() throws -> KeyMethod { isRaw ? .raw : .password(try .calibrated()) }

  func fits(_ method: KeyMethod) -> Bool { isRaw == (method == .raw) }
}

/// A vault's key, and the file that opened with it.
struct OpenedKey: ~Copyable {
  let key: Secret
  /// As it was read.
  let file: VaultFile
  /// The slot that has opened.
  let index: Int
  /// What is to be written after a successful unlock: another slot, a later time of use.
  var changed: VaultFile
}

/// The keys of a user's encrypted vault. A change takes one that exists; nothing is encrypted anew, and
/// each change is there as a whole or not at all.
public enum VaultKeys {
  public static func list(of user: ObfuscatedUsername, _ layout: Layout) throws -> [KeyDescription]
  {
    try file(of: user, layout).slots.map { KeyDescription($0) }
  }

  /// Replaces the password `old` of one slot: that of `label`, or the first that it opens.
  ///
  /// - Returns: the slot's label.
  @discardableResult
  public static func change(
    of username: Username, _ layout: Layout, by requester: KeyRequester = .root,
    label: KeyLabel? = nil, from old: borrowing Credential, to new: borrowing Credential
  ) throws -> String {
    let (user, account) = try require(username, layout)
    let path: FilePath = "\(layout.shadow)/\(user)/\(VaultFile.name)"
    return try DerivationLimit.hold(for: user, requester, layout) {
      let opened = try open(file(of: user, layout), of: user, label: label, with: old)
      var changed = try opened.file.upgraded(with: opened.key, account, path: path)
      let former = opened.file.slots[opened.index]
      changed.slots[opened.index] = try changed.newSlot(
        opened.key, under: new, label: former.label, of: user)
      try replace(opened.file, with: changed, of: user, layout)
      return former.label.description
    }
  }

  /// Adds a slot for `new`.
  ///
  /// - Parameter known: what opens the vault already.
  public static func add(
    _ label: KeyLabel, of username: Username, _ layout: Layout, by requester: KeyRequester = .root,
    knowing known: borrowing Credential, new: borrowing Credential
  ) throws {
    let (user, account) = try require(username, layout)
    let file = try file(of: user, layout)
    guard !file.slots.contains(where: { $0.label == label }) else {
      throw Refusal(path: user.path, reason: "has a key of the label \(label) already")
    }
    guard file.slots.count < VaultFile.slotLimit else {
      throw Refusal(
        path: user.path,
        reason: "has \(file.slots.count) keys, which is as many as a vault can have; remove one")
    }
    let path: FilePath = "\(layout.shadow)/\(user)/\(VaultFile.name)"
    try DerivationLimit.hold(for: user, requester, layout) {
      let opened = try open(file, of: user, label: nil, with: known)
      var changed = try file.upgraded(with: opened.key, account, path: path)
      changed.slots.append(try changed.newSlot(opened.key, under: new, label: label, of: user))
      try replace(file, with: changed, of: user, layout)
    }
  }

  /// Removes a slot. It takes no password: root can take access away, but not gain it.
  public static func remove(
    _ label: KeyLabel, of username: Username, _ layout: Layout
  ) throws {
    let (user, _) = try require(username, layout)
    let file = try file(of: user, layout)
    var changed = file
    changed.slots.removeAll { $0.label == label }
    guard changed != file else {
      throw Refusal(path: user.path, reason: "has no key of the label \(label)")
    }
    guard !changed.slots.isEmpty else {
      throw Refusal(
        path: user.path,
        reason:
          "has no other key than \(label), and without a key the vault can never be opened again; "
          + "add another first, or remove the vault")
    }
    try replace(file, with: changed, of: user, layout)
  }

  /// The user, and the passwd entry that the vault belongs to.
  static func require(
    _ username: Username, _ layout: Layout
  ) throws -> (user: ObfuscatedUsername, account: VaultAccount?) {
    let user: ObfuscatedUsername
    switch username {
    case .hash(let hash): user = hash
    case .name(let name): user = try ObfuscatedUsername(of: name, salt: .read(layout))
    }
    let record = try VaultFile.existing(of: user, layout)
    let account = try username.account(record)
    if case .name = username { try record?.require(account, of: user) }
    return (user, VaultAccount(username, account, record?.owner))
  }

  /// The key of the vault, which `credential` opens, and what to write then: the file of version 2, a new
  /// slot in the place of one that is outdated, and the day of use.
  ///
  /// - Parameter account: that a file of version 1 gets.
  static func key(
    of user: ObfuscatedUsername, _ layout: Layout, by requester: KeyRequester, label: KeyLabel?,
    _ account: VaultAccount?, with credential: borrowing Credential
  ) throws -> OpenedKey {
    let path: FilePath = "\(layout.shadow)/\(user)/\(VaultFile.name)"
    return try DerivationLimit.hold(for: user, requester, layout) {
      var opened = try open(file(of: user, layout), of: user, label: label, with: credential)
      var changed = try opened.file.upgraded(with: opened.key, account, path: path)
      guard changed.identity != nil else { return opened }
      let former = changed.slots[opened.index]
      if former.isOutdated {
        changed.slots[opened.index] = try changed.newSlot(
          opened.key, under: credential, label: former.label, of: user)
        changed.slots[opened.index].created = former.created
      }
      let now = secondsNow()
      if now / 86_400 != former.lastUsed.map({ $0 / 86_400 }) {
        changed.slots[opened.index].lastUsed = now
      } else {
        changed.slots[opened.index].lastUsed = former.lastUsed
      }
      opened.changed = changed
      return opened
    }
  }

  /// Tries the slot of `label`, or the first three that such a credential can open. A label that is not
  /// there takes as long as a password that is not right.
  static func open(
    _ file: VaultFile, of user: ObfuscatedUsername, label: KeyLabel?,
    with credential: borrowing Credential
  ) throws -> OpenedKey {
    guard let identifiers = file.identifiers else { throw WrongPassword(label: label) }
    let fitting = file.slots.indices.filter { credential.fits(file.slots[$0].method) }
    let indices =
      label.map { label in fitting.filter { file.slots[$0].label == label } }
      ?? Array(fitting.prefix(3))
    for index in indices {
      let slot = file.slots[index]
      if let key = try slot.open(with: credential.secret, in: identifiers) {
        return OpenedKey(key: key, file: file, index: index, changed: file)
      }
    }
    if indices.isEmpty, let slot = fitting.first { try file.slots[slot].pretend(credential.secret) }
    throw WrongPassword(label: label)
  }

  static func file(of user: ObfuscatedUsername, _ layout: Layout) throws -> VaultFile {
    switch try VaultKind.existing(of: user, layout) {
    case .fscrypt:
      guard let home = try UserDirectory.shadow(layout)?.existing(user.path) else { break }
      return try FscryptVault.file(in: home)
    case .some(let kind):
      throw Refusal(
        path: user.path,
        reason: "has a vault of the kind \(kind.rawValue), which takes no password")
    case nil: break
    }
    throw Refusal(
      path: user.path, reason: "has no vault; make one with cryptohome create")
  }

  /// Writes the file unless another command has changed it since it was read.
  static func replace(
    _ file: VaultFile, with changed: VaultFile, of user: ObfuscatedUsername, _ layout: Layout
  ) throws {
    try locked(user, layout) {
      guard let home = try UserDirectory.shadow(layout)?.existing(user.path),
        try FscryptVault.file(in: home) == file
      else {
        throw Refusal(
          path: user.path, reason: "another command changed the keys just now; try again")
      }
      try changed.write(in: home)
    }
  }
}

extension VaultFile {
  /// A slot of this vault.
  func newSlot(
    _ key: borrowing Secret, under credential: borrowing Credential, label: KeyLabel,
    of user: ObfuscatedUsername
  ) throws -> KeySlot {
    guard let identifiers else {
      throw SystemError(operation: "make key slot", path: nil, code: EINVAL)
    }
    return try KeySlot(
      wrapping: key, under: credential.secret, credential.newMethod(), label: label,
      in: identifiers, identity == nil ? .user(user) : .vault)
  }

  /// The file as version 2 has it, with a seal of the present account: where an account is known.
  ///
  /// - Throws: ``Refusal`` for an account part that the key has not sealed.
  func upgraded(
    with key: borrowing Secret, _ account: VaultAccount?, path: FilePath
  ) throws -> VaultFile {
    try requireSeal(key, path: path)
    var file = self
    if let identity {
      guard identity.account.sealedName != nil else { return file }
      file.identity?.seal(with: key, kind, owner)
      return file
    }
    guard let account else { return self }
    file.identity = VaultIdentity(of: account)
    file.identity?.seal(with: key, kind, owner)
    return file
  }
}
