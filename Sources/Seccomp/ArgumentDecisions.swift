/// Builds the nodes for rules that look at arguments.
///
/// A word is loaded once on each path: everything that a rule asks about it is answered before the
/// next word is loaded, and what remains of the rule is then a smaller rule. Equal remainders share
/// their nodes. Rules with many masks can have too many remainders: ``Budget`` bounds the work, and
/// such a rule is built comparison by comparison instead, with words loaded again where needed.
struct ArgumentDecisions {
  private var table = FormulaTable()
  private let is64Bit: Bool
  private let sharesLoads: Bool
  private var budget = Budget()
  private var entered: [Int: Int] = [:]
  /// By rule and the word that is loaded.
  private var continued: [Continuation: Int] = [:]

  private struct Continuation: Hashable {
    let rule: Int
    let word: UInt32
  }

  private struct Budget {
    /// Formula nodes looked at, for one rule; a thousand comparisons against one argument need half.
    static let perRule = 4_000_000
    var left = perRule
    struct Exhausted: Error {}
  }

  /// Without `sharesLoads` every rule is built comparison by comparison.
  init(is64Bit: Bool, sharesLoads: Bool) {
    self.is64Bit = is64Bit
    self.sharesLoads = sharesLoads
  }

  /// The node at which a rule begins. `targets` gives the nodes of actions.
  mutating func node(
    for rule: Rule, in graph: inout DecisionGraph, target: (Action?) -> UInt32
  ) -> Int {
    let otherwise = graph.leaf(target(rule.otherwise))
    guard !rule.clauses.isEmpty else { return otherwise }
    budget = Budget()
    var targets: [Int] = []
    for clause in rule.clauses { targets.append(graph.leaf(target(clause.action))) }
    if sharesLoads, rule.clauses.count <= 1024 {
      let formula = formula(rule, targets, otherwise)
      do throws(Budget.Exhausted) {
        return try enter(formula, &graph)
      } catch {}  // the plain form below
    }
    return plain(rule, targets, otherwise, &graph)
  }

  private mutating func formula(_ rule: Rule, _ targets: [Int], _ otherwise: Int) -> Int {
    var result = table.target(otherwise)
    for (clause, target) in zip(rule.clauses, targets).reversed() {
      var groups: [Int] = []
      for group in clause.condition {
        var parts: [Int] = []
        for comparison in group { parts.append(table.comparison(comparison, is64Bit: is64Bit)) }
        groups.append(table.all(parts[...]))
      }
      let condition = table.any(groups[...])
      let then = table.target(target)
      result = table.choose(condition, then: then, otherwise: result)
    }
    return result
  }

  /// The nodes of a rule when no word of it is loaded.
  private mutating func enter(
    _ rule: Int, _ graph: inout DecisionGraph
  ) throws(Budget.Exhausted) -> Int {
    if case .target(let node) = table.nodes[rule] { return node }
    if let known = entered[rule] { return known }
    let word = firstWord(of: rule)
    let next = try proceed(rule, word, &graph)
    let node = graph.load(word, next: next)
    entered[rule] = node
    return node
  }

  /// The nodes of a rule when `word` is loaded.
  private mutating func proceed(
    _ rule: Int, _ word: UInt32, _ graph: inout DecisionGraph
  ) throws(Budget.Exhausted) -> Int {
    if case .target(let node) = table.nodes[rule] { return node }
    let continuation = Continuation(rule: rule, word: word)
    if let known = continued[continuation] { return known }
    var questions = Questions()
    questions.collect(rule, word, table)
    try spend(questions.visited.count)
    let node: Int
    if let mask = questions.masks.first {
      var memory: [Int: Int] = [:]
      let ifAny = table.restrict(rule, word, .bits(mask, isAny: true), &memory)
      try spend(memory.count)
      memory = [:]
      let ifNone = table.restrict(rule, word, .bits(mask, isAny: false), &memory)
      try spend(memory.count)
      let no = try proceed(ifNone, word, &graph)
      let yes = try proceed(ifAny, word, &graph)
      node = graph.test(.anyBit, mask, yes: yes, no: no)
    } else if !questions.borders.isEmpty {
      var runs: [Run] = []
      let borders = questions.borders.sorted()
      try split(rule, word, 0, .max, borders[...], questions.values, &runs, &graph)
      node = graph.searchTree(runs)
    } else {
      return try enter(rule, &graph)
    }
    continued[continuation] = node
    return node
  }

