import Glibc

/// A path or a name as the kernel has it: bytes, none of them NUL, in no encoding.
///
/// Two paths are equal if their bytes are equal. Nothing here compares or splits text: to Swift's
/// `Character`, "/" followed by a combining mark is one character and no slash.
public struct FilePath: Hashable, Sendable {
  /// The bytes and the NUL that ends them: what a C function takes. Never empty.
  public let cString: [CChar]

  /// Makes a path of any bytes, without a look at the file system; nil for bytes that contain a
  /// NUL: the kernel would see a shorter path.
  public init?(_ bytes: some Sequence<UInt8>) {
    var cString = bytes.map { CChar(bitPattern: $0) }
    guard !cString.contains(0) else { return nil }
    cString.append(0)
    self.cString = cString
  }

  /// The bytes up to the first NUL.
  package init(truncating bytes: some Sequence<UInt8>) {
    cString =
      bytes.withContiguousStorageIfAvailable(Self.copy)
      ?? bytes.prefix { $0 != 0 }.map { CChar(bitPattern: $0) } + [0]
  }

  /// What most paths are made of, without a look at each byte: literals, and parts of other paths.
  private static func copy(_ bytes: UnsafeBufferPointer<UInt8>) -> [CChar] {
    guard let start = bytes.baseAddress else { return [0] }
    let count = strnlen(UnsafeRawPointer(start).assumingMemoryBound(to: CChar.self), bytes.count)
    return Array(unsafeUninitializedCapacity: count + 1) { copy, size in
      UnsafeMutableRawBufferPointer(copy).copyMemory(
        from: UnsafeRawBufferPointer(start: start, count: count))
      copy[count] = 0
      size = count + 1
    }
  }

  /// What C has given, up to its NUL.
  package init(cString pointer: UnsafePointer<CChar>) {
    cString = Array(UnsafeBufferPointer(start: pointer, count: strlen(pointer) + 1))
  }

  /// The bytes without the NUL at the end; none for the empty path.
  public var bytes: some RandomAccessCollection<UInt8> & Sendable {
    cString.dropLast().lazy.map { UInt8(bitPattern: $0) }
  }

  package var isEmpty: Bool { cString.count == 1 }
  package var isAbsolute: Bool { cString.first == Self.slash }

  /// Up to the last slash and with it; empty where there is none.
  package var directory: FilePath {
    let end = cString.lastIndex(of: Self.slash).map { $0 + 1 } ?? 0
    return FilePath(truncating: bytes.prefix(end))
  }

  /// The directory that an absolute path is in, byte by byte; nil for `/` and for a name.
  package var parent: FilePath? {
    guard let last = cString.lastIndex(of: Self.slash), cString.count > 2 else { return nil }
    return FilePath(unchecked: cString[..<max(last, 1)])
  }

  /// What is between the slashes, without empty parts; `.` and `..` are kept.
  package var components: [FilePath] {
    bytes.split(separator: UInt8(ascii: "/")).map { FilePath(truncating: $0) }
  }

  /// Whether this can be the name of a directory entry: not empty, no slash, not `.` or `..`.
  package var isName: Bool {
    !isEmpty && !cString.contains(Self.slash) && self != "." && self != ".."
  }

  /// This path, a slash unless it ends in one or is empty, and `name`, whatever that is: `..` and a
  /// slash in it stay.
  public func appending(_ name: FilePath) -> FilePath {
    var joined = cString.dropLast()
    if let last = joined.last, last != Self.slash { joined.append(Self.slash) }
    return FilePath(unchecked: joined + name.cString.dropLast())
  }

  /// Whether this path is `directory` or lies below it, by whole components and without looking at
  /// the file system: for paths that people write. Slashes that repeat count once.
  package func isEqualOrBelow(_ directory: FilePath) -> Bool {
    let own = components
    let other = directory.components
    return isAbsolute == directory.isAbsolute && own.count >= other.count
      && own.prefix(other.count).elementsEqual(other)
  }

  /// The same byte by byte: for absolute paths from the kernel, in which no slash is too many, and
  /// `//deleted` is not the name of a file. An empty directory is the beginning of every one.
  package func isAtOrBelow(_ directory: FilePath) -> Bool {
    let (own, other) = (cString.dropLast(), directory.cString.dropLast())
    if other.count == 1, other.first == Self.slash { return isAbsolute }
    guard own.starts(with: other) else { return false }
    return own.count == other.count || own[other.count] == Self.slash
  }

