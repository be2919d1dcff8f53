extension ParserRun {
  /// The system calls before the colon: a name, a number, or `{a, b}`, each with `[arch=…]` where
  /// it is meant for some architectures. Nil when there is a mistake, which has been reported.
  mutating func calls(_ text: ArraySlice<UInt8>) -> [(SystemCall, Int)]? {
    guard text.first == UInt8(ascii: "{") else { return call(text) }
    guard text.last == UInt8(ascii: "}"), text.count > 1 else {
      fail(Step.file, "unclosed '{'", at: text.startIndex)
      return nil
    }
    var calls: [(SystemCall, Int)] = []
    var isWrong = false
    for part in outsideBrackets(text.dropFirst().dropLast()) {
      if let found = call(part.trimmed) {
        calls += found
      } else {
        isWrong = true
      }
    }
    return isWrong ? nil : calls
  }

  /// Empty for a name that is not meant for this architecture.
  private mutating func call(_ text: ArraySlice<UInt8>) -> [(SystemCall, Int)]? {
    var name = text
    if let bracket = text.firstIndex(of: UInt8(ascii: "[")) {
      name = text[..<bracket].trimmed
      switch isMeant(text[bracket...]) {
      case nil: return nil
      case false?: return []
      case true?: break
      }
    }
    guard !name.isEmpty else {
      fail(Step.file, "empty syscall name", at: text.startIndex)
      return nil
    }
    guard let number = number(ofCall: name) else {
      let message = "nonexistent syscall '\(shown(name))'"
      if parser.toleratesUnknownCalls {
        warn(Step.file, message, at: name.startIndex)
        return []
      }
      fail(Step.file, message, at: name.startIndex)
      return nil
    }
    let isNumber = name.withBytes { parser.architecture.number(ofCall: $0) } == nil
    let word = (isNumber ? nameOfCall(number) : nil) ?? String(decoding: name, as: UTF8.self)
    return [(SystemCall(number: number, name: word), name.startIndex)]
  }

  /// A name of the table, or a number within the architecture's own interface.
  func number(ofCall name: ArraySlice<UInt8>) -> UInt32? {
    if let number = name.withBytes({ parser.architecture.number(ofCall: $0) }) { return number }
    guard let first = name.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first),
      let number = Number(name, parser.dialect)?.bits, number < parser.architecture.numberLimit
    else { return nil }
    return UInt32(truncatingIfNeeded: number)
  }

  /// Calls that are given as numbers are named from a list that is made for the first of them.
  private mutating func nameOfCall(_ number: UInt32) -> String? {
    if callNames.isEmpty {
      for call in parser.architecture.systemCalls where callNames[call.number] == nil {
        callNames[call.number] = call.name
      }
    }
    return callNames[number]
  }

  /// `[arch=a,b;key=value]`: other keys are for other tools.
  private mutating func isMeant(_ text: ArraySlice<UInt8>) -> Bool? {
    guard text.last == UInt8(ascii: "]") else {
      fail(Step.file, "unclosed '['", at: text.startIndex)
      return nil
    }
    var keys: [ArraySlice<UInt8>] = []
    var isMeant = true
    for part in text.dropFirst().dropLast().parts(separator: ";") {
      let sides = part.parts(separator: "=").map(\.trimmed)
      guard sides.count == 2, !sides[0].isEmpty, !sides[1].isEmpty else {
        fail(Step.file, "invalid metadata '\(shown(part))'", at: part.startIndex)
        return nil
      }
      guard !keys.contains(sides[0]) else {
        fail(Step.file, "metadata '\(shown(sides[0]))' redefined here", at: part.startIndex)
        return nil
      }
      keys.append(sides[0])
      guard sides[0].equals("arch") else { continue }
      guard let architectures = architectures(sides[1]) else { return nil }
      isMeant = architectures.contains(parser.architecture)
    }
    return isMeant
  }

  /// Nil for a name that is none: its rule would count nowhere.
  private mutating func architectures(_ text: ArraySlice<UInt8>) -> [Architecture]? {
    var architectures: [Architecture] = []
    for name in text.parts(separator: ",").map(\.trimmed) {
      if let architecture = Architecture(name: String(decoding: name, as: UTF8.self)) {
        architectures.append(architecture)
      } else if !Self.otherArchitectures.contains(where: { name.equals($0) }) {
        let known = Architecture.allCases.map(\.name).joined(separator: ", ")
        let message = "unknown architecture '\(shown(name))': \(known)"
        fail(Step.file, message, at: name.startIndex)
        return nil
      }
    }
    return architectures
  }

  /// Those that the compile tool knows and this compiler does not: no mistake in a shared policy.
  private static let otherArchitectures: [StaticString] = ["loong64", "loongarch64"]

  private func outsideBrackets(_ text: ArraySlice<UInt8>) -> [ArraySlice<UInt8>] {
    var parts: [ArraySlice<UInt8>] = []
    var start = text.startIndex
    var isInside = false
    for index in text.indices {
      switch text[index] {
      case UInt8(ascii: "["): isInside = true
      case UInt8(ascii: "]"): isInside = false
      case UInt8(ascii: ",") where !isInside:
        parts.append(text[start..<index])
        start = index + 1
      default: break
      }
    }
    return parts + [text[start...]]
  }
}
