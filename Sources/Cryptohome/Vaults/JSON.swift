import DaemonStoreKernel

/// A JSON value with keys and texts as bytes, which are valid UTF-8. Numbers are whole.
enum JSON: Equatable {
  case null
  case bool(Bool)
  case number(Int64)
  case text([UInt8])
  case array([JSON])
  case object([[UInt8]: JSON])

  static func text(_ text: String) -> JSON { .text(Array(text.utf8)) }
  /// What is not UTF-8, and so no text of JSON, is written as messages show it: it then equals no
  /// path or name that the system has.
  static func text(_ path: FilePath) -> JSON {
    .text(path.text == nil ? Array(path.description.utf8) : Array(path.bytes))
  }

  var text: [UInt8]? { if case .text(let text) = self { text } else { nil } }
  var number: Int64? { if case .number(let number) = self { number } else { nil } }
}

/// Bytes that are not such a value, or more than a reader wants.
struct JSONError: Error, Equatable {
  let offset: Int
}

/// A reader of JSON with limits that are checked before any work: never more depth, values or bytes
/// than these. A key that occurs twice, a number with a fraction and a NUL are errors.
struct JSONParser {
  static let depthLimit = 8
  static let valueLimit = 4096

  private let bytes: [UInt8]
  private var place = 0
  private var values = 0

  /// Reads all of `bytes`: one value, and blanks around it.
  static func parse(_ bytes: [UInt8]) throws(JSONError) -> JSON {
    var parser = JSONParser(bytes)
    // A text that is not UTF-8 would not be written back as it was.
    guard String(validating: bytes, as: UTF8.self) != nil else { throw JSONError(offset: 0) }
    let value = try parser.value(depth: 0)
    parser.skipBlanks()
    guard parser.place == bytes.count else { throw parser.error }
    return value
  }

  private init(_ bytes: [UInt8]) { self.bytes = bytes }

  private var error: JSONError { JSONError(offset: place) }
  private var next: UInt8? { place < bytes.count ? bytes[place] : nil }

  private mutating func skipBlanks() {
    while let byte = next, [0x20, 0x09, 0x0a, 0x0d].contains(byte) { place += 1 }
  }

  private mutating func take(_ byte: UInt8) throws(JSONError) {
    guard next == byte else { throw error }
    place += 1
  }

  private mutating func take(_ word: StaticString, _ value: JSON) throws(JSONError) -> JSON {
    let count = word.utf8CodeUnitCount
    guard bytes.count - place >= count,
      bytes[place..<place + count].elementsEqual(
        UnsafeBufferPointer(start: word.utf8Start, count: count))
    else { throw error }
    place += count
    return value
  }

  private mutating func value(depth: Int) throws(JSONError) -> JSON {
    skipBlanks()
    values += 1
    guard depth < Self.depthLimit, values <= Self.valueLimit, let first = next else { throw error }
    switch first {
    case UInt8(ascii: "{"): return try object(depth)
    case UInt8(ascii: "["): return try array(depth)
    case UInt8(ascii: "\""): return .text(try text())
    case UInt8(ascii: "t"): return try take("true", .bool(true))
    case UInt8(ascii: "f"): return try take("false", .bool(false))
    case UInt8(ascii: "n"): return try take("null", .null)
    default: return .number(try number())
    }
  }

  private mutating func object(_ depth: Int) throws(JSONError) -> JSON {
    place += 1
    var members: [[UInt8]: JSON] = [:]
    skipBlanks()
    if next == UInt8(ascii: "}") {
      place += 1
      return .object(members)
    }
    while true {
      skipBlanks()
      let key = try text()
      skipBlanks()
      try take(UInt8(ascii: ":"))
      guard members.updateValue(try value(depth: depth + 1), forKey: key) == nil else {
        throw error
      }
      skipBlanks()
      guard next == UInt8(ascii: ",") else { break }
      place += 1
    }
    try take(UInt8(ascii: "}"))
    return .object(members)
  }

  private mutating func array(_ depth: Int) throws(JSONError) -> JSON {
    place += 1
    var elements: [JSON] = []
    skipBlanks()
    if next == UInt8(ascii: "]") {
      place += 1
      return .array(elements)
    }
    while true {
      elements.append(try value(depth: depth + 1))
      skipBlanks()
      guard next == UInt8(ascii: ",") else { break }
      place += 1
    }
    try take(UInt8(ascii: "]"))
    return .array(elements)
  }

