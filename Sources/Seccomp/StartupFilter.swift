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
///
/// A policy with more than a thousand stretches, which can only name numbers that no kernel has, is
/// taken exactly, at whatever cost.
///
/// Once the policy's filter is loaded the kernel takes the stricter answer of the two, so none of
/// the three kinds of calls above is then more than the policy allows.
public struct StartupFilter: Hashable, Sendable {
  public let program: FilterProgram
  public let architecture: Architecture
  /// Allowed though neither the policy nor the loader asks for it.
  public let extraNumbers: [UInt32]

  /// The same with names, in the order of the numbers.
  public var extra: [SystemCall] {
    architecture.systemCalls.filter { extraNumbers.contains($0.number) }
  }

  /// How many instructions a call costs that the policy allows.
  public static let stepLimit = 8

  /// What glibc 2.31 to 2.40 calls from execve(2) to main(), as strace(1) shows it for static,
  /// position-independent and other programs and for scripts, with a preloaded library; what such
  /// a library then needs to finish a jail: to read a filter from a sealed descriptor, load it and
  /// report; what the initialisers of common libraries ask (whether SELinux is there, how much
  /// memory and how many processors); and how a loader that fails says so. It opens files for
  /// reading only.
  public static let loaderPolicy = """
    execve: 1
    brk: 1
    {mmap, mmap2, mprotect, munmap}: 1
    open: arg1 in O_CLOEXEC|O_LARGEFILE|O_NOFOLLOW
    openat: arg2 in O_CLOEXEC|O_LARGEFILE|O_NOFOLLOW
    {read, pread64, close}: 1
    {fstat, fstat64, stat, stat64, newfstatat, fstatat64, statx}: 1
    {access, faccessat, faccessat2, readlink, readlinkat, uname}: 1
    {arch_prctl, set_thread_area, set_tls}: 1
    {set_tid_address, set_robust_list, rseq, getrandom}: 1
    {prlimit64, getrlimit, ugetrlimit}: 1
    # The thread library of glibc before 2.34.
    {rt_sigaction, rt_sigprocmask}: 1
    prctl: arg0 == PR_SET_NO_NEW_PRIVS || arg0 == PR_SET_SECCOMP || arg0 == PR_GET_SECCOMP || \
      arg0 == PR_CAP_AMBIENT && arg1 == PR_CAP_AMBIENT_CLEAR_ALL
    {fchdir, dup, landlock_restrict_self}: 1
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
  /// The filter that is loaded before execve(2) when `policy` follows later.
  public func startupFilter(for policy: Policy) throws(CompileError) -> StartupFilter {
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
    let all = DecisionGraph.merged(
      Self.runs(needs.map { ($0.key, $0.value.node, 1) }, standard))
    // A run takes an instruction at least, so what is far too much need not be built.
    guard all.count <= FilterProgram.lengthLimit * 2 else {
      throw CompileError(instructionCount: nil)
    }
    // The choice costs memory that grows with the square. No kernel has half as many calls.
    guard all.count <= StartupCover.runLimit else {
      let exact = graph.searchTree(all)
      return StartupFilter(program: try program(graph, exact, architecture), extra: [])
    }
    var cover = StartupCover(needs: needs, standard: standard, allowed: allowed, architecture)
    let tree = cover.emit(into: &graph)
    let program = try program(graph, tree, architecture)
    return StartupFilter(
      program: program, architecture: architecture, extraNumbers: cover.extra.sorted())
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
  private let allowed: Int
  private(set) var extra: [UInt32] = []
  /// Where the items of the search begin, and the end: each hot run, and all that lies between two of
  /// them. A border within such a gap would separate nothing that is allowed from anything.
  private let edges: [Int]
  /// By depth and stretch of items.
  private var costs: [[Int]] = []
  private var borders: [[Int32]] = []

  private static let depth = 4
  static let runLimit = 1024
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
    for from in 0..<count {
      var hot = 0
      var single = 0
      var risk = 0
      for to in (from + 1)...count {
        hotWeight[index(from, to)] = hotWeight[index(from, to - 1)]
        for run in edges[to - 1]..<edges[to] {
          if isHot[run] {
            hot += 1
            single += runs.width(of: run) == 1 ? 1 : 0
            hotWeight[index(from, to)] += runs[run].weight
          } else {
            risk = min(Self.never, risk + (risks[run].map { $0 * Self.riskUnit } ?? Self.never))
          }
        }
        // Without hot runs a stretch is decided exactly, at any depth.
        flat[index(from, to)] = hot == 0 ? 0 : risk
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

/// How bad it is to allow a call for the short time that a loader takes, or for as long as a program
/// without its library lives.
private struct Risk {
  private let weights: [UInt32: Int]

  init(_ architecture: Architecture) {
    var weights: [UInt32: Int] = [:]
    for (names, weight) in [(Self.privileged, 2000), (Self.outward, 100)] {
      for name in names {
        if let number = architecture.number(ofCall: name) { weights[number] = weight }
      }
    }
    self.weights = weights
  }

  func of(_ number: UInt32) -> Int { weights[number] ?? 1 }

  private static let privileged = [
    "acct", "add_key", "bpf", "capset", "chroot", "clock_settime", "delete_module", "execveat",
    "finit_module", "fsconfig", "fsmount", "fsopen", "init_module", "io_uring_enter",
    "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kexec_file_load", "kexec_load",
    "keyctl", "modify_ldt", "mount", "mount_setattr", "move_mount", "open_by_handle_at",
    "open_tree", "perf_event_open", "pidfd_getfd", "pivot_root", "process_vm_readv",
    "process_vm_writev", "ptrace", "quotactl", "reboot", "request_key", "setns", "settimeofday",
    "swapoff", "swapon", "syslog", "umount2", "unshare", "userfaultfd",
  ]
  private static let outward = [
    "bind", "chmod", "chown", "clone", "clone3", "connect", "creat", "fchmod", "fchmodat",
    "fchown", "fchownat", "fork", "ioctl", "kill", "link", "linkat", "mknod", "mknodat", "rename",
    "renameat", "renameat2", "sendmsg", "sendto", "setgid", "setgroups", "setregid", "setresgid",
    "setresuid", "setreuid", "setuid", "socket", "socketcall", "symlink", "symlinkat", "tgkill",
    "tkill", "truncate", "unlink", "unlinkat", "vfork",
  ]
}
