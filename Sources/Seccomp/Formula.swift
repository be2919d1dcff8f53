/// What a rule says, taken down to halves of arguments: the program compares 32 bits at a time.
///
/// Formulas are numbered, equal ones once, and are simplified when they are made.
struct FormulaTable {
  /// A question about one 32-bit word of `seccomp_data`.
  enum Question: Hashable {
    case equal(UInt32)
    case below(UInt32)
    case anyBit(UInt32)
  }

  enum Node: Hashable {
    case constant(Bool)
    /// `word` is the offset in `seccomp_data`.
    case question(word: UInt32, Question, answer: Bool)
    case both(Int, Int)
    case either(Int, Int)
    /// A node of the graph: the end of a rule.
    case target(Int)
    /// `formula`, and what follows if it holds and if not.
    case choose(formula: Int, then: Int, otherwise: Int)
  }

  private(set) var nodes: [Node] = [.constant(false), .constant(true)]
  private var numbers: [Node: Int] = [.constant(false): no, .constant(true): yes]

  static let no = 0
  static let yes = 1

  private mutating func number(of node: Node) -> Int {
    if let known = numbers[node] { return known }
    nodes.append(node)
    numbers[node] = nodes.count - 1
    return nodes.count - 1
  }

  mutating func question(_ word: UInt32, _ question: Question, is answer: Bool = true) -> Int {
    switch question {
    case .below(0), .anyBit(0): return answer ? Self.no : Self.yes
    default: return number(of: .question(word: word, question, answer: answer))
    }
  }

  mutating func both(_ left: Int, _ right: Int) -> Int {
    if left == Self.no || right == Self.no { return Self.no }
    if left == Self.yes || left == right { return right }
    return right == Self.yes ? left : number(of: .both(left, right))
  }

  mutating func either(_ left: Int, _ right: Int) -> Int {
    if left == Self.yes || right == Self.yes { return Self.yes }
    if left == Self.no || left == right { return right }
    return right == Self.no ? left : number(of: .either(left, right))
  }

  mutating func target(_ node: Int) -> Int { number(of: .target(node)) }

  mutating func choose(_ formula: Int, then: Int, otherwise: Int) -> Int {
    if formula == Self.yes || then == otherwise { return then }
    if formula == Self.no { return otherwise }
    return number(of: .choose(formula: formula, then: then, otherwise: otherwise))
  }

  /// All of them, or any of them; halved again and again, so that the depth stays small.
  mutating func all(_ parts: ArraySlice<Int>) -> Int {
    guard parts.count > 1 else { return parts.first ?? Self.yes }
    let middle = (parts.startIndex + parts.endIndex) / 2
    return both(all(parts[..<middle]), all(parts[middle...]))
  }

  mutating func any(_ parts: ArraySlice<Int>) -> Int {
    guard parts.count > 1 else { return parts.first ?? Self.no }
    let middle = (parts.startIndex + parts.endIndex) / 2
    return either(any(parts[..<middle]), any(parts[middle...]))
  }
}

// MARK: Comparisons
extension FormulaTable {
  /// The lower half comes first: it is where values differ, and often decides alone.
  mutating func comparison(_ comparison: Comparison, is64Bit: Bool) -> Int {
    let low = CallData.offset(ofArgument: comparison.argument, isUpper: false)
    let high = CallData.offset(ofArgument: comparison.argument, isUpper: true)
    let value = comparison.value.bits
    let lowValue = UInt32(truncatingIfNeeded: value)
    let highValue = UInt32(truncatingIfNeeded: value >> 32)
    guard is64Bit, !comparison.value.isInt else {
      return narrow(comparison.operation, low, lowValue)
    }
    switch comparison.operation {
    case .equal: return equal(low, lowValue, high, highValue, is: true)
    case .notEqual: return equal(low, lowValue, high, highValue, is: false)
    case .less: return below(low, lowValue, high, highValue, is: true)
    case .greaterOrEqual: return below(low, lowValue, high, highValue, is: false)
    case .lessOrEqual, .greater:
      let isBelow = comparison.operation == .lessOrEqual
      guard value < .max else { return isBelow ? Self.yes : Self.no }
      let next = value + 1
      return below(
        low, UInt32(truncatingIfNeeded: next), high, UInt32(truncatingIfNeeded: next >> 32),
        is: isBelow)
    case .intersects:
      let parts = (question(low, .anyBit(lowValue)), question(high, .anyBit(highValue)))
      return either(parts.0, parts.1)
    case .within:
      let parts = (
        question(low, .anyBit(~lowValue), is: false),
        question(high, .anyBit(~highValue), is: false)
      )
      return both(parts.0, parts.1)
    }
  }