  private mutating func number() throws(JSONError) -> Int64 {
    let start = place
    if next == UInt8(ascii: "-") { place += 1 }
    let digits = place
    while let byte = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { place += 1 }
    let isPadded = place - digits > 1 && bytes[digits] == UInt8(ascii: "0")
    guard (1...19).contains(place - digits), !isPadded,
      let number = Int64(String(decoding: bytes[start..<place], as: UTF8.self))
    else { throw error }
    return number
  }

  private mutating func text() throws(JSONError) -> [UInt8] {
    try take(UInt8(ascii: "\""))
    var text: [UInt8] = []
    while let byte = next {
      place += 1
      switch byte {
      case UInt8(ascii: "\""): return text
      case UInt8(ascii: "\\"): text += try escape()
      case 0..<0x20: throw error
      default: text.append(byte)
      }
    }
    throw error
  }

  private mutating func escape() throws(JSONError) -> [UInt8] {
    guard let byte = next else { throw error }
    place += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
    case UInt8(ascii: "b"): return [8]
    case UInt8(ascii: "f"): return [12]
    case UInt8(ascii: "n"): return [10]
    case UInt8(ascii: "r"): return [13]
    case UInt8(ascii: "t"): return [9]
    case UInt8(ascii: "u"): return try scalar()
    default: throw error
    }
  }

  /// What follows `\u`: four digits, or two halves of a pair.
  private mutating func scalar() throws(JSONError) -> [UInt8] {
    var code = try unit()
    if (0xd800..<0xdc00).contains(code) {
      try take(UInt8(ascii: "\\"))
      try take(UInt8(ascii: "u"))
      let low = try unit()
      guard (0xdc00..<0xe000).contains(low) else { throw error }
      code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
    }
    guard code != 0, let scalar = Unicode.Scalar(code) else { throw error }
    return Array(String(scalar).utf8)
  }

  private mutating func unit() throws(JSONError) -> UInt32 {
    var code: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = next, let digit = hexadecimalDigit(byte | 0x20) else { throw error }
      code = code << 4 | UInt32(digit)
      place += 1
    }
    return code
  }
}

extension JSON {
  /// The value as text: keys in the order of their bytes, two blanks for each level.
  var bytes: [UInt8] {
    var output: [UInt8] = []
    write(to: &output, indent: 0)
    return output + [UInt8(ascii: "\n")]
  }

  private func write(to output: inout [UInt8], indent: Int) {
    func line(_ indent: Int) { output += "\n".utf8 + Array(repeating: 0x20, count: 2 * indent) }
    switch self {
    case .null: output += "null".utf8
    case .bool(let isTrue): output += (isTrue ? "true" : "false").utf8
    case .number(let number): output += "\(number)".utf8
    case .text(let text): Self.write(text, to: &output)
    case .array(let elements):
      output += "[".utf8
      for (index, element) in elements.enumerated() {
        if index > 0 { output += ",".utf8 }
        line(indent + 1)
        element.write(to: &output, indent: indent + 1)
      }
      if !elements.isEmpty { line(indent) }
      output += "]".utf8
    case .object(let members):
      output += "{".utf8
      let sorted = members.sorted { $0.key.lexicographicallyPrecedes($1.key) }
      for (index, member) in sorted.enumerated() {
        if index > 0 { output += ",".utf8 }
        line(indent + 1)
        Self.write(member.key, to: &output)
        output += ": ".utf8
        member.value.write(to: &output, indent: indent + 1)
      }
      if !members.isEmpty { line(indent) }
      output += "}".utf8
    }
  }

  private static func write(_ text: [UInt8], to output: inout [UInt8]) {
    output += "\"".utf8
    for byte in text {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): output += [UInt8(ascii: "\\"), byte]
      case 0..<0x20:
        output += "\\u00\(hexadecimal([byte]))".utf8
      default: output.append(byte)
      }
    }
    output += "\"".utf8
  }
}

/// The value of a digit 0-9 or a-f; nil for any other byte.
func hexadecimalDigit(_ byte: UInt8) -> UInt8? {
  switch byte {
  case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
  case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
  default: nil
  }
}

/// Two lower-case digits for each byte.
func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
  let digits = Array("0123456789abcdef".utf8)
  return String(
    decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}

/// The bytes that ``hexadecimal(_:)`` writes so; nil for any other text.
func bytes(hexadecimal text: some Sequence<UInt8>) -> [UInt8]? {
  var bytes: [UInt8] = []
  var high: UInt8?
  for byte in text {
    guard let digit = hexadecimalDigit(byte) else { return nil }
    if let value = high {
      bytes.append(value << 4 | digit)
      high = nil
    } else {
      high = digit
    }
  }
  return high == nil ? bytes : nil
}
