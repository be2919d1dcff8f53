import DaemonStoreKernel

/// The form of a user name that paths and logs carry: 40 lower-case hexadecimal digits. A value of
/// this type is safe as a component of a path. How it is derived is `Cryptohome`'s.
package struct ObfuscatedUsername: Hashable, Sendable, CustomStringConvertible, Comparable,
  PathConvertible
{
  package let description: String

  /// nil unless `text` is exactly 40 of `0-9a-f`; upper case is refused, so that two texts are
  /// never one user.
  package init?(_ text: String) {
    guard text.utf8.count == 40, text.utf8.allSatisfy(Self.isDigit) else { return nil }
    description = text
  }

  /// The same from bytes, as a part of a path of the kernel's.
  package init?(_ bytes: some Collection<UInt8>) {
    guard bytes.count == 40, let text = String(validating: bytes, as: UTF8.self) else {
      return nil
    }
    self.init(text)
  }

  package init?(_ name: FilePath) { self.init(name.bytes) }

  /// As a component of a path.
  package var path: FilePath { "\(description)" }

  private static func isDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
      || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
  }

  package static func < (left: Self, right: Self) -> Bool {
    left.description.utf8.lexicographicallyPrecedes(right.description.utf8)
  }
}
