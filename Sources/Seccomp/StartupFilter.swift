/// A filter that is in force from before execve(2) until the process ends, while the policy's own
/// filter is loaded only when the dynamic loader has done its work.
///
/// Without it, a program whose preloaded library never runs (it is static, or set-id, or of another
/// C library) would run without any filter. It stays, and the kernel runs it for each call beside
/// the policy's filter, so it must be cheap for the calls that the policy allows: 3 instructions
/// look at architecture and number, 4 comparisons decide, and one returns: ``stepLimit``. Four
/// comparisons tell 16 stretches of numbers apart, fewer than the exact policy has. So:
///
/// - A call that the policy allows, with whatever arguments, is allowed.
/// - A call that the loader needs is allowed as the loader makes it (``loaderPolicy``), however many
///   comparisons that takes: it is made a few dozen times.
/// - Where the comparisons do not suffice, calls between two allowed ones are allowed as well: those
///   that do the least harm, listed in ``extra``.
/// - All others get what the policy gives them.
package struct StartupFilter: Hashable, Sendable {
  package let program: FilterProgram
  /// What is loaded when the loader is done: the policy, but for the look at the architecture, which
  /// ``program`` takes at every call. Without that in force it means nothing.
  package let completion: FilterProgram
  package let architecture: Architecture
  /// Allowed though neither the policy nor the loader asks for it.
  package let extraNumbers: [UInt32]

  /// The same with names, in the order of the numbers.
  package var extra: [SystemCall] {
    architecture.systemCalls.filter { extraNumbers.contains($0.number) }
  }

  /// How many instructions a call costs that the policy allows.
  package static let stepLimit = 8

  /// What glibc 2.31 to 2.40 calls from execve(2) to main(), as strace(1) shows it for static,
  /// position-independent and other programs and for scripts, with a preloaded library; what the
  /// launcher, or such a library, then needs to complete a jail: to load a filter, to restrict files,
  /// and to report; what the initialisers of common libraries ask (whether SELinux is there, how much
  /// memory and how many processors); and how a loader that fails says so. It opens files for
  /// reading only.
  package static let loaderPolicy = """
    execve: 1
    brk: 1
    {mmap, mmap2, mprotect, munmap}: 1
    open: arg1 in O_CLOEXEC|O_LARGEFILE|O_NOFOLLOW|O_DIRECTORY|O_NONBLOCK
    openat: arg2 in O_CLOEXEC|O_LARGEFILE|O_NOFOLLOW|O_DIRECTORY|O_NONBLOCK
    {read, pread64, close}: 1
    {fstat, fstat64, stat, stat64, newfstatat, fstatat64, statx}: 1
    {access, faccessat, faccessat2, readlink, readlinkat, uname}: 1
    {arch_prctl, set_thread_area, set_tls}: 1
    {set_tid_address, set_robust_list, rseq, getrandom}: 1
    {getrlimit, ugetrlimit}: 1
    prlimit64: arg2 == 0
    # The thread library of glibc before 2.34.
    {rt_sigaction, rt_sigprocmask}: 1
    prctl: arg0 == PR_SET_NO_NEW_PRIVS || arg0 == PR_SET_SECCOMP || arg0 == PR_GET_SECCOMP || \
      arg0 == PR_CAP_AMBIENT && arg1 == PR_CAP_AMBIENT_CLEAR_ALL || \
      arg0 == PR_CAP_AMBIENT && arg1 == PR_CAP_AMBIENT_IS_SET || arg0 == PR_CAPBSET_READ || \
      arg0 == PR_GET_SECUREBITS || arg0 == PR_GET_NO_NEW_PRIVS || arg0 == PR_GET_DUMPABLE || \
      arg0 == PR_SET_DUMPABLE || \
      arg0 == PR_GET_NAME || arg0 == PR_SET_NAME
    {fchdir, dup, landlock_restrict_self}: 1
    # How the launcher gives a program rules for files: on sockets that nothing else has.
    socketpair: arg0 == 1
    recvmsg: arg2 == 0x40000040
    # The initialisers of libraries.
    {statfs, statfs64, fstatfs, fstatfs64, lseek, _llseek, getdents64, getcwd}: 1
    {getpid, gettid, getuid, getuid32, geteuid, geteuid32, getgid, getgid32, getegid, getegid32}: 1
    {sysinfo, sched_getaffinity, clock_gettime, clock_gettime64, gettimeofday, time}: 1
    {futex, futex_time64, madvise, mremap, sigaltstack}: 1
    seccomp: arg0 in SECCOMP_SET_MODE_FILTER|SECCOMP_GET_ACTION_AVAIL
    {fcntl, fcntl64}: arg1 == F_GETFD || arg1 == F_SETFD || arg1 == F_GETFL || arg1 == F_GET_SEALS
    {write, writev, exit, exit_group}: 1
    """
}

