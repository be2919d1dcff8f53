/// A word of the command line, byte for byte: the kernel knows nothing of encodings, and a path
/// that is not UTF-8 still names its file.
public struct RawArgument: Hashable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
  /// Without the NUL that ends it.
  public let bytes: [UInt8]

  public init(bytes: [UInt8]) { self.bytes = bytes }
  public init(_ text: some StringProtocol) { bytes = Array(text.utf8) }
  public init(stringLiteral text: String) { self.init(text) }

  /// For messages: what is not UTF-8 shows as U+FFFD.
  public var description: String { String(decoding: bytes, as: UTF8.self) }

  /// The word as text; nil when it is not UTF-8.
  public var text: String? { String(validating: bytes, as: UTF8.self) }

  /// As C takes it.
  var cString: [CChar] { bytes.map { CChar(bitPattern: $0) } + [0] }
}
