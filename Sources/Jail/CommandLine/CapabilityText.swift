import CDaemonStoreLibcap
import DaemonStoreKernel

extension CapabilitySet {
  /// The set that the value of `-c` names: the effective flags of libcap's text form
  /// (cap_from_text(3)), or else a hexadecimal mask.
  init(optionText word: RawArgument) throws(JailError) {
    guard let bits = Self.named(word) ?? Self.mask(word.bytes) else {
      throw JailError(
        "Invalid cap set: '\(word)': neither capabilities(7) such as cap_chown,cap_fowner+e "
          + "nor a hexadecimal mask")
    }
    self.init(rawValue: bits)
  }

  /// - Parameter last: the last capability of this kernel; one beyond it is an error.
  func check(_ word: RawArgument, last: UInt8) throws(JailError) {
    guard rawValue & ~(UInt64.max >> UInt64(63 - min(last, 63))) == 0 else {
      throw JailError("Invalid cap set: '\(word)': this kernel knows capabilities 0 to \(last)")
    }
  }

  private static func named(_ word: RawArgument) -> UInt64? {
    guard let set = cap_from_text(word.cString) else { return nil }
    defer { cap_free(UnsafeMutableRawPointer(set)) }
    var bits: UInt64 = 0
    for number in 0...63 {
      var value = CAP_CLEAR
      guard cap_get_flag(set, cap_value_t(number), CAP_EFFECTIVE, &value) == 0 else { break }
      if value == CAP_SET { bits |= 1 << UInt64(number) }
    }
    return bits
  }

  /// As strtoull(3) reads base 16: blanks, a sign and `0x` may come first.
  private static func mask(_ bytes: [UInt8]) -> UInt64? {
    var digits = bytes.drop { isBlank($0) }
    let isNegative = digits.first == UInt8(ascii: "-")
    if isNegative || digits.first == UInt8(ascii: "+") { digits.removeFirst() }
    if startsAsHexadecimal(digits) { digits.removeFirst(2) }
    guard let value = unsigned(digits, radix: 16) else { return nil }
    return isNegative ? 0 &- value : value
  }

  /// As capabilities(7) calls them, for people.
  var names: [String] {
    (0..<64).filter { rawValue & (1 << UInt64($0)) != 0 }.map { number in
      guard let name = cap_to_name(cap_value_t(number)) else { return "\(number)" }
      defer { cap_free(name) }
      return String(cString: name)
    }
  }
}