  /// One word against one word.
  private mutating func narrow(_ operation: Operator, _ word: UInt32, _ value: UInt32) -> Int {
    switch operation {
    case .equal: question(word, .equal(value))
    case .notEqual: question(word, .equal(value), is: false)
    case .less: question(word, .below(value))
    case .greaterOrEqual: question(word, .below(value), is: false)
    case .lessOrEqual: value == .max ? Self.yes : question(word, .below(value + 1))
    case .greater: value == .max ? Self.no : question(word, .below(value + 1), is: false)
    case .intersects: question(word, .anyBit(value))
    case .within: question(word, .anyBit(~value), is: false)
    }
  }

  private mutating func equal(
    _ low: UInt32, _ lowValue: UInt32, _ high: UInt32, _ highValue: UInt32, is answer: Bool
  ) -> Int {
    let lower = question(low, .equal(lowValue), is: answer)
    let upper = question(high, .equal(highValue), is: answer)
    return answer ? both(lower, upper) : either(lower, upper)
  }

  private mutating func below(
    _ low: UInt32, _ lowValue: UInt32, _ high: UInt32, _ highValue: UInt32, is answer: Bool
  ) -> Int {
    let lower = question(low, .below(lowValue))
    let same = question(high, .equal(highValue))
    let upper = question(high, .below(highValue))
    let inner = both(lower, same)
    let holds = either(inner, upper)
    guard !answer else { return holds }
    // The same, denied: not below in the upper half, and not (equal there and below here).
    let notLower = question(low, .below(lowValue), is: false)
    let notSame = question(high, .equal(highValue), is: false)
    let notUpper = question(high, .below(highValue), is: false)
    let either = either(notLower, notSame)
    return both(either, notUpper)
  }
}

// MARK: Knowledge
extension FormulaTable {
  /// What is known of the word that is loaded.
  enum Fact {
    /// It lies between these, both included.
    case range(UInt32, UInt32)
    /// Some bit of a mask is set, or none is.
    case bits(UInt32, isAny: Bool)
  }

  /// The formula, or rule, for who knows `fact` of `word`. `memory` is for one fact.
  mutating func restrict(
    _ formula: Int, _ word: UInt32, _ fact: Fact, _ memory: inout [Int: Int]
  ) -> Int {
    if let known = memory[formula] { return known }
    let result: Int
    switch nodes[formula] {
    case .constant, .target: return formula
    case .question(let asked, let question, let answer):
      guard asked == word else { return formula }
      result = restrict(question, word, answer, fact) ?? formula
    case .both(let left, let right):
      let newLeft = restrict(left, word, fact, &memory)
      result =
        newLeft == Self.no ? newLeft : both(newLeft, restrict(right, word, fact, &memory))
    case .either(let left, let right):
      let newLeft = restrict(left, word, fact, &memory)
      result =
        newLeft == Self.yes ? newLeft : either(newLeft, restrict(right, word, fact, &memory))
    case .choose(let inner, let then, let otherwise):
      let newInner = restrict(inner, word, fact, &memory)
      result =
        newInner == Self.yes
        ? then
        : choose(newInner, then: then, otherwise: restrict(otherwise, word, fact, &memory))
    }
    memory[formula] = result
    return result
  }

  private mutating func restrict(
    _ question: Question, _ word: UInt32, _ answer: Bool, _ fact: Fact
  ) -> Int? {
    func constant(_ holds: Bool) -> Int { holds == answer ? Self.yes : Self.no }
    switch (fact, question) {
    case (.range(let low, let high), .equal(let value)):
      if value < low || value > high { return constant(false) }
      return low == high ? constant(true) : nil
    case (.range(let low, let high), .below(let value)):
      return high < value ? constant(true) : low >= value ? constant(false) : nil
    case (.range, .anyBit): return nil
    case (.bits(let known, let isAny), .anyBit(let mask)):
      guard isAny else {
        return mask & ~known == mask ? nil : self.question(word, .anyBit(mask & ~known), is: answer)
      }
      return known & ~mask == 0 ? constant(true) : nil
    case (.bits(let known, let isAny), .equal(let value)):
      return (value & known != 0) == isAny ? nil : constant(false)
    case (.bits, .below): return nil
    }
  }
}
