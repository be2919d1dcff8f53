/// Text of the kernel's files as bytes. Names in it are foreign: to `String`, "/" or a colon with a
/// combining mark behind it would be another character, and names that differ would be equal.
extension Collection<UInt8> {
  /// The lines, without the empty ones.
  package var lines: [SubSequence] { split(separator: UInt8(ascii: "\n")) }

  /// The words between blanks and tabs.
  package var words: [SubSequence] {
    split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
  }

  /// The digits as a number: nil for anything else, a sign or a blank too, and where it is too big.
  package func number<Value: FixedWidthInteger>(
    radix: Value = 10, as _: Value.Type = Value.self
  ) -> Value? {
    guard !isEmpty else { return nil }
    var value: Value = 0
    for byte in self {
      let digit: UInt8
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
      case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
      default: return nil
      }
      guard digit < radix else { return nil }
      let product = value.multipliedReportingOverflow(by: radix)
      let sum = product.partialValue.addingReportingOverflow(Value(digit))
      guard !product.overflow, !sum.overflow else { return nil }
      value = sum.partialValue
    }
    return value
  }

  /// Whether the bytes are those of `text`.
  package func equals(_ text: StaticString) -> Bool { elementsEqual(text.bytes) }

  package func begins(with text: StaticString) -> Bool { starts(with: text.bytes) }
}

extension BidirectionalCollection<UInt8> {
  package func ends(with text: StaticString) -> Bool {
    count > text.utf8CodeUnitCount - 1
      && suffix(text.utf8CodeUnitCount).elementsEqual(text.bytes)
  }
}

extension RandomAccessCollection<UInt8> {
  /// What follows `name`, a colon and a tab in a file such as `/proc/PID/status`; the first of such
  /// lines counts, as the kernel escapes a line feed in a name.
  package func field(_ name: StaticString) -> SubSequence? {
    for line in lines {
      let rest = line.dropFirst(name.utf8CodeUnitCount)
      guard line.begins(with: name), rest.first == UInt8(ascii: ":") else { continue }
      return rest.dropFirst().drop { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
    }
    return nil
  }
}

extension StaticString {
  fileprivate var bytes: UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(start: utf8Start, count: utf8CodeUnitCount)
  }
}
