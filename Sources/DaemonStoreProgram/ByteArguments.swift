import ArgumentParser
import DaemonStoreKernel

/// Arguments that are bytes, through a parser that knows text alone.
///
/// A byte that is not part of UTF-8 becomes a scalar of a private area, and so does each byte of a
/// scalar of that area: no two words become one, and ``FilePath`` takes all of it back. What is not
/// a path has to be text.
enum ByteArguments {
  /// U+10FE00 to U+10FEFF, one for each byte.
  private static let area: UInt32 = 0x10_FE00

  /// The word for the parser.
  static func encoded(_ word: FilePath) -> String {
    if let text = word.text, !text.unicodeScalars.contains(where: isOfArea) { return text }
    var result = String.UnicodeScalarView()
    var rest = Array(word.bytes)[...]
    while let first = rest.first {
      // The longest valid scalar: it has at most four bytes.
      let scalar = (1...4).reversed().lazy.filter { $0 <= rest.count }.compactMap { count in
        String(validating: rest.prefix(count), as: UTF8.self).flatMap { text in
          text.unicodeScalars.count == 1 ? text.unicodeScalars.first : nil
        }
      }.first
      if let scalar, !isOfArea(scalar) {
        result.append(scalar)
        rest = rest.dropFirst(UTF8.width(scalar))
      } else {
        if let byte = Unicode.Scalar(area + UInt32(first)) { result.append(byte) }
        rest = rest.dropFirst()
      }
    }
    return String(result)
  }

  /// The bytes of a word, or of what follows an option in one.
  static func decoded(_ text: String) -> FilePath {
    let bytes = text.unicodeScalars.flatMap { scalar -> [UInt8] in
      isOfArea(scalar)
        ? [UInt8(truncatingIfNeeded: scalar.value - area)] : Array(String(scalar).utf8)
    }
    return FilePath(truncating: bytes)
  }

  private static func isOfArea(_ scalar: Unicode.Scalar) -> Bool {
    (area...area + 0xff).contains(scalar.value)
  }

  /// Whether the text stands for bytes that are no text.
  static func isEncoded(_ text: String) -> Bool { text.unicodeScalars.contains(where: isOfArea) }

  /// What the parser has handed out as paths. One thread, as everywhere below a command.
  nonisolated(unsafe) static var paths: [String] = []

  /// Whether all that is no text in a word was a path.
  static func isPath(_ word: String) -> Bool {
    paths.contains { path in
      let rest = word.utf8.count - path.utf8.count
      return rest >= 0 && word.utf8.dropFirst(rest).elementsEqual(path.utf8)
        && !isEncoded(String(Substring(word.utf8.prefix(rest))))
    }
  }
}

/// A path on the command line, byte for byte.
extension FilePath: ExpressibleByArgument {
  public init?(argument: String) {
    self = ByteArguments.decoded(argument)
    if ByteArguments.isEncoded(argument) { ByteArguments.paths.append(argument) }
  }

  public var defaultValueDescription: String { description }
}

extension FilePath {
  /// For JSON, which has text alone: the path, or where it is not UTF-8 what messages show of it.
  package var jsonText: String { text ?? description }
}
