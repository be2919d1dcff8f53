import Crypto
import DaemonStore
import DaemonStoreKernel

/// Who is meant on a command line.
package enum Username: Equatable, Sendable, CustomStringConvertible {
  /// A name, as at login.
  case name(FilePath)
  /// The obfuscated name of a user who exists.
  case hash(ObfuscatedUsername)

  /// A text of 40 lower-case hexadecimal digits is a hash, everything else a name.
  ///
  /// - Throws: ``Refusal`` for an empty text, and for one that is a hash but for its upper case.
  package init(_ text: FilePath) throws(Refusal) {
    guard !text.isEmpty else { throw Refusal(path: "USER", reason: "is empty; name a user") }
    if let hash = ObfuscatedUsername(text) {
      self = .hash(hash)
    } else if ObfuscatedUsername(text.asciiLowercased()) != nil {
      throw Refusal(
        path: text, reason: "has upper-case digits; an obfuscated user name is in lower case")
    } else {
      self = .name(text)
    }
  }
}

extension Username {
  /// The name or the hash, as bytes.
  package var path: FilePath {
    switch self {
    case .name(let name): name
    case .hash(let hash): hash.path
    }
  }

  package var description: String {
    switch self {
    case .name(let name): name.description
    case .hash(let hash): hash.description
    }
  }
}

/// Where the salt is from that turns a name into a hash.
package enum SaltSource: Sendable {
  /// The salt of the system, which must exist.
  case existing
  /// The same, made on a system that has none: where a vault is made, or its path is asked for.
  ///
  /// - Parameter isForced: whether it is made although `/home` is not mounted and should be.
  case makingMissing(isForced: Bool = false)
  /// One that was read before.
  case known(Salt)

  fileprivate func salt(_ layout: Layout) throws -> Salt {
    switch self {
    case .existing: try .read(layout)
    case .makingMissing(let isForced): try .readOrMake(layout, isForced: isForced)
    case .known(let salt): salt
    }
  }
}

extension Username {
  /// The user who is meant: the only way from what a person or a program has named to a user. A hash
  /// needs no salt, and need not be that of a user who has a vault.
  ///
  /// - Throws: ``Refusal`` for an empty name, and for a salt that cannot be used or, with
  ///   ``SaltSource/existing``, does not exist.
  package func resolve(
    salt source: SaltSource = .existing, in layout: Layout
  ) throws -> ObfuscatedUsername {
    switch self {
    case .hash(let user): user
    case .name(let name): try ObfuscatedUsername(of: name, salt: source.salt(layout))
    }
  }

  /// The same; nil for a name on a system that has no salt yet, and so no user with a vault.
  package func resolveIfSalted(in layout: Layout) throws -> ObfuscatedUsername? {
    if case .hash(let user) = self { return user }
    return try Salt.existing(layout).map { try resolve(salt: .known($0), in: layout) }
  }

  /// What is said of a user without a vault, wherever one is needed.
  func withoutVault(_ wayOut: String? = nil) -> Refusal {
    Refusal(path: path, reason: "has no vault" + (wayOut.map { "; \($0)" } ?? ""))
  }
}

extension ObfuscatedUsername {
  /// The obfuscated form of a user's name: SHA-1 of the salt and the name with A-Z folded to a-z,
  /// in hexadecimal. Nothing else is folded or trimmed.
  package init(of name: FilePath, salt: Salt) throws(Refusal) {
    guard !name.isEmpty else {
      throw Refusal(path: "USER", reason: "is empty; an empty name is nobody's")
    }
    var hash = Insecure.SHA1()
    hash.update(data: salt.bytes)
    hash.update(data: Array(name.asciiLowercased().bytes))
    let digits = Array("0123456789abcdef".utf8)
    let hex = hash.finalize().flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
    guard let user = ObfuscatedUsername(hex) else {
      throw Refusal(path: name, reason: "has no obfuscated form")
    }
    self = user
  }
}

extension FilePath {
  /// With A-Z as a-z, and every other byte as it is.
  func asciiLowercased() -> FilePath {
    FilePath(
      truncating: bytes.map {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0
      })
  }
}
