/// Where a rule or a mistake stands.
public struct Place: Hashable, Sendable, CustomStringConvertible {
  public let file: String
  /// Counted from 1, as an editor does: a joined line counts as many times as it has parts.
  public let line: Int

  public init(file: String, line: Int) {
    self.file = file
    self.line = line
  }

  public var description: String { "\(file)(\(line))" }
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

/// What a policy says, with every name resolved for one architecture.
public struct Policy: Sendable {
  public let architecture: Architecture
  /// In the order of the file, each system call once.
  public var rules: [Rule]
  /// From `@default`; what the compiler is told wins over it.
  public var defaultAction: Action?
  /// How often calls are made, by number, from `@frequency`.
  public var frequencies: [UInt32: UInt64]
  /// What is accepted, and should be looked at.
  public var warnings: [Diagnostic]

  public init(
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
public struct Rule: Hashable, Sendable {
  public let call: SystemCall
  public var clauses: [Clause]
  /// Nil for the default action.
  public var otherwise: Action?
  /// Where the call is first named.
  public let place: Place
  /// Where `otherwise` is from, if it is not the same line.
  public var otherwisePlace: Place

  public init(
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
public struct Clause: Hashable, Sendable {
  /// Holds if all comparisons of any one group do.
  public let condition: [[Comparison]]
  public let action: Action
  public let place: Place

  public init(condition: [[Comparison]], action: Action, place: Place) {
    self.condition = condition
    self.action = action
    self.place = place
  }
}

public enum Operator: String, CaseIterable, Hashable, Sendable {
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
public struct Comparison: Hashable, Sendable {
  /// 0 to 5.
  public let argument: Int
  public let operation: Operator
  public let value: Value

  public init(argument: Int, operation: Operator, value: Value) {
    self.argument = argument
    self.operation = operation
    self.value = value
  }
}

/// A value as it was written, and what it comes to.
public struct Value: Hashable, Sendable {
  public let text: String
  public let bits: UInt64
  /// Only the lower 32 bits are compared: see ``Constant/isNegativeInt``.
  public let isInt: Bool

  public init(text: String, bits: UInt64, isInt: Bool = false) {
    self.text = text
    self.bits = bits
    self.isInt = isInt
  }

  public init(_ bits: UInt64) { self.init(text: "0x\(String(bits, radix: 16))", bits: bits) }
}
