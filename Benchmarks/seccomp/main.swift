import Glibc
import Seccomp

/// Compares the compiler's programs with the reference's linear ones, over policies.
///
///     seccomp-benchmark POLICY…             the table
///     seccomp-benchmark --rules POLICY      its rules as numbers, for libseccomp.c
///     seccomp-benchmark --extra POLICY      what its start-up filter allows beyond it
///     seccomp-benchmark --against DIRECTORY POLICY…   and libseccomp's programs, POLICY.bpf there
func contents(_ path: String) -> [UInt8]? {
  guard let file = fopen(path, "r") else { return nil }
  defer { fclose(file) }
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 1 << 16)
  while true {
    let count = fread(&buffer, 1, buffer.count, file)
    guard count > 0 else { return bytes }
    bytes += buffer[..<count]
  }
}

func read(_ path: String) throws -> Policy {
  let parser = PolicyParser(architecture: .x86_64) { path throws(ReadFailure) in
    guard let bytes = contents(path) else { throw ReadFailure(isMissing: true, reason: "missing") }
    return bytes
  }
  return try parser.parse(file: path)
}

/// Every call that the policy names; for one with filters each value, its neighbours, and with
/// something in the upper half.
func calls(_ policy: Policy) -> [CallData] {
  var calls: [CallData] = []
  for rule in policy.rules {
    var base = CallData(number: rule.call.number, architecture: policy.architecture.auditNumber)
    let comparisons = rule.clauses.flatMap(\.condition).flatMap { $0 }
    if comparisons.isEmpty { calls.append(base) }
    for comparison in comparisons {
      let value = comparison.value.bits
      for variant in [value, value, value &+ 1, value &- 1, 0, value | 1 << 32] {
        var arguments = [UInt64](repeating: 0, count: 6)
        arguments[comparison.argument] = variant
        base = CallData(
          number: base.number, architecture: base.architecture, arguments: arguments)
        calls.append(base)
      }
    }
  }
  return calls
}

struct Cost {
  var total = 0
  var average = 0.0
  var worst = 0
  var size = 0

  init(_ program: FilterProgram, _ calls: [CallData]) {
    for call in calls {
      let result = program.run(call)
      total += result.steps
      worst = max(worst, result.steps)
    }
    average = Double(total) / Double(calls.count)
    size = program.instructions.count
  }
}

func microseconds(_ body: () -> Void) -> Double {
  var best = Double.infinity
  for _ in 0..<20 {
    let start = ContinuousClock.now
    body()
    let time = (ContinuousClock.now - start).components
    best = min(best, Double(time.seconds) * 1e6 + Double(time.attoseconds) / 1e12)
  }
  return best
}

func column(_ text: String, _ width: Int) -> String {
  String(repeating: " ", count: max(0, width - text.count)) + text
}

func ratio(_ part: Int, _ whole: Int) -> String { rounded(Double(part) / Double(whole)) }

func rounded(_ value: Double) -> String { "\((value * 1000).rounded() / 1000)" }

var paths = Array(CommandLine.arguments.dropFirst())
var directory: String?
if paths.first == "--rules", let policy = try? read(paths[1]) {
  for rule in policy.rules where rule.otherwise == .allow || !rule.clauses.isEmpty {
    let groups = rule.clauses.first?.condition ?? [[]]
    for group in groups {
      let atoms = group.map { "\($0.argument) \($0.operation.rawValue) \($0.value.bits)" }
      print("\(rule.call.number) \(atoms.joined(separator: " "))")
    }
  }
  exit(0)
}
if paths.first == "--extra", let policy = try? read(paths[1]) {
  let filter = try Compiler().startupFilter(for: policy)
  print(filter.extra.map(\.name).joined(separator: " "))
  exit(0)
}
if paths.first == "--against" {
  directory = paths[1]
  paths.removeFirst(2)
}

print(
  "policy        calls   average  worst   size |   ratios to linear     |compile us |"
    + "  start-up: average, worst, size, extra, us")
