/// Words from `start` up to the next run's start that lead to one node.
struct Run {
  let start: UInt32
  let target: Int
  /// How often a word is looked for there.
  let weight: Int
}

extension DecisionGraph {
  /// The cheapest tree of comparisons that takes the loaded word to the target of its run.
  ///
  /// Runs are in order, the first starts at 0. Neighbours with the same target become one.
  mutating func searchTree(_ runs: [Run], hottest: Int = 0) -> Int {
    let merged = Self.merged(runs)
    var best = SearchTree(merged)
    var first: [Run] = []
    if hottest > 0 {
      // Words that are looked for far more often than others are compared before all else.
      let hot = merged.indices.filter { merged.width(of: $0) == 1 }
        .sorted { merged[$0].weight > merged[$1].weight }.prefix(hottest)
      var bestCost = best.total
      var before = 0
      var rest = merged
      for (count, index) in hot.enumerated() {
        let run = merged[index]
        guard let tree = rest.without(run).map({ SearchTree($0) }) else { break }
        rest = tree.runs
        before += run.weight * (count + 1)
        let cost = before + tree.total + tree.weight * (count + 1)
        if cost < bestCost {
          bestCost = cost
          best = tree
          first = hot.prefix(count + 1).map { merged[$0] }
        }
      }
    }
    var node = best.emit(into: &self)
    for run in first.reversed() { node = test(.equal, run.start, yes: run.target, no: node) }
    return node
  }

  /// Neighbours with the same target as one.
  private static func merged(_ runs: [Run]) -> [Run] {
    var merged: [Run] = []
    merged.reserveCapacity(runs.count)
    for run in runs {
      if let last = merged.last, last.target == run.target {
        merged[merged.count - 1] = Run(
          start: last.start, target: last.target, weight: last.weight + run.weight)
      } else {
        merged.append(run)
      }
    }
    return merged
  }
}

extension Array<Run> {
  /// How many words a run has.
  func width(of index: Int) -> UInt64 {
    let end = index + 1 < count ? UInt64(self[index + 1].start) : 1 << 32
    return end - UInt64(self[index].start)
  }

  /// The runs for a word that is known not to be in `run`: its neighbours take its place.
  fileprivate func without(_ run: Run) -> [Run]? {
    guard count > 2, let index = firstIndex(where: { $0.start == run.start }) else { return nil }
    var result = self
    result.remove(at: index)
    if index == 0 {
      result[0] = Run(start: 0, target: result[0].target, weight: result[0].weight)
    } else if index < result.count, result[index].target == result[index - 1].target {
      let weight = result[index - 1].weight + result[index].weight
      result[index - 1] = Run(
        start: result[index - 1].start, target: result[index].target, weight: weight)
      result.remove(at: index)
    }
    return result
  }
}

/// Finds the tree by dynamic programming over all stretches of neighbouring runs.
///
/// A stretch is decided by `>=` at one of its borders; or, where all but a few single words lead to
/// the same target, by a chain of `==`; or, where a mask tells its two targets apart, by one `&`.
/// The cost is the number of tests weighted by use, and a little for each test's place.
private struct SearchTree {
  let runs: [Run]
  let weight: Int
  /// For a stretch `from ..< to` at `from * (count + 1) + to`.
  private var costs: [Int] = []
  private var choices: [Choice] = []
  private var sums: [Int] = [0]
  private let placeCost: Int
  /// Of a longer row, and where they meet.
  private var halves: [SearchTree] = []
  private var border = 0

  private enum Choice {
    case split(at: Int32)
    case chain
    case mask(UInt32, isFirst: Bool)
  }

  /// Longer rows are halved first: the time is cubic.
  private static let exactLimit = 192
  private static let chainLimit = 9
  private static let maskSpan: UInt64 = 64

  init(_ runs: [Run]) {
    self.runs = runs
    for run in runs { sums.append(sums[sums.count - 1] + run.weight) }
    weight = sums[runs.count]
    placeCost = 1 + weight / (64 * max(1, runs.count))
    if runs.count <= Self.exactLimit {
      solve()
    } else {
      // The border that halves the weight.
      let half = sums.firstIndex { $0 * 2 >= weight } ?? runs.count / 2
      border = min(max(half, runs.count / 8), runs.count - runs.count / 8)
      halves = [SearchTree(Array(runs[..<border])), SearchTree(Array(runs[border...]))]
    }
  }

  /// The weighted number of tests.
  var total: Int {
    halves.isEmpty ? costs[runs.count] : weight + halves.reduce(0) { $0 + $1.total }
  }

  private func index(_ from: Int, _ to: Int) -> Int { from * (runs.count + 1) + to }
  private func weight(_ from: Int, _ to: Int) -> Int { sums[to] - sums[from] }

