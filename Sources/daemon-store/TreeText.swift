extension TreeOutput.Store {
  var facts: [String] {
    [peerGroup.map { "peer group \($0)" } ?? "in no peer group", template ?? "no template"]
      + (healthy ? [] : ["not healthy"])
  }
}

extension TreeOutput {
  private static let width = 80

  /// In lines of at most 80 columns.
  func text() -> [String] {
    if stores.isEmpty { return ["no stores"] }
    var lines: [String] = []
    for (store, isWithCache) in shown {
      let facts = store.facts + (isWithCache ? ["cache alike"] : [])
      lines.append(Self.fit(store.path, Self.width))
      lines.append("  " + Self.fit(facts.joined(separator: ", "), Self.width - 2))
      lines.append("  users")
      if store.users.isEmpty { lines.append("    nobody") }
      for user in store.users { lines.append("    \(user)") }
      lines.append("  seen by")
      lines.append("    \(here)")
      let names = store.namespaces.map { Self.fit($0.namespace.shown, 33) }
      let column = names.map(\.count).max() ?? 0
      for (name, view) in zip(names, store.namespaces) {
        let padding = String(repeating: " ", count: column - name.count)
        let users =
          store.users.isEmpty
          ? ""
          : view.missing.isEmpty
            ? ", all users" : ", \(view.arrived.count) of \(store.users.count) users"
        lines.append("    \(name)\(padding)  \(view.relation)\(users)")
        for user in view.missing { lines.append("      not \(user)") }
      }
    }
    return lines
  }

  /// A name that is too long, without its middle.
  private static func fit(_ text: String, _ width: Int) -> String {
    guard text.count > width else { return text }
    let head = (width - 3) / 2
    return "\(text.prefix(head))...\(text.suffix(width - 3 - head))"
  }
}
