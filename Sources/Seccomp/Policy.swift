/// Where a rule or a mistake stands.
package struct Place: Hashable, Sendable, CustomStringConvertible {
  package let file: String
  /// Counted from 1, as an editor does: a joined line counts as many times as it has parts.
  package let line: Int

  package init(file: String, line: Int) {
    self.file = file
    self.line = line
  }

  package var description: String { "\(file)(\(line))" }
}

/// Which of two languages a policy is in. They are the same but for what follows a filter's
/// semicolon, how strict blanks are, and a few words (minijail0(5)).
public enum Dialect: String, CaseIterable, Hashable, Sendable {
  /// What `minijail0 -S` reads: `expr; return N` allows if the expression holds, else the call
  /// fails with N.
  case minijail
  /// What the compile tool reads: `expr; return N` fails with N if the expression holds.
  case compileTool = "compile-tool"
}

/// What a policy says, with every name resolved for one architecture. A ``PolicyParser`` makes it.
public struct Policy: Sendable {
  package let architecture: Architecture
  /// In the order of the file, each system call once.
  package var rules: [Rule]
  /// From `@default`; what the compiler is told wins over it.
  package var defaultAction: Action?
  /// How often calls are made, by number, from `@frequency`.
  package var frequencies: [UInt32: UInt64]
  /// What is accepted, and should be looked at.
  package var warnings: [Diagnostic]

  package init(
    architecture: Architecture, rules: [Rule] = [], defaultAction: Action? = nil,
    frequencies: [UInt32: UInt64] = [:], warnings: [Diagnostic] = []
  ) {
    self.architecture = architecture
    self.rules = rules
    self.defaultAction = defaultAction
    self.frequencies = frequencies
    self.warnings = warnings
  }
}

/// What happens to one system call: the first clause that holds decides, else `otherwise`.
package struct Rule: Hashable, Sendable {
  package let call: SystemCall
  package var clauses: [Clause]
  /// Nil for the default action.
  package var otherwise: Action?
  /// Where the call is first named.
  package let place: Place
  /// Where `otherwise` is from, if it is not the same line.
  package var otherwisePlace: Place

  package init(
    call: SystemCall, clauses: [Clause] = [], otherwise: Action?, place: Place,
    otherwisePlace: Place? = nil
  ) {
    self.call = call
    self.clauses = clauses
    self.otherwise = otherwise
    self.place = place
    self.otherwisePlace = otherwisePlace ?? place
  }
}

/// An expression and what happens where it holds.
package struct Clause: Hashable, Sendable {
  /// Holds if all comparisons of any one group do.
  package let condition: [[Comparison]]
  package let action: Action
  package let place: Place

  package init(condition: [[Comparison]], action: Action, place: Place) {
    self.condition = condition
    self.action = action
    self.place = place
  }
}

package enum Operator: String, CaseIterable, Hashable, Sendable {
  case equal = "=="
  case notEqual = "!="
  case less = "<"
  case lessOrEqual = "<="
  case greater = ">"
  case greaterOrEqual = ">="
  /// Any common bit.
  case intersects = "&"
  /// No bit outside the value.
  case within = "in"

  func holds<Word: FixedWidthInteger & UnsignedInteger>(_ left: Word, _ right: Word) -> Bool {
    switch self {
    case .equal: left == right
    case .notEqual: left != right
    case .less: left < right
    case .lessOrEqual: left <= right
    case .greater: left > right
    case .greaterOrEqual: left >= right
    case .intersects: left & right != 0
    case .within: left & ~right == 0
    }
  }
}

/// One argument against one value, unsigned.
package struct Comparison: Hashable, Sendable {
  /// 0 to 5.
  package let argument: Int
  package let operation: Operator
  package let value: Value

  package init(argument: Int, operation: Operator, value: Value) {
    self.argument = argument
    self.operation = operation
    self.value = value
  }
}

/// A value as it was written, and what it comes to.
package struct Value: Hashable, Sendable {
  package let text: String
  package let bits: UInt64
  /// Only the lower 32 bits are compared: see ``Constant/isNegativeInt``.
  package let isInt: Bool

  package init(text: String, bits: UInt64, isInt: Bool = false) {
    self.text = text
    self.bits = bits
    self.isInt = isInt
  }

  package init(_ bits: UInt64) { self.init(text: "0x\(String(bits, radix: 16))", bits: bits) }
}
