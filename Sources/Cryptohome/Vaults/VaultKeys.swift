import DaemonStore
import Glibc
import DaemonStoreKernel

/// No slot of the vault opens with this password, or with this key file.
package struct WrongPassword: Error, Equatable, CustomStringConvertible {
  /// The slot that was asked for.
  let label: KeyLabel?
  var isKeyFile = false
  /// Whether the vault has more passwords than were tried.
  var isPartial = false

  package var description: String {
    let what = isKeyFile ? "wrong key file" : "wrong password"
    if let label { return "\(what), or no key of the label \(label)" }
    guard isPartial else { return what }
    return "\(what); the first \(VaultKeys.triedPasswords) passwords were tried: name another with "
      + "--label"
  }
}

/// A key slot, as a list shows it.
package struct KeyDescription: Equatable, Sendable {
  /// Of a password: what scrypt is given.
  package struct Work: Equatable, Sendable {
    package let n: Int
    package let r: Int
    package let p: Int
    /// In bytes: what a guess takes.
    package let memory: Int
    /// Less than is asked for today.
    package let isWeak: Bool
  }

  package let label: String
  package let type: String
  package let version: Int64
  /// nil for a key that is no password.
  package let work: Work?
  /// Seconds since 1970.
  package let created: Int64?
  package let lastUsed: Int64?

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

/// What a change of a password did.
package struct KeyChange: Equatable, Sendable {
  /// Of the password.
  package let label: KeyLabel
  /// Whether there was none before.
  package let isAdded: Bool
  /// That of the key file that has opened the vault, if one did.
  package let fileLabel: KeyLabel?
}

/// What opens a vault: a password, or the bytes of a key file.
package struct Credential: ~Copyable {
  let secret: Secret
  let isRaw: Bool

  package static func password(_ secret: consuming Secret) -> Credential {
    Credential(secret: secret, isRaw: false)
  }

  /// - Parameter path: where the bytes are from.
  /// - Throws: ``Refusal`` for a size that no key has.
  package static func keyFile(_ secret: consuming Secret, at path: FilePath) throws -> Credential {
    guard (32...64).contains(secret.count) else {
      throw Refusal(
        path: path,
        reason: (secret.count > 64 ? "has more than 64 bytes" : "has \(secret.count) bytes")
          + ", so it is no key file; a key has 32 to 64 random bytes")
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

  /// Whether the slot that has opened is in this file too, whatever was recorded of its use.
  func isOf(_ other: VaultFile?) -> Bool {
    guard let other, other.policy == file.policy else { return false }
    var own = file.slots[index]
    return other.slots.contains { slot in
      own.lastUsed = slot.lastUsed
      return own == slot
    }
  }
}

/// The keys of a user's encrypted vault. A change takes one that exists; nothing is encrypted anew, and
/// each change is there as a whole or not at all.
package struct VaultKeys {
  /// What messages call the user.
  private let username: Username
  private let requester: KeyRequester
  /// As it was when this was made, without the user's lock.
  private let home: UserHome

  /// - Throws: ``Refusal`` for a user without an encrypted vault.
  package init(
    of username: Username, in layout: Layout, by requester: KeyRequester = .root
  ) throws {
    self.init(
      in: UserHome(of: try username.resolve(in: layout), in: layout), of: username, by: requester)
    _ = try file(home)
  }

  init(in home: UserHome, of username: Username, by requester: KeyRequester) {
    self.username = username
    self.requester = requester
    self.home = home
  }

  package func list() throws -> [KeyDescription] {
    try file(home).slots.map { KeyDescription($0) }
  }

  /// Sets a new password. With the old password that one is replaced: that of `label`, or the first that
  /// it opens. With a key file, whose own slot stays, the password of `label`, or the first one; where
  /// there is none, a password is added.
  @discardableResult
  package func change(
    _ label: KeyLabel? = nil, from old: borrowing Credential, to new: borrowing Credential
  ) throws -> KeyChange {
    try update { read, claim in
      let target = old.isRaw ? try read.passwordSlot(label, shown: username) : nil
      let opened = try Self.open(read, label: old.isRaw ? nil : label, with: old)
      var changed = try read.upgraded(with: opened.key, claim, path: filePath)
      let index = old.isRaw ? target : opened.index
      let name = try index.map { changed.slots[$0].label } ?? changed.freeLabel(shown: username)
      let slot = try changed.newSlot(opened.key, under: new, label: name, of: home.user)
      if let index { changed.slots[index] = slot } else { changed.slots.append(slot) }
      return (
        changed,
        KeyChange(
          label: name, isAdded: index == nil,
          fileLabel: old.isRaw ? read.slots[opened.index].label : nil)
      )
    }
  }

  /// Adds a slot for `new`.
  ///
  /// - Parameter known: what opens the vault already.
  package func add(
    _ label: KeyLabel, knowing known: borrowing Credential, new: borrowing Credential
  ) throws {
    try update { read, claim in
      guard !read.slots.contains(where: { $0.label == label }) else {
        throw Refusal(path: username.path, reason: "has a key of the label \(label) already")
      }
      guard read.slots.count < VaultFile.slotLimit else {
        throw Refusal(
          path: username.path,
          reason: "has \(read.slots.count) keys, which is as many as a vault can have; remove one")
      }
      let opened = try Self.open(read, label: nil, with: known)
      var changed = try read.upgraded(with: opened.key, claim, path: filePath)
      changed.slots.append(try changed.newSlot(opened.key, under: new, label: label, of: home.user))
      return (changed, ())
    }
  }

  /// Removes a slot. It takes no password: root can take access away, but not gain it.
  package func remove(_ label: KeyLabel) throws {
    _ = try claim(home)
    let locked = try LockedHome(of: home.user, in: home.layout)
    var changed = try file(locked.home)
    let count = changed.slots.count
    changed.slots.removeAll { $0.label == label }
    guard changed.slots.count < count else {
      throw Refusal(path: username.path, reason: "has no key of the label \(label)")
    }
    guard !changed.slots.isEmpty else {
      throw Refusal(
        path: username.path,
        reason:
          "has no other key than \(label), and without a key the vault can never be opened again; "
          + "add another first, or remove the vault")
    }
    try locked.write(changed)
  }

  /// The key of the vault, which `credential` opens, and what to write then: the file of version 2, a new
  /// slot in the place of one that is outdated, and the day of use.
  ///
  /// - Parameter account: that a file of version 1 gets.
  func unlock(
    _ label: KeyLabel?, with credential: borrowing Credential, for account: VaultAccount?
  ) throws -> OpenedKey {
    try DerivationLimit.hold(for: home.user, requester, home.layout) {
      var opened = try Self.open(file(home), label: label, with: credential)
      var changed = try opened.file.upgraded(with: opened.key, account, path: filePath)
      guard changed.identity != nil else { return opened }
      let former = changed.slots[opened.index]
      if former.isOutdated {
        changed.slots[opened.index] = try changed.newSlot(
          opened.key, under: credential, label: former.label, of: home.user)
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

  /// Writes what `body` makes of the file. That takes long, so it is done before the user's lock is
  /// taken, and again when another command has changed the file meanwhile: no change is lost.
  private func update<Value>(
    _ body: (VaultFile, VaultAccount?) throws -> (changed: VaultFile, value: Value)
  ) throws -> Value {
    for _ in 1...Self.rounds {
      let (read, made) = try DerivationLimit.hold(for: home.user, requester, home.layout) {
        let now = UserHome(of: home.user, in: home.layout)
        let read = try file(now)
        return try (read, body(read, claim(now)))
      }
      let locked = try LockedHome(of: home.user, in: home.layout)
      guard try file(locked.home) == read else { continue }
      try locked.write(made.changed)
      return made.value
    }
    throw Refusal(
      path: username.path, reason: "other commands change the keys all the time; try again")
  }

  /// How often that is tried.
  private static let rounds = 4

  private var filePath: FilePath { home.path.appending(VaultFile.name) }

  /// The account that the vault belongs to, which must be that of the name.
  private func claim(_ home: UserHome) throws -> VaultAccount? {
    let record = try home.record
    let account = try username.account(record)
    if case .name = username { try record?.require(account, of: home.user) }
    return VaultAccount(username, account, record?.owner)
  }

  private func file(_ home: UserHome) throws -> VaultFile {
    switch try home.kind {
    case .fscrypt: return try home.encryptedRecord()
    case .some(let kind):
      throw Refusal(
        path: username.path,
        reason: "has a vault of the kind \(kind.rawValue), which takes no password")
    case nil: throw username.withoutVault("make one with cryptohome create")
    }
  }

  /// How many passwords are tried without a label: each takes memory and time.
  static let triedPasswords = 3

  /// Tries the slot of `label`; or all that a key file can open, or the first three passwords. A label that
  /// is not there takes as long as a password that is not right.
  static func open(
    _ file: VaultFile, label: KeyLabel?, with credential: borrowing Credential
  ) throws -> OpenedKey {
    let isRaw = credential.isRaw
    guard let identifiers = file.identifiers else {
      throw WrongPassword(label: label, isKeyFile: isRaw)
    }
    let fitting = file.slots.indices.filter { credential.fits(file.slots[$0].method) }
    let indices =
      label.map { label in fitting.filter { file.slots[$0].label == label } }
      ?? Array(fitting.prefix(isRaw ? fitting.count : triedPasswords))
    for index in indices {
      let slot = file.slots[index]
      if let key = try slot.open(with: credential.secret, in: identifiers) {
        return OpenedKey(key: key, file: file, index: index, changed: file)
      }
    }
    if indices.isEmpty, let slot = fitting.first { try file.slots[slot].pretend(credential.secret) }
    throw WrongPassword(
      label: label, isKeyFile: isRaw, isPartial: label == nil && indices.count < fitting.count)
  }
}

extension VaultFile {
  /// The slot of a password: of `label`, or the first. nil where there is none.
  fileprivate func passwordSlot(_ label: KeyLabel?, shown username: Username) throws -> Int? {
    guard let label else {
      return slots.firstIndex { if case .password = $0.method { true } else { false } }
    }
    guard let index = slots.firstIndex(where: { $0.label == label }) else {
      throw Refusal(
        path: username.path,
        reason: "has no key of the label \(label); add one with: cryptohome key add")
    }
    guard case .password = slots[index].method else {
      throw Refusal(
        path: username.path,
        reason: "has a key file of the label \(label), and no password; name a password, or none")
    }
    return index
  }

  /// A label for a password that is added without one.
  fileprivate func freeLabel(shown username: Username) throws -> KeyLabel {
    let names = [KeyLabel.first] + (2...Self.slotLimit).compactMap { KeyLabel("password-\($0)") }
    guard slots.count < Self.slotLimit,
      let free = names.first(where: { name in !slots.contains { $0.label == name } })
    else {
      throw Refusal(
        path: username.path,
        reason: "has \(slots.count) keys, which is as many as a vault can have; remove one")
    }
    return free
  }

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
      guard identity.account.sealedName != nil || !identity.isSealed(with: key, claim) else {
        return file
      }
      file.seal(with: key)
      return file
    }
    guard let account else { return self }
    file.identity = VaultIdentity(of: account)
    file.seal(with: key)
    return file
  }
}
