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
    return Value(
      text: String(decoding: text, as: UTF8.self), bits: bits,
      isInt: architecture.is64Bit && result.isNegativeInt)
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
      // -S takes a bar at the end for nothing, though not after a parenthesis.
      if rest.isEmpty, depth == 0, lastTermIsWord, dialect == .minijail { break }
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
    return complements
      ? Constant(bits: ~result.bits & architecture.argumentMask, isNegativeInt: false) : result
  }

  private mutating func word() throws(ValueFault) -> Constant {
    let word = rest.prefix { !"|~() \t".utf8.contains($0) }
    guard !word.isEmpty else { throw fault("empty constant: '\(shown(rest))'") }
    let constant: Constant
    let isUnsigned: Bool
    if let known = word.withBytes({ architecture.constant($0) }) {
      constant = known
      isUnsigned = false
    } else if let number = Number(word, dialect) {
      constant = Constant(bits: number.bits, isNegativeInt: false)
      isUnsigned = !number.isNegative
    } else {
      throw fault("trailing garbage after constant: '\(shown(word))'")
    }
    // Each number by itself must fit into an argument: a complement would hide that one did not.
    let isNegative32 = constant.bits >> 31 == 0x1_ffff_ffff && !isUnsigned
    guard architecture.is64Bit || constant.bits >> 32 == 0 || isNegative32 else {
      throw fault("constant does not fit in 32 bits: '\(shown(word))'")
    }
    rest = rest[word.endIndex...]
    return Constant(
      bits: constant.bits & architecture.argumentMask, isNegativeInt: constant.isNegativeInt)
  }
}

/// A number: decimal, hexadecimal with `0x`, octal with a leading `0`, with a sign or without.
///
/// -S reads it with strtol(3), base 0. The compile tool knows no plus sign, and takes a leading `0`
/// for octal only if an octal digit follows: `08` and `09` are 8 and 9 there, and no numbers to -S.
struct Number {
  /// In two's complement.
  let bits: UInt64
  let isNegative: Bool

  /// Nil for what is no number, and for what is not within -2^63 … 2^64-1.
  init?(_ text: ArraySlice<UInt8>, _ dialect: Dialect) {
    var digits = text
    isNegative = digits.first == UInt8(ascii: "-")
    if isNegative || (digits.first == UInt8(ascii: "+") && dialect == .minijail) {
      digits.removeFirst()
    }
    var radix: UInt64 = 10
    if digits.hasPrefix("0x") || digits.hasPrefix("0X") {
      radix = 16
      digits = digits.dropFirst(2)
    } else if digits.first == UInt8(ascii: "0"), let second = digits.dropFirst().first {
      let isOctal = (UInt8(ascii: "0")...UInt8(ascii: "7")).contains(second)
      radix = isOctal || dialect == .minijail ? 8 : 10
      digits = digits.dropFirst()
    }
    guard let magnitude = Self.unsigned(digits, radix: radix) else { return nil }
    guard !isNegative || magnitude <= 1 << 63 else { return nil }
    bits = isNegative ? 0 &- magnitude : magnitude
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
package func constantExpression(_ text: String, on architecture: Architecture) -> UInt64? {
  let bytes = Array(text.utf8)
  guard
    let value = try? ValueParser.value(
      of: bytes[...], architecture: architecture, dialect: .minijail)
  else { return nil }
  return value.bits
}
