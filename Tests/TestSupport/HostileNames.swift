import DaemonStoreKernel

/// Names that text gets wrong: what `Character` joins, what canonical equivalence makes equal, what is
/// not UTF-8, and what ends or breaks a line. None has a NUL; ``withNUL`` has.
package enum HostileNames {
  /// Valid as the name of a directory entry.
  package static let names: [[UInt8]] = [
    // A combining mark, a joiner and a selector, which follow a slash or a colon as one character.
    Array("\u{301}".utf8), Array("\u{200d}x".utf8), Array("\u{fe0f}".utf8),
    // Equal as text, and not as bytes.
    Array("caf\u{e9}".utf8), Array("cafe\u{301}".utf8), Array("\u{212a}".utf8), Array("K".utf8),
    Array("\u{fffd}".utf8), [0xff], [0xfe],
    // Overlong slash and NUL, a surrogate, a cut sequence, and beyond Unicode.
    [0xc0, 0xaf], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0x61, 0xe2, 0x82], [0xf4, 0x90, 0x80, 0x80],
    Array("a\nb".utf8), Array("a\r\u{301}".utf8), Array("\u{1b}[2J".utf8), Array(" ".utf8),
    Array("a\\012".utf8), Array("..\u{301}".utf8),
  ]

  package static let withNUL: [[UInt8]] = [[0], [0x61, 0], [0, 0x61], [0x61, 0, 0x62]]

  package static var paths: [FilePath] { names.map { FilePath(truncating: $0) } }

  /// Those that are no text.
  package static var invalid: [[UInt8]] {
    names.filter { String(validating: $0, as: UTF8.self) == nil }
  }
}
