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
  public let label: String
  /// In bytes: the memory that a guess at the password takes.
  public let memory: Int
}

/// The passwords of a user's encrypted vault. Whoever changes them knows one; nothing is encrypted
/// anew, and each change is there as a whole or not at all.
public enum VaultKeys {
  public static func list(of user: ObfuscatedUsername, _ layout: Layout) throws -> [KeyDescription]
  {
    try file(of: user, layout).slots.map {
      KeyDescription(label: $0.label, memory: 128 * $0.scrypt.n * $0.scrypt.r)
    }
  }

  /// Replaces the password `old` of one slot: that of `label`, or the first that it opens.
  ///
  /// - Returns: the slot's label.
  @discardableResult
  public static func change(
    of user: ObfuscatedUsername, _ layout: Layout, label: KeyLabel? = nil,
    from old: borrowing Secret, to new: borrowing Secret
  ) throws -> String {
    let file = try file(of: user, layout)
    let opened = try open(file, of: user, label: label, with: old)
    var changed = file
    guard let name = KeyLabel(file.slots[opened.index].label) else {
      throw WrongPassword(label: nil)
    }
    changed.slots[opened.index] = try KeySlot(
      wrapping: opened.key, under: new, label: name, of: user, file.policy.key,
      cost: .calibrated())
    try replace(file, with: changed, of: user, layout)
    return name.description
  }

  /// Adds a slot for the password `new`.
  ///
  /// - Parameter password: one that opens the vault already.
  public static func add(
    _ label: KeyLabel, of user: ObfuscatedUsername, _ layout: Layout,
    knowing password: borrowing Secret, new: borrowing Secret
  ) throws {
    let file = try file(of: user, layout)
    guard !file.slots.contains(where: { $0.label == label.description }) else {
      throw Refusal(path: user.description, reason: "has a key of the label \(label) already")
    }
    guard file.slots.count < VaultFile.slotLimit else {
      throw Refusal(
        path: user.description,
        reason: "has \(file.slots.count) keys, which is as many as a vault can have; remove one")
    }
    let opened = try open(file, of: user, label: nil, with: password)
    var changed = file
    changed.slots.append(
      try KeySlot(
        wrapping: opened.key, under: new, label: label, of: user, file.policy.key,
        cost: .calibrated()))
    try replace(file, with: changed, of: user, layout)
  }

  /// Removes a slot. It takes no password: root can take access away, but not gain it.
  public static func remove(
    _ label: KeyLabel, of user: ObfuscatedUsername, _ layout: Layout
  ) throws {
    let file = try file(of: user, layout)
    var changed = file
    changed.slots.removeAll { $0.label == label.description }
    guard changed != file else {
      throw Refusal(path: user.description, reason: "has no key of the label \(label)")
    }
    guard !changed.slots.isEmpty else {
      throw Refusal(
        path: user.description,
        reason:
          "has no other key than \(label), and without one nobody could open the vault again; "
          + "add another first, or remove the vault")
    }
    try replace(file, with: changed, of: user, layout)
  }

  /// The key of the vault, which `password` opens.
  static func key(
    of user: ObfuscatedUsername, _ layout: Layout, label: KeyLabel?,
    with password: borrowing Secret
  ) throws -> Secret {
    try open(file(of: user, layout), of: user, label: label, with: password).intoKey()
  }

  private struct Opened: ~Copyable {
    let index: Int
    let key: Secret
    consuming func intoKey() -> Secret { key }
  }

  /// Tries the slot of `label`, or the first three. A label that is not there takes as long as a
  /// password that is not right.
  private static func open(
    _ file: VaultFile, of user: ObfuscatedUsername, label: KeyLabel?,
    with password: borrowing Secret
  ) throws -> Opened {
    let indices =
      label.map { label in file.slots.indices.filter { file.slots[$0].label == label.description } }
      ?? Array(file.slots.indices.prefix(3))
    for index in indices {
      let slot = file.slots[index]
      if let key = try slot.open(with: password, of: user, file.policy.key) {
        return Opened(index: index, key: key)
      }
    }
    if indices.isEmpty, let slot = file.slots.first {
      _ = try slot.scrypt.key(from: password, salt: slot.salt)
    }
    throw WrongPassword(label: label)
  }

  static func file(of user: ObfuscatedUsername, _ layout: Layout) throws -> VaultFile {
    switch try VaultKind.existing(of: user, layout) {
    case .fscrypt:
      guard let home = try UserDirectory.shadow(layout)?.existing(user.description) else { break }
      return try FscryptVault.file(in: home)
    case .some(let kind):
      throw Refusal(
        path: user.description,
        reason: "has a vault of the kind \(kind.rawValue), which takes no password")
    case nil: break
    }
    throw Refusal(
      path: user.description, reason: "has no vault; make one with cryptohome create")
  }

  /// Nobody else has changed the file since it was read, or this changes nothing.
  private static func replace(
    _ file: VaultFile, with changed: VaultFile, of user: ObfuscatedUsername, _ layout: Layout
  ) throws {
    try locked(user, layout) {
      guard let home = try UserDirectory.shadow(layout)?.existing(user.description),
        try FscryptVault.file(in: home) == file
      else {
        throw Refusal(
          path: user.description, reason: "somebody else changed the keys just now; try again")
      }
      try changed.write(in: home)
    }
  }
}
