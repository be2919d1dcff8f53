import Crypto
import DaemonStore
import FoundationEssentials
import Glibc
import DaemonStoreKernel

/// What a key slot is called: `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 64 characters.
package struct KeyLabel: Hashable, Sendable, CustomStringConvertible {
  package let description: String

  /// Of the slot that a vault begins with.
  package static let first = KeyLabel(unchecked: "password")

  /// The same, of a vault that begins with a key file.
  package static let firstFile = KeyLabel(unchecked: "key-file")

  private init(unchecked text: String) { description = text }

  package init?(_ text: String) {
    guard (1...64).contains(text.utf8.count), let first = text.utf8.first,
      Self.isAlphanumeric(first),
      text.utf8.allSatisfy({ Self.isAlphanumeric($0) || "._-".utf8.contains($0) })
    else { return nil }
    description = text
  }

  /// The same from bytes.
  init?(_ bytes: [UInt8]) {
    guard let text = String(validating: bytes, as: UTF8.self) else { return nil }
    self.init(text)
  }

  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
  }
}

/// What opens a slot.
enum KeyMethod: Equatable {
  /// A password, made into a key by scrypt.
  case password(ScryptCost)
  /// The bytes of a key file, which are random.
  case raw

  var name: String {
    switch self {
    case .password: "password"
    case .raw: "raw"
    }
  }
}

/// What a slot belongs to, and is authenticated with.
enum SlotBinding: Equatable {
  /// The identifier of the vault. It stays the same when the vault is renamed.
  case vault
  /// A slot of version 1: the user's hash at that time, which needs not be the present one.
  case user(ObfuscatedUsername)

  var version: Int64 { self == .vault ? 2 : 1 }
}

/// The vault's key, wrapped with AES-256-GCM under a key that is made of a password or a key file. It
/// opens under its own identifier, type and label, in its own vault only.
struct KeySlot: Equatable {
  static let idSize = 16

  var id: [UInt8]
  var label: KeyLabel
  var method: KeyMethod
  var salt: [UInt8]
  /// Nonce, ciphertext and tag.
  var wrapped: [UInt8]
  var binding = SlotBinding.vault
  /// Seconds since 1970; nil for a slot of version 1.
  var created: Int64?
  /// Seconds since 1970, of the first use on that day; nil for a slot that was not used.
  var lastUsed: Int64?
  /// Members that this version does not know, kept as they are.
  var others: [[UInt8]: JSON] = [:]

  /// Wraps `key` anew, with a salt and a nonce of its own.
  init(
    wrapping key: borrowing Secret, under secret: borrowing Secret, _ method: KeyMethod,
    label: KeyLabel, in vault: VaultIdentifiers, _ binding: SlotBinding = .vault
  ) throws {
    self.binding = binding
    id = randomBytes(Self.idSize)
    self.label = label
    self.method = method
    salt = randomBytes(32)
    created = secondsNow()
    wrapped = []
    let wrapper = try wrapper(from: secret)
    let bound = try bound(to: vault)
    let box = try key.withData { try AES.GCM.seal($0, using: wrapper, authenticating: bound) }
    guard let combined = box.combined else { throw CryptoKitError.incorrectParameterSize }
    wrapped = Array(combined)
  }

  /// As it was read from a file.
  init(
    id: [UInt8], label: KeyLabel, method: KeyMethod, salt: [UInt8], wrapped: [UInt8],
    binding: SlotBinding
  ) {
    self.id = id
    self.label = label
    self.method = method
    self.salt = salt
    self.wrapped = wrapped
    self.binding = binding
  }

  /// The vault's key; nil when the slot does not open.
  func open(with secret: borrowing Secret, in vault: VaultIdentifiers) throws -> Secret? {
    let wrapper = try wrapper(from: secret)
    let bound = try bound(to: vault)
    guard let box = try? AES.GCM.SealedBox(combined: wrapped),
      var key = try? AES.GCM.open(box, using: wrapper, authenticating: bound)
    else { return nil }
    defer { key.resetBytes(in: key.startIndex..<key.endIndex) }
    return Secret(copying: key)
  }

  /// The work of an attempt, without a result.
  func pretend(_ secret: borrowing Secret) throws { _ = try wrapper(from: secret) }

  private func wrapper(from secret: borrowing Secret) throws -> SymmetricKey {
    switch method {
    case .password(let cost): try cost.key(from: secret, salt: Data(salt))
    case .raw:
      secret.withData {
        HKDF<SHA256>.deriveKey(
          inputKeyMaterial: SymmetricKey(data: $0), salt: salt,
          info: Data("daemon-store raw key".utf8), outputByteCount: 32)
      }
    }
  }

  /// What a slot must not be moved away from.
  private func bound(to vault: VaultIdentifiers) throws -> Data {
    switch binding {
    case .vault:
      guard let vault = vault.id else {
        throw SystemError(operation: "bind key slot", path: nil, code: EINVAL)
      }
      let parts = [hexadecimal(vault), hexadecimal(id), method.name, label.description]
      return Data("daemon-store vault 2\0\(parts.joined(separator: "\0"))".utf8)
    case .user(let user):
      return Data("daemon-store vault 1\0\(user)\0\(vault.policy)\0\(label)".utf8)
    }
  }

  /// Whether the slot is of an older version, or takes less work to guess than is asked for today.
  var isOutdated: Bool {
    if binding != .vault { return true }
    if case .password(let cost) = method { return cost.isWeak }
    return false
  }
}

/// What the slots of a vault are bound to.
struct VaultIdentifiers {
  /// nil for a vault of version 1.
  var id: [UInt8]?
  var policy: KeyIdentifier
}

/// Of the kernel's generator.
func randomBytes(_ count: Int) -> [UInt8] {
  var random = SystemRandomNumberGenerator()
  return (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &random) }
}

/// Seconds since 1970.
func secondsNow() -> Int64 { Int64(time(nil)) }
