/// What stands after the colon.
struct ParsedRule {
  var clauses: [Clause] = []
  var otherwise: Action?
  /// Nothing may follow for the same system call.
  var isClosed = false
}

/// Reads the part of a line after the colon. Nil stands for a mistake that has been reported.
struct RuleParser {
  let text: ArraySlice<UInt8>
  let dialect: Dialect
  let architecture: Architecture

  init(text: ArraySlice<UInt8>, run: ParserRun) {
    self.text = text
    dialect = run.parser.dialect
    architecture = run.parser.architecture
  }

  func rule(_ run: inout ParserRun) -> ParsedRule? {
    if text.first == UInt8(ascii: "{") { return list(&run) }
    if isAction(text) {
      guard let action = action(text, &run) else { return nil }
      return ParsedRule(otherwise: action.action, isClosed: true)
    }
    return dialect == .minijail ? choice(&run) : filter(text, &run)
  }

  /// `choice [ ";" return ]` of the reference: what follows the semicolon is for where the choice
  /// does not hold.
  private func choice(_ run: inout ParserRun) -> ParsedRule? {
    let parts = text.parts(separator: ";").filter { !$0.isEmpty }
    guard let first = parts.first else {
      run.fail(Step.filter, "empty policy line", at: text.startIndex)
      return nil
    }
    let condition = condition(first, &run)
    var otherwise: Action?
    if parts.count > 1 {
      let word = parts[1].trimmed
      guard word.hasPrefix("return") else {
        let hint =
          isAction(word) && !isOne(word)
          ? ": write { \(shown(first.trimmed)), \(shown(word)) } for what happens otherwise" : ""
        run.fail(
          Step.errno, "invalid action '\(shown(word))' after ';'\(hint)", at: parts[1].startIndex)
        return nil
      }
      guard let action = action(word, &run) else { return nil }
      otherwise = action.action
    }
    if parts.count > 2 {
      run.warn(Step.filter, "ignored: ';\(shown(parts[2]))'", at: parts[2].startIndex)
    }
    guard let condition else { return nil }
    let place = run.place(of: text.startIndex)
    return ParsedRule(
      clauses: [Clause(condition: condition, action: .allow, place: place)], otherwise: otherwise,
      isClosed: true)
  }

  /// `{ filter, filter, … }`: the first that holds decides. An action alone always holds.
  private func list(_ run: inout ParserRun) -> ParsedRule? {
    guard text.last == UInt8(ascii: "}"), text.count > 1 else {
      run.fail(Step.filter, "unclosed '{'", at: text.startIndex)
      return nil
    }
    var result = ParsedRule()
    var isWrong = false
    for part in text.dropFirst().dropLast().parts(separator: ",") {
      let filterText = part.trimmed
      if result.isClosed {
        run.fail(Step.filter, "never reached: '\(shown(filterText))'", at: filterText.startIndex)
        return nil
      }
      if isAction(filterText) {
        guard let action = action(filterText, &run) else { return nil }
        result.otherwise = action.action
        result.isClosed = true
      } else if let filter = filter(filterText, &run) {
        result.clauses += filter.clauses
      } else {
        isWrong = true
      }
    }
    return isWrong ? nil : result
  }

  /// `choice [ ";" action ]` of the compile tool: the action is for where the choice holds.
  private func filter(_ text: ArraySlice<UInt8>, _ run: inout ParserRun) -> ParsedRule? {
    let parts = text.parts(separator: ";")
    guard let condition = condition(parts[0], &run) else { return nil }
    var action = Action.allow
    if parts.count > 1 {
      let word = parts[1].trimmed
      guard parts.count == 2, isAction(word) else {
        run.fail(Step.errno, "invalid action '\(shown(word))'", at: parts[1].startIndex)
        return nil
      }
      guard let parsed = self.action(word, &run) else { return nil }
      guard let some = parsed.action else {
        run.fail(Step.errno, "return needs an error number here", at: word.startIndex)
        return nil
      }
      action = some
    }
    let place = run.place(of: text.startIndex)
    return ParsedRule(clauses: [Clause(condition: condition, action: action, place: place)])
  }

  private func condition(
    _ text: ArraySlice<UInt8>, _ run: inout ParserRun
  ) -> [[Comparison]]? {
    var groups: [[Comparison]] = []
    var isWrong = false
    for part in text.parts(separator: "||") {
      var group: [Comparison] = []
      for atom in part.parts(separator: "&&") {
        if let comparison = comparison(atom, &run) {
          group.append(comparison)
        } else {
          isWrong = true
        }
      }
      groups.append(group)
    }
    return isWrong ? nil : groups
  }
}

// MARK: Actions
extension RuleParser {
  private func isOne(_ text: ArraySlice<UInt8>) -> Bool {
    text.equals("1") || (dialect == .compileTool && Number(text, dialect)?.bits == 1)
  }

  private func isAction(_ text: ArraySlice<UInt8>) -> Bool {
    isOne(text) || text.hasPrefix("return") || Action(word: text) != nil
  }

