import Kernel

/// A file of options, minijail0(5): a first line that says what it is, and then `key` or
/// `key = value`, a line each. Pure: text in, options out, and back.
enum ConfigurationFile {
  static let header = "% minijail-config-file v0"
  /// Larger than any list of options that somebody maintains.
  static let limit = 1 << 20

  /// The options of a file, in its order.
  ///
  /// - Parameter file: its name, for messages: `FILE(LINE): what is wrong`.
  static func options(_ bytes: [UInt8], file: String) throws(JailError) -> [FoundOption] {
    guard let text = String(validating: bytes, as: UTF8.self), !bytes.contains(0) else {
      throw JailError("\(file): it is not text in UTF-8")
    }
    // By bytes: for Swift, a carriage return and a line feed are one character.
    var lines = text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      .map { String(Substring($0)) }
    guard lines.count > 1, lines.removeFirst() == header else {
      throw JailError("\(file)(1): the first line must be exactly '\(header)'")
    }
    var options: [FoundOption] = []
    var number = 1
    while !lines.isEmpty {
      number += 1
      let first = number
      var line = lines.removeFirst()
      while line.utf8.last == UInt8(ascii: "\\") {
        guard lines.count > 1 || lines.first?.isEmpty == false else {
          throw JailError("\(file)(\(number)): the last line ends in '\\', and nothing follows")
        }
        number += 1
        line = line.dropLast() + " " + lines.removeFirst()
      }
      let words = trimmed(line[...])
      if words.isEmpty || words.hasPrefix("#") { continue }
      options.append(try option(words, place: "\(file)(\(first))"))
    }
    return options
  }

  private static func option(
    _ line: Substring, place: String
  ) throws(JailError) -> FoundOption {
    let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    let key = trimmed(parts[0])
    let value = parts.count > 1 ? trimmed(parts[1]) : nil
    guard !key.isEmpty else { throw JailError("\(place): a key is missing before '='") }
    guard value?.isEmpty != true else { throw JailError("\(place): \(key): a value is missing") }
    let row =
      key.utf8.count == 1
      ? key.first.flatMap(OptionRow.short) : OptionRow.all.first { $0.long == String(key) }
    guard let row else {
      throw JailError(
        "\(place): Unable to recognize '\(key)' as Minijail conf entry key: it is no option")
    }
    guard row.name != .configurationFile, row.name != .writeConfiguration else {
      throw JailError("\(place): \(key): a configuration file cannot name another one")
    }
    if row.value == .required, value == nil {
      throw JailError("\(place): \(key): a value is missing")
    }
    let spelling = (row.long == nil ? "-" : "--") + row.key
    return FoundOption(
      row, value: row.value == .none ? nil : value.map(String.init), spelling: spelling)
  }

  /// The text of a file that means these options.
  static func text(_ options: [FoundOption]) throws(JailError) -> String {
    var text = header + "\n\n"
    for option in options where option.name != .writeConfiguration {
      guard let value = option.value else {
        text += option.key + "\n"
        continue
      }
      let isPlain =
        !value.isEmpty && trimmed(value[...]) == value && value.utf8.last != UInt8(ascii: "\\")
        && !value.utf8.contains(UInt8(ascii: "\n"))
      guard isPlain else {
        throw JailError(
          "--gen-config: the value '\(value)' of \(option.spelling) cannot be written: a "
            + "configuration file has no empty values, no blanks around them, no line feeds and "
            + "no '\\' at the end")
      }
      text += "\(option.key) = \(value)\n"
    }
    return text
  }

  /// Without the blanks around it: space and tab, as isspace(3) adds the others.
  private static func trimmed(_ text: Substring) -> Substring {
    let isBlank = { (character: Character) in character.isASCII && character.isWhitespace }
    var result = text.drop(while: isBlank)
    while let last = result.last, isBlank(last) { result.removeLast() }
    return result
  }
}
