/// A program before it is laid out: each node once, however many lead to it. The numbers of nodes
/// ascend from the leaves: a node leads to lower numbers only.
struct DecisionGraph {
  enum Test: Hashable {
    case equal, atLeast, anyBit

    var code: UInt16 {
      switch self {
      case .equal: OperationCode.jumpEqual
      case .atLeast: OperationCode.jumpGreaterOrEqual
      case .anyBit: OperationCode.jumpSet
      }
    }
  }

  enum Node: Hashable {
    case leaf(UInt32)
    /// Loads the word at an offset of `seccomp_data`.
    case load(UInt32, next: Int)
    /// Looks at the word that was loaded last.
    case test(Test, UInt32, yes: Int, no: Int)
  }

  private(set) var nodes: [Node] = []
  private var numbers: [Node: Int] = [:]

  init() {
    nodes.reserveCapacity(512)
    numbers.reserveCapacity(512)
  }

  mutating func leaf(_ code: UInt32) -> Int { number(of: .leaf(code)) }

  mutating func load(_ offset: UInt32, next: Int) -> Int {
    if case .leaf = nodes[next] { return next }
    return number(of: .load(offset, next: next))
  }

  mutating func test(_ test: Test, _ operand: UInt32, yes: Int, no: Int) -> Int {
    yes == no ? yes : number(of: .test(test, operand, yes: yes, no: no))
  }

  private mutating func number(of node: Node) -> Int {
    if let known = numbers[node] { return known }
    nodes.append(node)
    numbers[node] = nodes.count - 1
    return nodes.count - 1
  }
}