  /// The action, nil within for the default one.
  private func action(
    _ text: ArraySlice<UInt8>, _ run: inout ParserRun
  ) -> (action: Action?, text: ArraySlice<UInt8>)? {
    if isOne(text) { return (.allow, text) }
    if let action = Action(word: text) { return (action, text) }
    let words =
      dialect == .minijail
      ? text.words : text.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
    guard let first = words.first, first.equals("return") else {
      run.fail(
        Step.errno, "invalid action '\(shown(text))': return N has a blank before the number",
        at: text.startIndex)
      return nil
    }
    guard words.count > 1 else {
      guard dialect == .minijail else {
        run.fail(Step.errno, "return needs an error number", at: text.endIndex - 1)
        return nil
      }
      return (nil, text)
    }
    if words.count > 2 {
      guard dialect == .minijail else {
        run.fail(Step.errno, "extra token '\(shown(words[2]))'", at: words[2].startIndex)
        return nil
      }
      run.warn(Step.errno, "ignored: '\(shown(words[2]))'", at: words[2].startIndex)
    }
    guard let number = errorNumber(words[1], &run) else { return nil }
    return (.errno(number), text)
  }

  /// Cut to 16 bits, as the kernel's action holds no more; the kernel then takes 4095 at most.
  private func errorNumber(_ word: ArraySlice<UInt8>, _ run: inout ParserRun) -> UInt16? {
    let value: Value
    do throws(ValueFault) {
      value = try ValueParser.value(of: word, architecture: architecture, dialect: dialect)
    } catch {
      run.fail(
        Step.errno, "invalid errno value '\(shown(word))'", at: error.index, detail: error.detail)
      return nil
    }
    let isPlain = !word.contains { "|(~".utf8.contains($0) }
    guard value.bits <= UInt64(Int32.max), dialect == .minijail || isPlain else {
      run.fail(Step.errno, "invalid errno value '\(shown(word))'", at: word.startIndex)
      return nil
    }
    let number = UInt16(truncatingIfNeeded: value.bits)
    if value.bits > 4095 {
      run.warn(
        Step.errno, "errno value '\(shown(word))' comes out as \(min(number, 4095))",
        at: word.startIndex)
    }
    return number
  }
}

// MARK: Comparisons
extension RuleParser {
  /// `arg0 == VALUE`: for the reference three words with blanks between, no tabs.
  private func comparison(
    _ text: ArraySlice<UInt8>, _ run: inout ParserRun
  ) -> Comparison? {
    guard
      let (argument, operation, value) =
        dialect == .minijail ? strictWords(text, &run) : freeWords(text, &run)
    else { return nil }
    guard argument.hasPrefix("arg") else {
      run.fail(
        Step.atom, "invalid argument token '\(shown(argument))'", at: argument.startIndex)
      return nil
    }
    guard let index = Number.unsigned(argument.dropFirst(3)), index <= 5 else {
      run.fail(
        Step.atom, "invalid argument index '\(shown(argument))': arg0 to arg5",
        at: argument.startIndex)
      return nil
    }
    guard let known = Operator.allCases.first(where: { operation.elementsEqual($0.rawValue.utf8) })
    else {
      run.fail(Step.atom, "invalid operator '\(shown(operation))'", at: operation.startIndex)
      return nil
    }
    do throws(ValueFault) {
      let parsed = try ValueParser.value(of: value, architecture: architecture, dialect: dialect)
      return Comparison(argument: Int(index), operation: known, value: parsed)
    } catch {
      run.fail(
        Step.atom, "invalid constant '\(shown(value))'", at: error.index, detail: error.detail)
      return nil
    }
  }

  private typealias Words = (ArraySlice<UInt8>, ArraySlice<UInt8>, ArraySlice<UInt8>)

  private func strictWords(_ text: ArraySlice<UInt8>, _ run: inout ParserRun) -> Words? {
    let words = text.words
    guard let first = words.first else {
      run.fail(Step.atom, "empty atom", at: text.startIndex)
      return nil
    }
    guard words.count >= 3 else {
      run.fail(Step.atom, "invalid atom '\(shown(text.trimmed))'", at: first.startIndex)
      return nil
    }
    guard words.count == 3 else {
      run.fail(Step.atom, "extra token '\(shown(words[3]))'", at: words[3].startIndex)
      return nil
    }
    return (words[0], words[1], words[2])
  }

  private func freeWords(_ text: ArraySlice<UInt8>, _ run: inout ParserRun) -> Words? {
    let atom = text.trimmed
    guard !atom.isEmpty else {
      run.fail(Step.atom, "empty atom", at: text.startIndex)
      return nil
    }
    let argument = atom.prefix {
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
        || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
    }
    let rest = atom[argument.endIndex...].trimmed
    let isWord = rest.hasPrefix("in")
    let operation = isWord ? rest.prefix(2) : rest.prefix { "=!<>&".utf8.contains($0) }
    let value = rest[operation.endIndex...].trimmed
    // `in1` is one word, and not the operator `in`.
    if isWord, let next = rest.dropFirst(2).first, !" \t~(-".utf8.contains(next) {
      run.fail(Step.atom, "invalid operator '\(shown(rest))'", at: rest.startIndex)
      return nil
    }
    guard !argument.isEmpty, !operation.isEmpty, !value.isEmpty else {
      run.fail(Step.atom, "invalid atom '\(shown(atom))'", at: atom.startIndex)
      return nil
    }
    return (argument, operation, value)
  }
}