var ratios: [[Double]] = []
var withStartup: [[Double]] = []
var totals = (ours: 0, linear: 0, withStartup: 0)
var sizes = totals
var against: [String] = []
for path in paths {
  let policy = try read(path)
  let program = try Compiler().compile(policy)
  guard let linear = Linear.program(for: policy) else { continue }
  let calls = calls(policy)
  for call in calls {
    let expected = Compiler().code(for: call, policy)
    precondition(program.run(call).code == expected && linear.run(call).code == expected, "\(call)")
  }
  let ours = Cost(program, calls)
  let theirs = Cost(linear, calls)
  let row = [
    ours.average / theirs.average, Double(ours.worst) / Double(theirs.worst),
    Double(ours.size) / Double(theirs.size),
  ]
  ratios.append(row)
  let time = microseconds { _ = try? Compiler().compile(policy) }
  let startup = try Compiler().startupFilter(for: policy)
  let allowed = calls.filter { program.run($0).action == .allow }
  let first = Cost(startup.program, allowed)
  let together = calls.map { startup.program.run($0).steps + startup.completion.run($0).steps }
  let startupTime = microseconds { _ = try? Compiler().startupFilter(for: policy) }
  let name = path.split(separator: "/").last?.split(separator: ".").first.map(String.init) ?? path
  print(
    name + column("\(policy.rules.count)", 18 - name.count) + column(rounded(ours.average), 10)
      + column("\(ours.worst)", 7) + column("\(ours.size)", 7) + " |"
      + row.map { column(rounded($0), 8) }.joined() + " |" + column("\(Int(time))", 10) + "  |"
      + column(rounded(first.average), 10) + column("\(first.worst)", 5)
      + column("\(first.size)", 6) + column("\(startup.extra.count)", 5)
      + column("\(Int(startupTime))", 6))
  totals.ours += ours.total
  totals.linear += theirs.total
  totals.withStartup += together.reduce(0, +)
  sizes.ours += ours.size
  sizes.linear += theirs.size
  let pairSize = startup.program.instructions.count + startup.completion.instructions.count
  sizes.withStartup += pairSize
  withStartup.append([
    Double(together.reduce(0, +)) / Double(theirs.total),
    Double(together.max() ?? 0) / Double(theirs.worst), Double(pairSize) / Double(theirs.size),
  ])
  if let directory, let bytes = contents("\(directory)/\(name).bpf") {
    let other = Cost(try FilterProgram(bytes: bytes), calls)
    against.append(
      name + column(rounded(other.average), 24 - name.count) + column("\(other.worst)", 7)
        + column("\(other.size)", 7)
        + column(rounded(ours.average / other.average), 10)
        + column(rounded(Double(ours.worst) / Double(other.worst)), 8)
        + column(rounded(Double(ours.size) / Double(other.size)), 8))
  }
}
for (index, name) in ["average", "worst", "size"].enumerated() {
  let column = ratios.map { $0[index] }
  print(
    "\(name): mean \(rounded(column.reduce(0, +) / Double(column.count))), "
      + "largest \(rounded(column.max() ?? 0))")
}
print(
  "all calls of all policies together: \(ratio(totals.ours, totals.linear)), "
    + "size \(ratio(sizes.ours, sizes.linear))")
print("\nwith the start-up filter, and what follows it:")
for (index, name) in ["average", "worst", "size"].enumerated() {
  let column = withStartup.map { $0[index] }
  print(
    "\(name): mean \(rounded(column.reduce(0, +) / Double(column.count))), "
      + "largest \(rounded(column.max() ?? 0))")
}
print(
  "all calls of all policies together: \(ratio(totals.withStartup, totals.linear)), "
    + "size \(ratio(sizes.withStartup, sizes.linear))")
if !against.isEmpty {
  print("\nlibseccomp        average  worst   size     ratios")
  print(against.joined(separator: "\n"))
}
