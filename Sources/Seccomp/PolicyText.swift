extension Policy {
  /// The policy as text, which reads back to the same meaning in that dialect. What `@frequency`
  /// said is not in it, nor are comments.
  package func text(_ dialect: Dialect = .minijail) -> String {
    var lines: [String] = []
    if let defaultAction { lines.append("@default \(defaultAction.word)") }
    for rule in rules {
      if let line = rule.text(architecture, dialect) { lines.append(line) }
    }
    return lines.map { $0 + "\n" }.joined()
  }
}

extension Rule {
  /// Nil for what the dialect has no word for and need not say: the default action.
  func text(_ architecture: Architecture, _ dialect: Dialect) -> String? {
    let isKnown = architecture.number(ofCall: call.name) == call.number
    let name = isKnown ? call.name : "\(call.number)"
    // A clause that always holds is the end of the rule, one that never does is none.
    var clauses: [Clause] = []
    var otherwise = otherwise
    for clause in self.clauses where !clause.condition.isEmpty {
      if clause.condition.contains(where: \.isEmpty) {
        otherwise = clause.action
        break
      }
      clauses.append(clause)
    }
    guard let first = clauses.first else {
      if otherwise == nil, dialect == .compileTool { return nil }
      return "\(name): \(otherwise.map(Self.word) ?? "return")"
    }
    let condition = first.conditionText(architecture, dialect)
    if clauses.count == 1 {
      switch (dialect, first.action, otherwise) {
      case (_, .allow, nil): return "\(name): \(condition)"
      case (.minijail, .allow, .errno): return "\(name): \(condition); \(Self.word(otherwise))"
      case (.compileTool, _, nil): return "\(name): \(condition); \(Self.word(first.action))"
      default: break
      }
    }
    var filters: [String] = []
    for clause in clauses {
      let end = clause.action == .allow ? "" : "; \(Self.word(clause.action))"
      filters.append(clause.conditionText(architecture, dialect) + end)
    }
    if let otherwise { filters.append(Self.word(otherwise)) }
    return "\(name): { \(filters.joined(separator: ", ")) }"
  }

  private static func word(_ action: Action?) -> String {
    action == .allow ? "1" : action?.word ?? "return"
  }
}

extension Clause {
  func conditionText(_ architecture: Architecture, _ dialect: Dialect) -> String {
    let groups = condition.map { group in
      group.map { comparison in
        let value = comparison.value.text(architecture, dialect)
        return "arg\(comparison.argument) \(comparison.operation.rawValue) \(value)"
      }.joined(separator: " && ")
    }
    return groups.joined(separator: " || ")
  }
}

extension Value {
  /// As it was written, where that means the same here.
  func text(_ architecture: Architecture, _ dialect: Dialect) -> String {
    let bytes = Array(text.utf8)
    if !bytes.contains(where: { " \t,;#".utf8.contains($0) }),
      let again = try? ValueParser.value(
        of: bytes[...], architecture: architecture, dialect: dialect),
      again.bits == bits, again.isInt == isInt
    {
      return text
    }
    return "0x\(String(bits, radix: 16))"
  }
}
