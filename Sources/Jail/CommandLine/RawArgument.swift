import DaemonStoreKernel

/// A word of the command line or of a configuration file, byte for byte: the kernel knows nothing of
/// encodings, and a path that is not UTF-8 still names its file.
public struct RawArgument: Hashable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
  /// The bytes without the NUL that ends them.
  public let bytes: [UInt8]

  /// Makes a word of any bytes. What follows a NUL does not reach the program.
  public init(bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }
  /// Makes a word of the UTF-8 of a text. What follows a NUL does not reach the program.
  public init(_ text: some StringProtocol) { bytes = Array(text.utf8) }
  /// Makes a word of the UTF-8 of a literal.
  public init(stringLiteral text: String) { self.init(text) }

  /// For people, on one line: what is not UTF-8 shows as `\xNN`.
  public var description: String { shownBytes(bytes) }

  /// The word as text; nil when it is not UTF-8.
  package var text: String? { String(validating: bytes, as: UTF8.self) }

  /// As C takes it.
  var cString: [CChar] { bytes.map { CChar(bitPattern: $0) } + [0] }

  var isEmpty: Bool { bytes.isEmpty }

  /// What is between the commas, as words.
  func split(
    separator: Unicode.Scalar, maxSplits: Int = .max
  ) -> [RawArgument] {
    bytes.split(
      separator: UInt8(ascii: separator), maxSplits: maxSplits, omittingEmptySubsequences: false
    ).map { RawArgument(bytes: $0) }
  }
}

extension FilePath {
  /// A word as a path: no word of a command line has a NUL in it, and of a file's none gets here.
  package init(_ word: RawArgument) { self.init(truncating: word.bytes) }
}