  /// What lies below `new` as this path does below `old`.
  ///
  /// - Precondition: this path is `old` or below it, and neither has a slash too many.
  package func moved(from old: FilePath, to new: FilePath) -> FilePath {
    let rest = cString.dropLast().dropFirst(old.cString.count - 1).drop { $0 == Self.slash }
    return rest.isEmpty ? new : new.appending(FilePath(unchecked: rest))
  }

  /// The same as text; nil for what is not UTF-8.
  public var text: String? { String(validating: bytes, as: UTF8.self) }

  /// What follows `prefix`, byte by byte; nil where the path does not begin with that.
  package func dropping(prefix: FilePath) -> FilePath? {
    let own = cString.dropLast()
    let other = prefix.cString.dropLast()
    guard own.starts(with: other) else { return nil }
    return FilePath(unchecked: own.dropFirst(other.count))
  }

  /// What stands before `suffix`, byte by byte; nil where the path does not end with that.
  package func dropping(suffix: FilePath) -> FilePath? {
    let own = cString.dropLast()
    let other = suffix.cString.dropLast()
    guard own.count >= other.count, own.suffix(other.count).elementsEqual(other) else {
      return nil
    }
    return FilePath(unchecked: own.dropLast(other.count))
  }

  /// Of a path without a NUL.
  private init(unchecked bytes: some Sequence<CChar>) {
    cString = Array(bytes) + [0]
  }

  private static let slash = CChar(bitPattern: UInt8(ascii: "/"))
}

extension FilePath: ExpressibleByStringInterpolation {
  /// A path of our own in the source; what follows a NUL is dropped.
  public init(stringLiteral text: String) { self.init(truncating: text.utf8) }

  /// Joins paths byte by byte, where a `String` would replace what is not UTF-8: `"\(root)/etc"`.
  public struct StringInterpolation: StringInterpolationProtocol {
    fileprivate var bytes: [UInt8] = []

    /// What the compiler calls first; both numbers are estimates of the size.
    public init(literalCapacity: Int, interpolationCount: Int) {
      bytes.reserveCapacity(literalCapacity + 16 * interpolationCount)
    }

    /// Adds the UTF-8 of a part of the literal.
    public mutating func appendLiteral(_ text: String) { bytes += text.utf8 }
    /// Adds the bytes of a path as they are; no slash is added.
    public mutating func appendInterpolation(_ path: FilePath) { bytes += Array(path.bytes) }
    package mutating func appendInterpolation(_ part: some PathConvertible) {
      appendInterpolation(part.path)
    }
    /// Adds the UTF-8 of a text. A text from outside can contain slashes, `..` and a NUL.
    public mutating func appendInterpolation(_ text: String) { bytes += text.utf8 }
    /// Adds a number in decimal digits, with a minus sign if it is negative.
    public mutating func appendInterpolation(_ number: some BinaryInteger) {
      bytes += String(number).utf8
    }
  }

  /// The joined bytes; what follows a NUL is dropped.
  public init(stringInterpolation: StringInterpolation) {
    self.init(truncating: stringInterpolation.bytes)
  }
}

/// A checked name, which is safe as a component of a path.
package protocol PathConvertible {
  var path: FilePath { get }
}

extension FilePath: CustomStringConvertible {
  /// For people, on one line: a byte that is not UTF-8 shows as `\xNN`, a control character as
  /// `\u{NN}`. Never a path to open.
  public var description: String { shownBytes(bytes) }
}

extension FilePath: Comparable {
  /// By the values of the bytes.
  public static func < (left: FilePath, right: FilePath) -> Bool {
    left.bytes.lexicographicallyPrecedes(right.bytes)
  }
}

/// Foreign bytes for a message: on one line, with `\xNN` for what is not UTF-8.
package func shownBytes(_ bytes: some Sequence<UInt8>) -> String {
  let bytes = Array(bytes)
  if let text = String(validating: bytes, as: UTF8.self) { return oneLine(text) }
  var result = ""
  var rest = bytes[...]
  while let first = rest.first {
    // The longest scalar that is valid here; a scalar has at most four bytes.
    let scalar = (1...4).reversed().lazy.filter { $0 <= rest.count }.compactMap { count in
      String(validating: rest.prefix(count), as: UTF8.self).flatMap {
        $0.unicodeScalars.count == 1 ? (count, $0) : nil
      }
    }.first
    if let (count, text) = scalar {
      result += oneLine(text)
      rest = rest.dropFirst(count)
    } else {
      let digits = String(first, radix: 16)
      result += "\\x" + (digits.count == 1 ? "0" : "") + digits
      rest = rest.dropFirst()
    }
  }
  return result
}
