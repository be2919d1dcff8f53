/// Why a value could not be read: the reference's line for the part that is at fault, and where.
struct ValueFault: Error {
  let detail: String
  let index: Int
}

/// `value = term { "|" term }`, `term = [ "~" ] ( "(" value ")" | NAME | NUMBER )`.
struct ValueParser {
  private var rest: ArraySlice<UInt8>
  private let architecture: Architecture
  private let dialect: Dialect
  private var depth = 0

  /// Nested deeper than this, a value is a mistake.
  static let depthLimit = 64

  static func value(
    of text: ArraySlice<UInt8>, architecture: Architecture, dialect: Dialect
  ) throws(ValueFault) -> Value {
    var parser = ValueParser(rest: text, architecture: architecture, dialect: dialect)
    let result = try parser.value()
    let bits = result.bits
    guard parser.rest.isEmpty else {
      let message = parser.rest.first == UInt8(ascii: ")") ? "unbalanced" : "trailing garbage"
      throw parser.fault("\(message) after constant: '\(shown(parser.rest))'")
    }
    let word = String(decoding: text, as: UTF8.self)
    guard !architecture.is64Bit else {
      return Value(text: word, bits: bits, isInt: result.isNegativeInt)
    }
    // An argument has 32 bits there: a value that is wider, and no negative number, is a mistake.
    guard bits >> 32 == 0 || bits >> 31 == 0x1_ffff_ffff || text.contains(UInt8(ascii: "~")) else {
      throw ValueFault(
        detail: "constant does not fit in 32 bits: '\(shown(text))'", index: text.startIndex)
    }
    return Value(text: word, bits: bits & 0xffff_ffff)
  }

  private init(rest: ArraySlice<UInt8>, architecture: Architecture, dialect: Dialect) {
    self.rest = rest
    self.architecture = architecture
    self.dialect = dialect
  }

  private func fault(_ detail: String) -> ValueFault {
    ValueFault(detail: detail, index: rest.startIndex)
  }

  private mutating func skipBlanks() {
    guard dialect == .compileTool else { return }
    rest = rest.drop { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
  }

  /// A negative int as long as it is nothing but one name, in parentheses or not.
  private mutating func value() throws(ValueFault) -> Constant {
    var result = try term()
    skipBlanks()
    while rest.first == UInt8(ascii: "|") {
      rest.removeFirst()
      skipBlanks()
      // The reference takes a bar at the end for nothing, though not after a parenthesis.
      if rest.isEmpty, depth == 0, lastTermIsWord { break }
      result = Constant(bits: result.bits | (try term()).bits, isNegativeInt: false)
      skipBlanks()
    }
    return result
  }

  private var lastTermIsWord = true

  private mutating func term() throws(ValueFault) -> Constant {
    let complements = rest.first == UInt8(ascii: "~")
    if complements {
      rest.removeFirst()
      skipBlanks()
    }
    let result: Constant
    if rest.first == UInt8(ascii: "(") {
      guard depth < Self.depthLimit else { throw fault("constant nested too deep") }
      rest.removeFirst()
      depth += 1
      skipBlanks()
      result = try value()
      skipBlanks()
      guard rest.first == UInt8(ascii: ")") else {
        throw fault("unclosed parenthesis in constant: '\(shown(rest))'")
      }
      rest.removeFirst()
      depth -= 1
      lastTermIsWord = false
    } else {
      result = try word()
      lastTermIsWord = true
    }
    return complements ? Constant(bits: ~result.bits, isNegativeInt: false) : result
  }

  private mutating func word() throws(ValueFault) -> Constant {
    let word = rest.prefix { !"|~() \t".utf8.contains($0) }
    guard !word.isEmpty else { throw fault("empty constant: '\(shown(rest))'") }
    if let constant = word.withBytes({ architecture.constant($0) }) {
      rest = rest[word.endIndex...]
      return constant
    }
    guard let number = Number.parse(word, readsLeadingZeroAsDecimal: dialect == .compileTool) else {
      throw fault("trailing garbage after constant: '\(shown(word))'")
    }
    rest = rest[word.endIndex...]
    return Constant(bits: number, isNegativeInt: false)
  }
}

/// Numbers as strtol(3) reads them with base 0: decimal, `0x`, a leading `0` for octal, a sign.
enum Number {
  /// Nil for what is none, and for what is not within -2^63 … 2^64-1.
  static func parse(
    _ text: ArraySlice<UInt8>, readsLeadingZeroAsDecimal: Bool = false
  ) -> UInt64? {
    var digits = text
    let isNegative = digits.first == UInt8(ascii: "-")
    if isNegative || digits.first == UInt8(ascii: "+") { digits.removeFirst() }
    var radix: UInt64 = 10
    if digits.hasPrefix("0x") || digits.hasPrefix("0X") {
      radix = 16
      digits = digits.dropFirst(2)
    } else if digits.first == UInt8(ascii: "0"), digits.count > 1 {
      radix = readsLeadingZeroAsDecimal ? 10 : 8
      digits = digits.dropFirst()
    }
    guard let magnitude = unsigned(digits, radix: radix) else { return nil }
    guard isNegative else { return magnitude }
    return magnitude <= 1 << 63 ? 0 &- magnitude : nil
  }

  /// Digits alone, at least one.
  static func unsigned(_ digits: ArraySlice<UInt8>, radix: UInt64 = 10) -> UInt64? {
    guard !digits.isEmpty else { return nil }
    var value: UInt64 = 0
    for byte in digits {
      let digit: UInt64
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = UInt64(byte) - 0x30
      case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = UInt64(byte) - 0x57
      case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = UInt64(byte) - 0x37
      default: return nil
      }
      let product = value.multipliedReportingOverflow(by: radix)
      let sum = product.partialValue.addingReportingOverflow(digit)
      guard digit < radix, !product.overflow, !sum.overflow else { return nil }
      value = sum.partialValue
    }
    return value
  }
}

/// A constant expression, as `arg0 ==` and the mount flags of minijail0 take it; nil if it is none.
public func constantExpression(_ text: String, on architecture: Architecture) -> UInt64? {
  let bytes = Array(text.utf8)
  guard
    let value = try? ValueParser.value(
      of: bytes[...], architecture: architecture, dialect: .minijail)
  else { return nil }
  return value.bits
}
