import Kernel

/// The formats of option values: pure, each either a value or what is wrong with the text.
enum OptionValues {
  /// `src[,[dest][,writable]]` of `-b`.
  static func bind(_ text: String) throws(JailError) -> JailMount {
    let fields = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    guard fields.count <= 3, !fields[0].isEmpty else {
      throw JailError("Bad binding: '\(text)': -b takes src[,[dest][,writable]]")
    }
    let target = fields.count > 1 && !fields[1].isEmpty ? fields[1] : fields[0]
    guard target.utf8.first == UInt8(ascii: "/") else {
      throw JailError("Bad binding: '\(text)': the destination must be an absolute path")
    }
    let writable: Bool
    switch fields.count > 2 ? fields[2] : "" {
    case "", "0": writable = false
    case "1": writable = true
    default: throw JailError("Bad binding: '\(text)': writable is 0 or 1")
    }
    return JailMount(source: fields[0], target: target, kind: .bind(writable: writable))
  }

  /// `src,dest,type[,[flags][,data]]` of `-k`.
  static func mount(_ text: String) throws(JailError) -> JailMount {
    let fields = text.split(separator: ",", maxSplits: 4, omittingEmptySubsequences: false)
      .map(String.init)
    guard fields.count >= 3, fields[..<3].allSatisfy({ !$0.isEmpty }) else {
      throw JailError("Bad mount: '\(text)': -k takes src,dest,type[,[flags][,data]]")
    }
    guard fields[1].utf8.first == UInt8(ascii: "/") else {
      throw JailError("Bad mount: '\(text)': the destination must be an absolute path")
    }
    var flags = MountFlags([])
    if fields.count > 3, !fields[3].isEmpty {
      guard let value = MountFlags(expression: fields[3]) else {
        throw JailError("Bad mount flags: \(fields[3])")
      }
      flags = value
    }
    if flags.isEmpty { flags = .standard }
    guard !(flags.contains(.bind) && fields.count > 4) else {
      throw JailError("Bad mount: '\(text)': nothing may follow the flags of a bind mount")
    }
    var data = fields.count > 4 ? fields[4] : ""
    if data.isEmpty, fields[2] == "tmpfs" { data = "mode=0755,size=10M" }
    return JailMount(
      source: fields[0], target: fields[1],
      kind: .filesystem(type: fields[2], flags: flags, data: data))
  }

  /// Bytes with at most one of `K M G T P E`, powers of 1024.
  static func size(_ text: String) throws(JailError) -> UInt64 {
    var digits = text[...]
    var shift = 0
    if let last = digits.last, let index = "KMGTPE".firstIndex(of: last) {
      shift = 10 * ("KMGTPE".distance(from: "KMGTPE".startIndex, to: index) + 1)
      digits.removeLast()
    }
    guard let number = unsigned(digits, radix: 10), number <= .max >> UInt64(shift) else {
      throw JailError("Invalid /tmp tmpfs size: '\(text)'")
    }
    // A tmpfs of no size would be one without a limit.
    guard number > 0 else { throw JailError("Invalid /tmp tmpfs size: '\(text)' is nothing") }
    return number << UInt64(shift)
  }

  /// A name below `/run/daemon-store`.
  static func store(_ name: String) throws(JailError) -> String {
    let isGood =
      name.utf8.count <= 255 && !name.isEmpty
      && name.utf8.first.map(isAlphanumeric) == true
      && name.utf8.allSatisfy { isAlphanumeric($0) || "._-".utf8.contains($0) }
    guard isGood else {
      throw JailError(
        "Bad daemon store '\(name)': a name is [A-Za-z0-9][A-Za-z0-9._-]*, at most 255 bytes")
    }
    return name
  }

  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: false
    }
  }
}
