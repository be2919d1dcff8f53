/// Names with values, in static text that is sorted by name and searched by bisection, as look(1)
/// does: nothing is built when the program starts, and a table costs no memory beyond its pages.
///
/// An entry is `NAME=VALUE`, or `NAME=V,V,V,V,V` with one value for each architecture, empty where
/// there is none; values are hexadecimal, and a minus sign marks a negative C `int`.
struct NameTable: Sendable {
  enum Value: Hashable, Sendable {
    case value(UInt64)
    case negativeInt(magnitude: UInt64)
  }

  /// How many texts there are, and each: a switch, so that no array is built.
  let parts: Int
  let part: @Sendable (Int) -> StaticString

  static let systemCalls = NameTable(parts: 1) { _ in systemCallText }
  static let constants = NameTable(parts: 6) { index in
    switch index {
    case 0: constantText1
    case 1: constantText2
    case 2: constantText3
    case 3: constantText4
    case 4: constantText5
    default: constantText6
    }
  }

  func value(of name: UnsafeBufferPointer<UInt8>, on architecture: Architecture) -> Value? {
    // The last part that begins no later than the name.
    var low = 0
    var high = parts
    while high - low > 1 {
      let middle = (low + high) / 2
      let text = bytes(of: middle)
      if compare(text, at: 0, with: name) <= 0 { low = middle } else { high = middle }
    }
    let text = bytes(of: low)
    guard let start = find(name, in: text) else { return nil }
    return value(in: text, from: start + name.count + 1, on: architecture)
  }

  /// The first name of a value, in alphabetical order: this walks through the table.
  func name(of number: UInt64, on architecture: Architecture) -> String? {
    var found: String?
    forEachEntry(on: architecture) { name, value in
      guard value == .value(number) else { return true }
      found = String(decoding: name, as: UTF8.self)
      return false
    }
    return found
  }

  /// Every value, without the names.
  func forEachValue(on architecture: Architecture, _ body: (Value) -> Void) {
    forEachEntry(on: architecture) { _, value in
      body(value)
      return true
    }
  }

  func forEach(on architecture: Architecture, _ body: (String, Value) -> Void) {
    forEachEntry(on: architecture) { name, value in
      body(String(decoding: name, as: UTF8.self), value)
      return true
    }
  }

  /// Until `body` returns false.
  private func forEachEntry(
    on architecture: Architecture, _ body: (Slice<UnsafeBufferPointer<UInt8>>, Value) -> Bool
  ) {
    for index in 0..<parts {
      let text = bytes(of: index)
      var start = 0
      while start < text.count {
        var equals = start
        while text[equals] != UInt8(ascii: "=") { equals += 1 }
        if let value = value(in: text, from: equals + 1, on: architecture),
          !body(text[start..<equals], value)
        {
          return
        }
        start = end(of: equals, in: text) + 1
      }
    }
  }

  private func bytes(of index: Int) -> UnsafeBufferPointer<UInt8> {
    let text = part(index)
    return UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
  }

  private func end(of position: Int, in text: UnsafeBufferPointer<UInt8>) -> Int {
    var end = position
    while end < text.count && text[end] != UInt8(ascii: " ") { end += 1 }
    return end
  }

  /// Where the entry of a name starts.
  private func find(
    _ name: UnsafeBufferPointer<UInt8>, in text: UnsafeBufferPointer<UInt8>
  ) -> Int? {
    var low = 0
    var high = text.count
    while low < high {
      var start = (low + high) / 2
      while start > low && text[start - 1] != UInt8(ascii: " ") { start -= 1 }
      let order = compare(text, at: start, with: name)
      if order == 0 { return start }
      if order < 0 { low = min(high, end(of: start, in: text) + 1) } else { high = start }
    }
    return nil
  }

  /// Below zero when the entry's name comes before `name`.
  private func compare(
    _ text: UnsafeBufferPointer<UInt8>, at start: Int, with name: UnsafeBufferPointer<UInt8>
  ) -> Int {
    for offset in name.indices {
      let byte = text[start + offset]
      if byte == UInt8(ascii: "=") { return -1 }
      if byte != name[offset] { return byte < name[offset] ? -1 : 1 }
    }
    return text[start + name.count] == UInt8(ascii: "=") ? 0 : 1
  }

  private func value(
    in text: UnsafeBufferPointer<UInt8>, from start: Int, on architecture: Architecture
  ) -> Value? {
    func isWithin(_ index: Int) -> Bool { index < text.count && text[index] != UInt8(ascii: " ") }
    // The column, if there is more than one.
    var index = start
    while isWithin(index) && text[index] != UInt8(ascii: ",") { index += 1 }
    var field = start
    if isWithin(index) {
      for _ in 0..<architecture.column {
        while text[field] != UInt8(ascii: ",") { field += 1 }
        field += 1
      }
    }
    let isNegative = isWithin(field) && text[field] == UInt8(ascii: "-")
    if isNegative { field += 1 }
    guard isWithin(field), text[field] != UInt8(ascii: ",") else { return nil }
    var value: UInt64 = 0
    while isWithin(field) && text[field] != UInt8(ascii: ",") {
      let digit = text[field]
      value = value << 4 | UInt64(digit < 0x3a ? digit - 0x30 : digit - 0x57)
      field += 1
    }
    return isNegative ? .negativeInt(magnitude: value) : .value(value)
  }
}
