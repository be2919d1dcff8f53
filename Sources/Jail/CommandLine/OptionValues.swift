import DaemonStoreKernel

/// The formats of option values: pure, each either a value or what is wrong with the text.
enum OptionValues {
  /// `src[,[dest][,writable]]` of `-b`.
  static func bind(_ text: RawArgument) throws(JailError) -> JailMount {
    let fields = text.split(separator: ",")
    guard fields.count <= 3, !fields[0].isEmpty else {
      throw JailError("Bad binding: '\(text)': -b takes src[,[dest][,writable]]")
    }
    let target = FilePath(fields.count > 1 && !fields[1].isEmpty ? fields[1] : fields[0])
    guard target.isAbsolute else {
      throw JailError("Bad binding: '\(text)': the destination must be an absolute path")
    }
    let writable: Bool
    switch fields.count > 2 ? fields[2] : "" {
    case "", "0": writable = false
    case "1": writable = true
    default: throw JailError("Bad binding: '\(text)': writable is 0 or 1")
    }
    return JailMount(source: FilePath(fields[0]), target: target, kind: .bind(writable: writable))
  }

  /// `src,dest,type[,[flags][,data]]` of `-k`.
  static func mount(_ text: RawArgument) throws(JailError) -> JailMount {
    let fields = text.split(separator: ",", maxSplits: 4)
    guard fields.count >= 3, fields[..<3].allSatisfy({ !$0.isEmpty }) else {
      throw JailError("Bad mount: '\(text)': -k takes src,dest,type[,[flags][,data]]")
    }
    guard FilePath(fields[1]).isAbsolute else {
      throw JailError("Bad mount: '\(text)': the destination must be an absolute path")
    }
    var flags = MountFlags([])
    if fields.count > 3, !fields[3].isEmpty {
      guard let value = fields[3].text.flatMap(MountFlags.init(expression:)) else {
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
      source: FilePath(fields[0]), target: FilePath(fields[1]),
      kind: .filesystem(type: fields[2], flags: flags, data: data))
  }

  /// Bytes with at most one of `K M G T P E`, powers of 1024.
  static func size(_ text: RawArgument) throws(JailError) -> UInt64 {
    var digits = text.bytes[...]
    var shift = 0
    if let last = digits.last, let index = Array("KMGTPE".utf8).firstIndex(of: last) {
      shift = 10 * (index + 1)
      digits.removeLast()
    }
    guard let number = unsigned(digits, radix: 10), number <= .max >> UInt64(shift) else {
      throw JailError("Invalid /tmp tmpfs size: '\(text)'")
    }
    // A tmpfs of no size would be one without a limit.
    guard number > 0 else { throw JailError("Invalid /tmp tmpfs size: '\(text)' is nothing") }
    return number << UInt64(shift)
  }

  /// A hexadecimal mask of securebits; empty for none.
  static func secureBits(_ text: RawArgument) throws(JailError) -> SecureBits {
    let digits = text.bytes.dropFirst(startsAsHexadecimal(text.bytes[...]) ? 2 : 0)
    if text.isEmpty { return [] }
    guard let mask = unsigned(digits, radix: 16) else {
      throw JailError("Invalid securebit mask: '\(text)': -B takes a hexadecimal number")
    }
    return SecureBits(rawValue: mask)
  }

  /// `inside outside count[,…]` of `-m` and `-M`; nil without a value.
  static func idMap(_ option: FoundOption) throws(JailError) -> [IDRange]? {
    guard let text = option.value else { return nil }
    var ranges: [IDRange] = []
    for line in text.split(separator: ",") {
      let words = line.bytes.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
      let numbers = words.compactMap { unsigned($0, radix: 10).flatMap(UInt32.init(exactly:)) }
      guard words.count == 3, numbers.count == 3, numbers[2] > 0 else {
        throw JailError(
          "Bad id map: '\(text)': \(option.spelling) takes 'INSIDE OUTSIDE COUNT', three decimal "
            + "numbers, and more of them after ','")
      }
      ranges.append(IDRange(inside: numbers[0], outside: numbers[1], count: numbers[2]))
    }
    return ranges
  }

  /// `type,soft,hard` of `-R`.
  static func limit(_ text: RawArgument) throws(JailError) -> ResourceLimit {
    let fields = text.split(separator: ",")
    guard fields.count == 3, fields.allSatisfy({ !$0.isEmpty }) else {
      throw JailError("Bad rlimit: '\(text)': -R takes type,soft,hard")
    }
    let word = fields[0] == "RLIMIT_OFILE" ? "RLIMIT_NOFILE" : fields[0]
    let named = ResourceLimit.Kind.allCases.first { RawArgument($0.name) == word }
    let numbered = constantNumber(word.bytes).flatMap(CInt.init(exactly:))
    guard let kind = named ?? numbered.flatMap(ResourceLimit.Kind.init(rawValue:)) else {
      throw JailError(
        "Bad rlimit: '\(fields[0])': use a name of getrlimit(2), such as RLIMIT_NOFILE, or its number"
      )
    }
    var limits: [UInt64] = []
    for field in fields[1...] {
      guard let limit = field == "unlimited" ? .max : constantNumber(field.bytes) else {
        throw JailError("Bad rlimit: '\(text)': a limit is a number or 'unlimited'")
      }
      limits.append(limit)
    }
    return ResourceLimit(kind, soft: limits[0], hard: limits[1])
  }

  /// `NAME=value` of `--env-add`.
  static func variable(_ text: RawArgument) throws(JailError) -> EnvironmentEdit {
    let parts = text.split(separator: "=", maxSplits: 1)
    guard parts.count == 2, !parts[0].isEmpty else {
      throw JailError("Bad environment variable: '\(text)': --env-add takes NAME=value")
    }
    return .set(name: parts[0], value: parts[1])
  }

  /// The number of `--preserve-fd`; nil for what the reference ignores, a negative one.
  static func descriptor(_ text: RawArgument) throws(JailError) -> CInt? {
    guard let number = text.isEmpty ? 0 : text.text.flatMap({ CInt($0) }) else {
      throw JailError("Bad descriptor: '\(text)': --preserve-fd takes a decimal number")
    }
    return number < 0 ? nil : number
  }

  static func landlockABI(_ text: RawArgument) throws(JailError) -> Int {
    guard let abi = text.isEmpty ? 0 : text.text.flatMap({ CInt($0) }), abi >= 0 else {
      throw JailError("Bad Landlock ABI: '\(text)': --landlock-abi takes a number from 0")
    }
    return Int(abi)
  }

  /// A name below `/run/daemon-store`.
  static func store(_ word: RawArgument) throws(JailError) -> FilePath {
    let name = word.bytes
    let isGood =
      name.count <= 255 && name.first.map(isAlphanumeric) == true
      && name.allSatisfy { isAlphanumeric($0) || "._-".utf8.contains($0) }
    guard isGood else {
      throw JailError(
        "Bad daemon store '\(word)': a name is [A-Za-z0-9][A-Za-z0-9._-]*, at most 255 bytes")
    }
    return FilePath(word)
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