  private mutating func solve() {
    let count = runs.count
    costs = Array(repeating: 0, count: (count + 1) * (count + 1))
    choices = Array(repeating: .chain, count: costs.count)
    guard count > 1 else { return }
    // Where the best border lies, by stretch: it moves to the right with either end (Knuth), nearly
    // so with chains and masks in the play.
    var borders = [Int32](repeating: 0, count: costs.count)
    for from in 0..<count { borders[index(from, from + 1)] = Int32(from + 1) }
    for length in 2...count {
      for from in 0...(count - length) {
        let to = from + length
        let low = max(from + 1, Int(borders[index(from, to - 1)]) - 2)
        let high = min(to - 1, Int(borders[index(from + 1, to)]) + 2)
        var best = Int.max
        var border = low
        for middle in low...max(low, high) {
          let cost = costs[index(from, middle)] + costs[index(middle, to)]
          if cost < best {
            best = cost
            border = middle
          }
        }
        best += weight(from, to) + placeCost
        borders[index(from, to)] = Int32(border)
        var choice = Choice.split(at: Int32(border))
        if length > 2 {
          if let cost = chainCost(from, to), cost < best {
            best = cost
            choice = .chain
          }
          if best > weight(from, to) + placeCost, let mask = mask(from, to) {
            best = weight(from, to) + placeCost
            choice = mask
          }
        }
        costs[index(from, to)] = best
        choices[index(from, to)] = choice
      }
    }
  }

  /// The target of all runs but single words, if that is one.
  private func base(_ from: Int, _ to: Int) -> Int? {
    var base: Int?
    for run in from..<to where runs.width(of: run) > 1 {
      guard base == nil || base == runs[run].target else { return nil }
      base = runs[run].target
    }
    return base
  }

  /// The single words of a chain, the most looked for first.
  private func links(_ from: Int, _ to: Int, _ base: Int) -> [Run] {
    runs[from..<to].filter { $0.target != base }.sorted {
      ($1.weight, $0.start) < ($0.weight, $1.start)
    }
  }

  private func chainCost(_ from: Int, _ to: Int) -> Int? {
    guard to - from <= Self.chainLimit, let base = base(from, to) else { return nil }
    var cost = 0
    var left = weight(from, to)
    for link in links(from, to, base) {
      cost += left + placeCost
      left -= link.weight
    }
    return cost
  }

  /// A mask that meets all words of one target and none of the other's.
  private func mask(_ from: Int, _ to: Int) -> Choice? {
    guard to - from <= 12, to < runs.count,
      UInt64(runs[to].start) - UInt64(runs[from].start) <= Self.maskSpan
    else { return nil }
    let first = runs[from].target
    guard let second = runs[from..<to].first(where: { $0.target != first })?.target,
      runs[from..<to].allSatisfy({ $0.target == first || $0.target == second })
    else { return nil }
    var bits: [UInt32] = [0, 0]
    for run in from..<to {
      let side = runs[run].target == first ? 0 : 1
      for word in runs[run].start..<runs[run + 1].start { bits[side] |= word }
    }
    for side in 0...1 {
      let mask = bits[side] & ~bits[1 - side]
      guard mask != 0 else { continue }
      let meetsAll = (from..<to).allSatisfy { run in
        (runs[run].target == first ? 0 : 1) != side
          || (runs[run].start..<runs[run + 1].start).allSatisfy { $0 & mask != 0 }
      }
      if meetsAll { return .mask(mask, isFirst: side == 0) }
    }
    return nil
  }

  func emit(into graph: inout DecisionGraph) -> Int {
    guard !halves.isEmpty else { return emit(0, runs.count, into: &graph) }
    let left = halves[0].emit(into: &graph)
    let right = halves[1].emit(into: &graph)
    return graph.test(.atLeast, runs[border].start, yes: right, no: left)
  }

  private func emit(_ from: Int, _ to: Int, into graph: inout DecisionGraph) -> Int {
    guard to - from > 1 else { return runs[from].target }
    switch choices[index(from, to)] {
    case .split(let border):
      let right = emit(Int(border), to, into: &graph)
      let left = emit(from, Int(border), into: &graph)
      return graph.test(.atLeast, runs[Int(border)].start, yes: right, no: left)
    case .chain:
      let base = base(from, to) ?? runs[from].target
      var node = base
      for link in links(from, to, base).reversed() {
        node = graph.test(.equal, link.start, yes: link.target, no: node)
      }
      return node
    case .mask(let mask, let isFirst):
      let first = runs[from].target
      let second = runs[from..<to].first { $0.target != first }?.target ?? first
      return graph.test(
        .anyBit, mask, yes: isFirst ? first : second, no: isFirst ? second : first)
    }
  }
}