extension Compiler {
  private static let startupLimit = 1024

  /// The filter that is loaded before execve(2) when `policy` follows later.
  ///
  /// - Throws: ``CompileError`` for a policy that names more than a thousand numbers, or as
  ///   ``compile(_:)`` does.
  package func startupFilter(for policy: Policy) throws(CompileError) -> StartupFilter {
    let architecture = policy.architecture
    let parser = PolicyParser(architecture: architecture, toleratesUnknownCalls: true) {
      _ throws(ReadFailure) in throw ReadFailure(isMissing: true, reason: "no file")
    }
    let loader = (try? parser.parse(Array(StartupFilter.loaderPolicy.utf8), name: "loader"))?.rules
    var graph = DecisionGraph()
    var decisions = ArgumentDecisions(is64Bit: architecture.is64Bit, sharesLoads: true)
    let standard = graph.leaf(code(nil, policy))
    let allowed = graph.leaf(Action.allowCode)
    var needs: [UInt32: StartupNeed] = [:]
    // What the policy does to a call at its mildest; the kernel compares actions as signed numbers.
    var mildest: [UInt32: UInt32] = [:]
    for rule in policy.rules {
      let codes = (rule.clauses.map(\.action) + [rule.otherwise]).map { code($0, policy) }
      let most = codes.max { Int32(bitPattern: $0) < Int32(bitPattern: $1) } ?? 0
      mildest[rule.call.number] = most
      let letsPass = Action(code: most)?.letsPass ?? false
      needs[rule.call.number] =
        letsPass
        ? StartupNeed(node: allowed, isHot: true)
        : StartupNeed(node: graph.leaf(most), isHot: false)
    }
    for rule in loader ?? [] where !(needs[rule.call.number]?.isHot ?? false) {
      let otherwise = mildest[rule.call.number] ?? code(nil, policy)
      let node = decisions.node(for: rule, in: &graph) { action in
        action == .allow ? Action.allowCode : otherwise
      }
      needs[rule.call.number] = StartupNeed(node: node, isHot: false)
    }
    if allowsSyslog {
      for number in syslogCalls(architecture) {
        needs[number] = StartupNeed(node: allowed, isHot: true)
      }
    }
    // No kernel has so many calls; the search takes time with the cube of them.
    guard needs.count <= Self.startupLimit else { throw CompileError(instructionCount: nil) }
    var cover = StartupCover(needs: needs, standard: standard, allowed: allowed, architecture)
    let tree = cover.emit(into: &graph)
    let program = try program(graph, tree, architecture)
    return StartupFilter(
      program: program, completion: try compile(policy, checksArchitecture: false),
      architecture: architecture, extraNumbers: cover.extra.sorted())
  }
}

extension Action {
  /// Whether the call can be carried out.
  var letsPass: Bool {
    switch self {
    case .allow, .log, .trace, .userNotify: true
    case .kill, .killProcess, .killThread, .trap, .errno: false
    }
  }
}

struct StartupNeed {
  let node: Int
  /// The policy allows it: four comparisons at most.
  let isHot: Bool
}