  /// The runs of a word between `low` and `high`. Halved at the borders again and again, a rule of many
  /// values shrinks with each half.
  private mutating func split(
    _ rule: Int, _ word: UInt32, _ low: UInt32, _ high: UInt32, _ borders: ArraySlice<UInt32>,
    _ values: Set<UInt32>, _ runs: inout [Run], _ graph: inout DecisionGraph
  ) throws(Budget.Exhausted) {
    var memory: [Int: Int] = [:]
    let rest = table.restrict(rule, word, .range(low, high), &memory)
    try spend(memory.count)
    guard !borders.isEmpty else {
      let weight = values.contains(low) ? 4 : 1
      runs.append(Run(start: low, target: try enter(rest, &graph), weight: weight))
      return
    }
    let middle = (borders.startIndex + borders.endIndex) / 2
    let border = borders[middle]
    try split(rest, word, low, border - 1, borders[..<middle], values, &runs, &graph)
    try split(rest, word, border, high, borders[(middle + 1)...], values, &runs, &graph)
  }

  private mutating func spend(_ work: Int) throws(Budget.Exhausted) {
    budget.left -= work + 1
    guard budget.left > 0 else { throw Budget.Exhausted() }
  }

  private func firstWord(of formula: Int) -> UInt32 {
    var formula = formula
    while true {
      switch table.nodes[formula] {
      case .question(let word, _, _): return word
      case .both(let left, _), .either(let left, _): formula = left
      case .choose(let inner, _, _): formula = inner
      case .constant, .target: return 0
      }
    }
  }

  /// Comparison by comparison, from the last clause to the first.
  private func plain(
    _ rule: Rule, _ targets: [Int], _ otherwise: Int, _ graph: inout DecisionGraph
  ) -> Int {
    var node = otherwise
    for (clause, target) in zip(rule.clauses, targets).reversed() {
      for group in clause.condition.reversed() {
        let failed = node
        node = target
        for comparison in group.reversed() {
          node = plain(comparison, yes: node, no: failed, &graph)
        }
      }
    }
    return node
  }

  private func plain(
    _ comparison: Comparison, yes: Int, no: Int, _ graph: inout DecisionGraph
  ) -> Int {
    var table = FormulaTable()
    let formula = table.comparison(comparison, is64Bit: is64Bit)
    return plain(formula, table, yes: yes, no: no, &graph)
  }

  private func plain(
    _ formula: Int, _ table: FormulaTable, yes: Int, no: Int, _ graph: inout DecisionGraph
  ) -> Int {
    switch table.nodes[formula] {
    case .constant(let holds): return holds ? yes : no
    case .both(let left, let right):
      let next = plain(right, table, yes: yes, no: no, &graph)
      return plain(left, table, yes: next, no: no, &graph)
    case .either(let left, let right):
      let next = plain(right, table, yes: yes, no: no, &graph)
      return plain(left, table, yes: yes, no: next, &graph)
    case .question(let word, let question, let answer):
      let (ifSo, ifNot) = answer ? (yes, no) : (no, yes)
      let test =
        switch question {
        case .equal(let value): graph.test(.equal, value, yes: ifSo, no: ifNot)
        case .below(let value): graph.test(.atLeast, value, yes: ifNot, no: ifSo)
        case .anyBit(let mask): graph.test(.anyBit, mask, yes: ifSo, no: ifNot)
        }
      return graph.load(word, next: test)
    case .target, .choose: return no
    }
  }
}

/// Everything that a rule asks about one word.
private struct Questions {
  var masks: [UInt32] = []
  /// Where the answers to the others change.
  var borders: Set<UInt32> = []
  var values: Set<UInt32> = []
  var visited: Set<Int> = []

  mutating func collect(_ formula: Int, _ word: UInt32, _ table: FormulaTable) {
    guard visited.insert(formula).inserted else { return }
    switch table.nodes[formula] {
    case .constant, .target: break
    case .both(let left, let right), .either(let left, let right):
      collect(left, word, table)
      collect(right, word, table)
    case .choose(let inner, _, let otherwise):
      collect(inner, word, table)
      collect(otherwise, word, table)
    case .question(let asked, let question, _):
      guard asked == word else { return }
      switch question {
      case .anyBit(let mask): if !masks.contains(mask) { masks.append(mask) }
      case .below(let value): borders.insert(value)
      case .equal(let value):
        values.insert(value)
        if value > 0 { borders.insert(value) }
        if value < .max { borders.insert(value + 1) }
      }
    }
  }
}
