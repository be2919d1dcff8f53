import DaemonStoreKernel

/// The name of a store: `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 255 bytes. Safe as a component of a
/// path, and never that of a directory of our own, whose names begin with a dot.
package struct StoreName: Hashable, Sendable, CustomStringConvertible, Comparable,
  PathConvertible
{
  package let description: String

  package init?(_ text: String) {
    guard let first = text.utf8.first, Self.isAlphanumeric(first), text.utf8.count <= 255,
      text.utf8.allSatisfy({ Self.isAlphanumeric($0) || ".-_".utf8.contains($0) })
    else { return nil }
    description = text
  }

  /// The same from bytes, as a part of a path of the kernel's.
  package init?(_ bytes: some Collection<UInt8>) {
    guard bytes.count <= 255, let text = String(validating: bytes, as: UTF8.self) else {
      return nil
    }
    self.init(text)
  }

  package init?(_ name: FilePath) { self.init(name.bytes) }

  /// As a component of a path.
  package var path: FilePath { "\(description)" }

  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "a")...UInt8(ascii: "z"):
      true
    default: false
    }
  }

  /// In the order of their bytes, whatever the locale.
  package static func < (left: Self, right: Self) -> Bool {
    left.description.utf8.lexicographicallyPrecedes(right.description.utf8)
  }
}