/// Chooses which numbers are allowed together.
private struct StartupCover {
  private let runs: [Run]
  private let isHot: [Bool]
  /// What it costs to allow a run that nobody asked for; nil for one that never is.
  private let risks: [Int?]
  /// The numbers that the architecture has, by run.
  private let calls: [[UInt32]]
  private let risk: Risk
  private let allowed: Int
  private(set) var extra: [UInt32] = []
  /// Where the items of the search begin, and the end: each hot run, and all that lies between two of
  /// them. A border within such a gap would separate nothing that is allowed from anything.
  private let edges: [Int]
  /// By depth and stretch of items.
  private var costs: [[Int]] = []
  private var borders: [[Int32]] = []
  /// The two riskiest numbers of a stretch that nobody asked for: an `==` each leaves them out.
  private var worst: [RiskiestPair] = []

  private static let depth = 4
  private static let never = Int.max / 8
  /// One call too many weighs more than all comparisons saved.
  private static let riskUnit = 1 << 20

  init(
    needs: [UInt32: StartupNeed], standard: Int, allowed: Int, _ architecture: Architecture
  ) {
    self.allowed = allowed
    var runs: [Run] = []
    var hot: [Bool] = []
    for run in Compiler.runs(needs.map { ($0.key, $0.value.node, 1) }, standard) {
      let isHot = needs[run.start]?.isHot ?? false
      if let last = runs.last, last.target == run.target, hot.last == isHot {
        runs[runs.count - 1] = Run(
          start: last.start, target: last.target, weight: last.weight + run.weight)
      } else {
        runs.append(run)
        hot.append(isHot)
      }
    }
    var calls = [[UInt32]](repeating: [], count: runs.count)
    NameTable.systemCalls.forEachValue(on: architecture) { value in
      guard case .value(let bits) = value, let number = UInt32(exactly: bits) else { return }
      let after = runs.partitioningIndex { $0.start > number }
      calls[after - 1].append(number)
    }
    let risk = Risk(architecture)
    self.runs = runs
    self.calls = calls
    self.risk = risk
    isHot = hot
    risks = runs.indices.map { index in
      if hot[index] || runs[index].target == allowed { return 0 }
      guard index + 1 < runs.count else { return nil }  // whatever the kernel will have one day
      return calls[index].reduce(1 + Int(runs.width(of: index) / 16)) { $0 + risk.of($1) }
    }
    edges =
      runs.indices.filter { $0 == 0 || hot[$0] || hot[$0 - 1] } + [runs.count]
    solve()
  }

  private func index(_ from: Int, _ to: Int) -> Int { from * edges.count + to }

  private mutating func solve() {
    let count = edges.count - 1
    var flat = [Int](repeating: 0, count: (count + 1) * (count + 1))
    var hotWeight = flat
    var oneSingle = [Bool](repeating: false, count: flat.count)
    worst = Array(repeating: RiskiestPair(), count: flat.count)
    let byRun = runs.indices.map { riskiest(in: $0) }
    for from in 0..<count {
      var hot = 0
      var single = 0
      var sum = 0
      for to in (from + 1)...count {
        hotWeight[index(from, to)] = hotWeight[index(from, to - 1)]
        var candidates = worst[index(from, to - 1)]
        for run in edges[to - 1]..<edges[to] {
          if isHot[run] {
            hot += 1
            single += runs.width(of: run) == 1 ? 1 : 0
            hotWeight[index(from, to)] += runs[run].weight
          } else {
            sum = min(Self.never, sum + (risks[run].map { $0 * Self.riskUnit } ?? Self.never))
            candidates.add(byRun[run])
          }
        }
        worst[index(from, to)] = candidates
        // Without hot runs a stretch is decided exactly, at any depth.
        flat[index(from, to)] = hot == 0 ? 0 : sum
        oneSingle[index(from, to)] = hot == 1 && single == 1
      }
    }
    costs = [flat]
    borders = [[Int32](repeating: 0, count: flat.count)]
    for depth in 1...Self.depth {
      var next = costs[depth - 1]
      var border = [Int32](repeating: 0, count: next.count)
      // At the last depth only the whole is asked for, at the one before its ends.
      for from in 0..<(depth == Self.depth ? 1 : count) {
        for to in (from + 1)...count where depth < Self.depth - 1 || from == 0 || to == count {
          let stretch = index(from, to)
          guard next[stretch] > 0 else { continue }
          let weight = hotWeight[stretch]
          if oneSingle[stretch], weight < next[stretch] {
            next[stretch] = weight
            border[stretch] = -1
          }
          let saved = worst[stretch].risk(of: depth) * Self.riskUnit
          if saved > 0, costs[0][stretch] < Self.never {
            let cost = costs[0][stretch] - saved + weight * depth
            if cost < next[stretch] {
              next[stretch] = cost
              border[stretch] = Int32(-1 - depth)
            }
          }
          let (cost, middle) = Self.split(costs[depth - 1], from, to, edges.count)
          if cost + weight < next[stretch] {
            next[stretch] = cost + weight
            border[stretch] = Int32(middle)
          }
        }
      }
      costs.append(next)
      borders.append(border)
    }
  }

