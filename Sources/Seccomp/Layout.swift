/// Puts the nodes of a graph in a row, with jumps between them.
///
/// The row is written from its end: a node comes after all that it leads to, so every jump leads
/// forward in the finished program. A conditional jump reaches 255 instructions; what is farther
/// gets a stand-in within reach: a copy of a return, which costs nothing when it runs, else a jump.
struct Layout {
  private let graph: DecisionGraph
  private var reversed: [Instruction] = []
  /// Where each node is in `reversed`, and where its latest stand-in is.
  private var home: [Int]
  private var near: [Int]

  /// The instructions, however many they are.
  static func instructions(of graph: DecisionGraph, root: Int) -> [Instruction] {
    var layout = Layout(graph)
    for (node, isUsed) in layout.reachable(from: root).enumerated() where isUsed {
      layout.place(node)
    }
    if case .leaf = graph.nodes[root] { layout.standIn(for: root) }
    return layout.reversed.reversed()
  }

  private init(_ graph: DecisionGraph) {
    self.graph = graph
    home = [Int](repeating: -1, count: graph.nodes.count)
    near = home
  }

  private func reachable(from root: Int) -> [Bool] {
    var isUsed = [Bool](repeating: false, count: graph.nodes.count)
    isUsed[root] = true
    for node in stride(from: root, through: 0, by: -1) where isUsed[node] {
      switch graph.nodes[node] {
      case .leaf: break
      case .load(_, let next): isUsed[next] = true
      case .test(_, _, let yes, let no):
        isUsed[yes] = true
        isUsed[no] = true
      }
    }
    return isUsed
  }

  private mutating func place(_ node: Int) {
    switch graph.nodes[node] {
    case .leaf: return  // where it is first needed
    case .load(let offset, let next):
      if near[next] != reversed.count - 1 { standIn(for: next) }
      reversed.append(Instruction(code: OperationCode.loadAbsolute, operand: offset))
    case .test(let test, let operand, let yes, let no):
      // A stand-in for one pushes the other farther away, so both are looked at until both are near.
      while !isNear(yes) || !isNear(no) { standIn(for: isNear(yes) ? no : yes) }
      reversed.append(
        Instruction(
          code: test.code, jumpTrue: distance(to: yes), jumpFalse: distance(to: no),
          operand: operand))
    }
    home[node] = reversed.count - 1
    near[node] = home[node]
  }

  private func isNear(_ node: Int) -> Bool {
    near[node] >= 0 && reversed.count - 1 - near[node] <= 255
  }

  private func distance(to node: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: reversed.count - 1 - near[node])
  }

  private mutating func standIn(for node: Int) {
    if case .leaf(let code) = graph.nodes[node] {
      reversed.append(Instruction(code: OperationCode.returnOperand, operand: code))
    } else {
      let operand = UInt32(reversed.count - 1 - home[node])
      reversed.append(Instruction(code: OperationCode.jump, operand: operand))
    }
    near[node] = reversed.count - 1
  }
}
