import DaemonStoreKernel

/// A file of options, minijail0(5): a first line that says what it is, and then `key` or
/// `key = value`, a line each. Pure: bytes in, options out, and back. A value is any bytes but NUL
/// and a line feed.
enum ConfigurationFile {
  static let header = "% minijail-config-file v0"
  /// Larger than any list of options that somebody maintains.
  static let limit = 1 << 20

  private static let backslash = UInt8(ascii: "\\")

  /// The options of a file, in its order.
  ///
  /// - Parameter file: its name, for messages: `FILE(LINE): what is wrong`.
  static func options(_ bytes: [UInt8], file: FilePath) throws(JailError) -> [FoundOption] {
    guard !bytes.contains(0) else { throw JailError("\(file): there is a zero byte in it") }
    let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    guard lines.count > 1, lines[0].elementsEqual(header.utf8) else {
      throw JailError("\(file)(1): the first line must be exactly '\(header)'")
    }
    var options: [FoundOption] = []
    var index = 1
    while index < lines.count {
      let first = index
      var line = lines[index]
      index += 1
      if line.last == backslash {
        var joined: [UInt8] = []
        while line.last == backslash {
          guard index + 1 < lines.count || (index < lines.count && !lines[index].isEmpty) else {
            throw JailError("\(file)(\(index)): the last line ends in '\\', and nothing follows")
          }
          joined += line.dropLast() + [UInt8(ascii: " ")]
          line = lines[index]
          index += 1
        }
        line = (joined + line)[...]
      }
      let words = trimmed(line)
      if words.isEmpty || words.first == UInt8(ascii: "#") { continue }
      options.append(try option(words, place: "\(file)(\(first + 1))"))
    }
    return options
  }

  private static func option(
    _ line: ArraySlice<UInt8>, place: @autoclosure () -> String
  ) throws(JailError) -> FoundOption {
    let name = line.prefix { $0 != UInt8(ascii: "=") }
    let key = trimmed(name)
    let value = name.endIndex < line.endIndex ? trimmed(line[(name.endIndex + 1)...]) : nil
    guard !key.isEmpty else { throw JailError("\(place()): a key is missing before '='") }
    guard value?.isEmpty != true else {
      throw JailError("\(place()): \(shownBytes(key)): a value is missing")
    }
    let row =
      key.count == 1
      ? OptionRow.short(key[key.startIndex])
      : OptionRow.all.first { $0.long?.utf8.elementsEqual(key) == true }
    guard let row else {
      throw JailError(
        "\(place()): Unable to recognize '\(shownBytes(key))' as Minijail conf entry key: it is no "
          + "option")
    }
    guard row.name != .configurationFile, row.name != .writeConfiguration else {
      throw JailError("\(place()): \(row.key): a configuration file cannot name another one")
    }
    if row.value == .required, value == nil {
      throw JailError("\(place()): \(row.key): a value is missing")
    }
    let spelling = (row.long == nil ? "-" : "--") + row.key
    return FoundOption(
      row, value: row.value == .none ? nil : value.map { RawArgument(bytes: $0) },
      spelling: spelling)
  }

  /// The text of a file that means these options.
  static func text(_ options: [FoundOption]) throws(JailError) -> [UInt8] {
    var text = Array((header + "\n\n").utf8)
    for option in options where option.name != .writeConfiguration {
      text += option.key.utf8
      guard let value = option.value?.bytes else {
        text.append(UInt8(ascii: "\n"))
        continue
      }
      let isPlain =
        !value.isEmpty && trimmed(value[...]).count == value.count && value.last != backslash
        && !value.contains(UInt8(ascii: "\n"))
      guard isPlain else {
        throw JailError(
          "--gen-config: the value '\(shownBytes(value))' of \(option.spelling) cannot be written: "
            + "a configuration file has no empty values, no blanks around them, no line feeds and "
            + "no '\\' at the end")
      }
      text += " = ".utf8
      text += value
      text.append(UInt8(ascii: "\n"))
    }
    return text
  }

  /// Without the blanks around it.
  private static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    var result = bytes.drop { isBlank($0) }
    while let last = result.last, isBlank(last) { result.removeLast() }
    return result
  }
}

/// As isspace(3) in the C locale.
func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || (9...13).contains(byte) }