  private func riskiest(in run: Int) -> RiskiestPair {
    var pair = RiskiestPair()
    guard !isHot[run], runs[run].target != allowed else { return pair }
    for number in calls[run] {
      pair.add(Risky(number: number, risk: risk.of(number), target: runs[run].target))
    }
    return pair
  }

  /// The best border of a stretch, and the cost of its sides.
  private static func split(
    _ costs: [Int], _ from: Int, _ to: Int, _ width: Int
  ) -> (cost: Int, middle: Int) {
    costs.withUnsafeBufferPointer { costs in
      var best = (cost: Self.never, middle: from + 1)
      var middle = from + 1
      while middle < to {
        let cost = costs[from * width + middle] + costs[middle * width + to]
        if cost < best.cost { best = (cost, middle) }
        middle += 1
      }
      return best
    }
  }

  mutating func emit(into graph: inout DecisionGraph) -> Int {
    emit(0, edges.count - 1, Self.depth, &graph)
  }

  private mutating func emit(
    _ from: Int, _ to: Int, _ depth: Int, _ graph: inout DecisionGraph
  ) -> Int {
    let stretch = index(from, to)
    let own = edges[from]..<edges[to]
    guard isHot[own].contains(true) else { return graph.searchTree(Array(runs[own])) }
    var depth = depth
    while depth > 0, costs[depth - 1][stretch] == costs[depth][stretch] { depth -= 1 }
    if depth == 0 {
      for run in own where !isHot[run] && runs[run].target != allowed { extra += calls[run] }
      return allowed
    }
    let border = Int(borders[depth][stretch])
    if border < -1 {
      let left = [worst[stretch].first, worst[stretch].second].prefix(-1 - border)
      for run in own where !isHot[run] && runs[run].target != allowed {
        extra += calls[run].filter { number in !left.contains { $0.number == number } }
      }
      return left.reduce(allowed) { graph.test(.equal, $1.number, yes: $1.target, no: $0) }
    }
    if border < 0, let hot = own.first(where: { isHot[$0] }) {
      let rest = runs[own].filter { $0.start != runs[hot].start }
      let no = rest.isEmpty ? allowed : graph.searchTree(rest)
      return graph.test(.equal, runs[hot].start, yes: allowed, no: no)
    }
    let right = emit(border, to, depth - 1, &graph)
    let left = emit(from, border, depth - 1, &graph)
    return graph.test(.atLeast, runs[edges[border]].start, yes: right, no: left)
  }
}

extension Array {
  /// The first index whose element is past the border, where `isPast` is false up to there.
  fileprivate func partitioningIndex(_ isPast: (Element) -> Bool) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if isPast(self[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
