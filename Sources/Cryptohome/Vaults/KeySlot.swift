import Crypto
import CryptoExtras
import DaemonStore
import FoundationEssentials
import Kernel

/// What a key slot is called: `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 64 characters.
public struct KeyLabel: Hashable, Sendable, CustomStringConvertible {
  public let description: String

  /// Of the slot that a vault begins with.
  public static let first = KeyLabel(unchecked: "password")

  private init(unchecked text: String) { description = text }

  public init?(_ text: String) {
    guard (1...64).contains(text.utf8.count), let first = text.utf8.first,
      Self.isAlphanumeric(first),
      text.utf8.allSatisfy({ Self.isAlphanumeric($0) || "._-".utf8.contains($0) })
    else { return nil }
    description = text
  }

  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
  }
}

/// The vault's key under one password: wrapped with AES-256-GCM, by a key that scrypt makes of the
/// password. It opens for this user, this label and this vault only.
struct KeySlot: Equatable, Codable {
  var label: String
  var scrypt: ScryptCost
  var salt: Data
  /// Nonce, ciphertext and tag.
  var wrapped: Data

  /// Wraps `key` anew, with a salt and a nonce of its own.
  init(
    wrapping key: borrowing Secret, under password: borrowing Secret, label: KeyLabel,
    of user: ObfuscatedUsername, _ identifier: KeyIdentifier, cost: ScryptCost
  ) throws {
    var random = SystemRandomNumberGenerator()
    let salt = Data((0..<32).map { _ in UInt8.random(in: .min ... .max, using: &random) })
    let bound = Self.bound(label.description, user, identifier)
    let wrapper = try cost.key(from: password, salt: salt)
    let box = try key.withData { try AES.GCM.seal($0, using: wrapper, authenticating: bound) }
    guard let wrapped = box.combined else { throw CryptoKitError.incorrectParameterSize }
    self.label = label.description
    self.scrypt = cost
    self.salt = salt
    self.wrapped = wrapped
  }

  /// The vault's key; nil when it is not the password.
  func open(
    with password: borrowing Secret, of user: ObfuscatedUsername, _ identifier: KeyIdentifier
  ) throws -> Secret? {
    let wrapper = try scrypt.key(from: password, salt: salt)
    guard let box = try? AES.GCM.SealedBox(combined: wrapped),
      var key = try? AES.GCM.open(
        box, using: wrapper, authenticating: Self.bound(label, user, identifier))
    else { return nil }
    defer { key.resetBytes(in: key.startIndex..<key.endIndex) }
    return Secret(copying: key)
  }

  /// What a slot must not be moved away from.
  private static func bound(
    _ label: String, _ user: ObfuscatedUsername, _ identifier: KeyIdentifier
  ) -> Data {
    Data("daemon-store vault 1\0\(user)\0\(identifier)\0\(label)".utf8)
  }
}

/// How much work a guess at a password is: the parameters of scrypt (RFC 7914).
struct ScryptCost: Equatable, Codable {
  /// A power of two.
  var n: Int
  var r: Int
  var p: Int

  /// Never less than this: 32 MiB.
  static let least = ScryptCost(n: 1 << 15, r: 8, p: 1)
  /// What is made here takes 64 MiB at most.
  private static let largestN = 1 << 16

  /// About half a second of this machine's.
  static func calibrated() throws -> ScryptCost {
    let password = Secret(copying: Array("calibration".utf8))
    let clock = ContinuousClock()
    let time = try clock.measure { _ = try least.key(from: password, salt: Data(count: 32)) }
    let goal = Duration.milliseconds(500)
    guard time * 2 <= goal else { return least }
    let rounds = goal / (time * 2)
    return ScryptCost(n: largestN, r: least.r, p: max(1, min(16, Int(rounds))))
  }

  /// Whether these are parameters that a vault of this version can have.
  var isSound: Bool {
    (15...20).contains(n.trailingZeroBitCount) && n.nonzeroBitCount == 1
      && n >= Self.least.n && (8...32).contains(r) && (1...64).contains(p)
  }

  func key(from password: borrowing Secret, salt: Data) throws -> SymmetricKey {
    try password.withData {
      try KDF.Scrypt.deriveKey(
        from: $0, salt: salt, outputByteCount: 32, rounds: n, blockSize: r, parallelism: p)
    }
  }
}

extension Secret {
  /// Lends the bytes as what the library takes, without a copy.
  fileprivate borrowing func withData<Value>(_ body: (Data) throws -> Value) rethrows -> Value {
    try withBytes { bytes in
      guard let base = bytes.baseAddress else { return try body(Data()) }
      return try body(
        Data(
          bytesNoCopy: UnsafeMutableRawPointer(mutating: base), count: bytes.count,
          deallocator: .none))
    }
  }

  /// How the kernel will call this key: HKDF-SHA512 (fscrypt's documentation, `fs/crypto/hkdf.c`).
  borrowing func identifier() -> KeyIdentifier? {
    let name = withData {
      HKDF<SHA512>.deriveKey(
        inputKeyMaterial: SymmetricKey(data: $0), info: Data("fscrypt\0\u{1}".utf8),
        outputByteCount: KeyIdentifier.size)
    }
    return KeyIdentifier(name.withUnsafeBytes { Array($0) })
  }
}
