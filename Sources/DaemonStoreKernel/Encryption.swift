import CDaemonStoreLinux
import Glibc

/// The name of an fscrypt key: what the kernel computes from it, and a policy refers to.
package struct KeyIdentifier: Hashable, Sendable, CustomStringConvertible {
  package static let size = Int(FSCRYPT_KEY_IDENTIFIER_SIZE)
  package let bytes: [UInt8]

  /// nil unless there are ``size`` of them.
  package init?(_ bytes: [UInt8]) {
    guard bytes.count == Self.size else { return nil }
    self.bytes = bytes
  }

  /// In hexadecimal digits.
  package var description: String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}

/// How fscrypt encrypts a directory, and with which key: a policy of version 2 (Linux 5.4).
package struct EncryptionPolicy: Equatable, Sendable {
  package let key: KeyIdentifier
  /// `FSCRYPT_MODE_…` of `<linux/fscrypt.h>`, and the flags.
  let contents: UInt8
  let names: UInt8
  let flags: UInt8

  /// Contents by AES-256-XTS, names by AES-256-CTS and padded to 32 bytes: what every kernel with
  /// fscrypt can do.
  package init(key: KeyIdentifier) {
    self.key = key
    contents = UInt8(FSCRYPT_MODE_AES_256_XTS)
    names = UInt8(FSCRYPT_MODE_AES_256_CTS)
    flags = UInt8(FSCRYPT_POLICY_FLAGS_PAD_32)
  }

  init?(_ raw: fscrypt_policy_v2) {
    guard raw.version == FSCRYPT_POLICY_V2,
      let key = KeyIdentifier(withUnsafeBytes(of: raw.master_key_identifier) { Array($0) })
    else { return nil }
    self.key = key
    contents = raw.contents_encryption_mode
    names = raw.filenames_encryption_mode
    flags = raw.flags
  }

  var raw: fscrypt_policy_v2 {
    var raw = fscrypt_policy_v2()
    raw.version = UInt8(FSCRYPT_POLICY_V2)
    raw.contents_encryption_mode = contents
    raw.filenames_encryption_mode = names
    raw.flags = flags
    withUnsafeMutableBytes(of: &raw.master_key_identifier) { $0.copyBytes(from: key.bytes) }
    return raw
  }
}

/// What the kernel has of a key.
package enum KeyState: Sendable {
  case absent
  case present
  /// Wiped, but files that were open then are still readable: the kernel does not finish this by
  /// itself.
  case busy
}

/// The ioctls of fscrypt, on a directory of the file system in question. They need a descriptor
/// that is open for reading.
extension Descriptor {
  /// Whether directories of this file system can be encrypted.
  package func canEncrypt(shown: FilePath) throws(SystemError) -> Bool {
    let nobodys = [UInt8](repeating: 0, count: KeyIdentifier.size)
    if linux_encryption_key_status(number, nobodys) >= 0 { return true }
    let code = errno
    guard [ENOTTY, EOPNOTSUPP, EINVAL].contains(code) else {
      throw SystemError(operation: "ask for encryption key", path: shown, code: code)
    }
    return false
  }

  /// The policy of this directory; nil when it is not encrypted.
  ///
  /// - Throws: `EOPNOTSUPP` for a policy that is not of version 2.
  package func encryptionPolicy(shown: FilePath) throws(SystemError) -> EncryptionPolicy? {
    var raw = fscrypt_policy_v2()
    do {
      try check("read encryption policy", shown, linux_get_encryption_policy(number, &raw))
    } catch  where [ENODATA, ENOTTY, EOPNOTSUPP].contains(error.code) {
      return nil
    }
    guard let policy = EncryptionPolicy(raw) else {
      throw SystemError(operation: "read encryption policy", path: shown, code: EOPNOTSUPP)
    }
    return policy
  }

  /// Encrypts this directory, which is empty, from now on. The key need not be there.
  ///
  /// - Throws: `ENOTTY` or `EOPNOTSUPP` where the file system cannot encrypt.
  package func setEncryptionPolicy(_ policy: EncryptionPolicy, shown: FilePath) throws(SystemError)
  {
    var raw = policy.raw
    try check("set encryption policy", shown, linux_set_encryption_policy(number, &raw))
  }

  /// Gives the file system the key: what is encrypted with it can be read from now on.
  package func addEncryptionKey(
    _ key: borrowing Secret, shown: FilePath
  ) throws(SystemError) -> KeyIdentifier {
    var identifier = [UInt8](repeating: 0, count: KeyIdentifier.size)
    let result = key.withBytes { bytes -> CInt in
      guard let base = bytes.baseAddress else { return 0 }
      return linux_add_encryption_key(number, base, bytes.count, &identifier)
    }
    try check("add encryption key", shown, result)
    guard let name = KeyIdentifier(identifier) else {
      throw SystemError(operation: "add encryption key", path: shown, code: EINVAL)
    }
    return name
  }

  /// Takes the key away from the file system, whoever has added it, and says what is left of it.
  package func removeEncryptionKey(
    _ key: KeyIdentifier, shown: FilePath
  ) throws(SystemError) -> KeyState {
    do {
      try check(
        "remove encryption key", shown, linux_remove_encryption_key(number, key.bytes))
    } catch  where error.code == ENOKEY {
      // It was gone already.
    }
    return try encryptionKeyState(key, shown: shown)
  }

  package func encryptionKeyState(
    _ key: KeyIdentifier, shown: FilePath
  ) throws(SystemError) -> KeyState {
    switch try check(
      "ask for encryption key", shown, linux_encryption_key_status(number, key.bytes))
    {
    case FSCRYPT_KEY_STATUS_ABSENT: .absent
    case FSCRYPT_KEY_STATUS_INCOMPLETELY_REMOVED: .busy
    default: .present
    }
  }
}
