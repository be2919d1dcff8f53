import DaemonStoreKernel

/// An option as it was found on the command line or in a configuration file.
struct FoundOption: Equatable {
  let name: OptionName
  /// What a configuration file calls it.
  let key: String
  /// nil when the option takes none, or takes one if it is attached and has none.
  let value: RawArgument?
  /// As it was typed, for messages: `-u`, `--bind-mount`.
  let spelling: String

  init(_ row: OptionRow, value: RawArgument?, spelling: String) {
    name = row.name
    self.value = value
    self.spelling = spelling
    key = row.key
  }
}

/// Takes a command line apart by the rules of getopt_long(3): bundled short options, values
/// attached or separate, optional values attached only, long options shortened to a prefix that
/// fits one of them. Stops at `--` and at the first word that is no option.
struct OptionScanner {
  /// What is left: after the last option, the program and its arguments.
  private(set) var rest: ArraySlice<RawArgument>
  /// The rest of a word of bundled short options.
  private var bundle: ArraySlice<UInt8> = []
  /// How the program was called: what messages about the grammar start with.
  private let program: String

  init(_ arguments: [RawArgument], program: String) {
    rest = arguments[...]
    self.program = program
  }

  /// The next option; nil when there are no more.
  mutating func next() throws(JailError) -> FoundOption? {
    if !bundle.isEmpty { return try short() }
    guard let word = rest.first?.bytes, word.count > 1, word[0] == UInt8(ascii: "-") else {
      return nil
    }
    rest.removeFirst()
    if word[1] != UInt8(ascii: "-") {
      bundle = word.dropFirst()
      return try short()
    }
    return word.count == 2 ? nil : try long(word.dropFirst(2))
  }

  private mutating func short() throws(JailError) -> FoundOption? {
    let byte = bundle.removeFirst()
    let letter = shownBytes([byte])
    guard let row = OptionRow.short(byte) else {
      throw grammar("invalid option -- '\(letter)'")
    }
    var value: [UInt8]?
    if row.value != .none, !bundle.isEmpty {
      value = Array(bundle)
      bundle = []
    } else if row.value == .required {
      guard let word = rest.popFirst() else {
        throw grammar("option requires an argument -- '\(letter)'")
      }
      value = word.bytes
    }
    return found(row, value, "-\(letter)")
  }

  private mutating func long(_ word: ArraySlice<UInt8>) throws(JailError) -> FoundOption? {
    let key = word.prefix { $0 != UInt8(ascii: "=") }
    let typed = "--" + shownBytes(key)
    let row = try row(of: key, typed)
    let spelling = "--" + (row.long ?? "")
    var value = key.count < word.count ? Array(word[(key.endIndex + 1)...]) : nil
    if value != nil, row.value == .none {
      throw grammar("option '\(spelling)' doesn't allow an argument")
    }
    if value == nil, row.value == .required {
      guard let word = rest.popFirst() else {
        throw grammar("option '\(spelling)' requires an argument")
      }
      value = word.bytes
    }
    return found(row, value, spelling)
  }

  /// The long option of that name, or the only one that starts so.
  private func row(of key: ArraySlice<UInt8>, _ typed: String) throws(JailError) -> OptionRow {
    var fitting: [OptionRow] = []
    for row in OptionRow.all {
      guard let long = row.long, long.utf8.starts(with: key) else { continue }
      if long.utf8.count == key.count { return row }
      if !row.isOurs { fitting.append(row) }
    }
    guard let row = fitting.first else { throw grammar("unrecognized option '\(typed)'") }
    guard fitting.count == 1 else {
      let names = fitting.map { "'--\($0.long ?? "")'" }.joined(separator: " ")
      throw grammar("option '\(typed)' is ambiguous; possibilities: \(names)")
    }
    return row
  }

  private func found(
    _ row: OptionRow, _ value: [UInt8]?, _ spelling: String
  ) -> FoundOption {
    FoundOption(row, value: value.map { RawArgument(bytes: $0) }, spelling: spelling)
  }

  private func grammar(_ text: String) -> JailError {
    JailError("\(program): \(text)", showsHelp: true)
  }
}
