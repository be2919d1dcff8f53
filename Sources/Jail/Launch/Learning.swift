import DaemonStoreKernel
import Seccomp

/// `--learn`: which system calls a program makes, and the policy that allows them.
struct Learning {
  /// Everything waits for the launcher: one instruction, SECCOMP_RET_USER_NOTIF.
  static let filter: [UInt8] = [6, 0, 0, 0, 0, 0, 0xc0, 0x7f]

  /// How it is loaded.
  static var flags: SystemCallFilters.Flags {
    let flags: SystemCallFilters.Flags = [.listens, .waitsThroughSignals]
    return SystemCallFilters.knows(flags) ? flags : .listens  // before 5.19
  }

  /// Calls of libc for threads that meet at a lock, and for the memory of one more thread.
  private static let ofThreads = [
    "futex", "madvise", "munmap", "sched_yield", "sched_getaffinity", "rt_sigprocmask", "openat",
    "read", "close", "set_robust_list", "rseq",
    // While the launcher traces, it is refused before it can be seen.
    "clone3",
  ]

  private let architecture: Architecture
  /// What was seen, and how often: the program waits meanwhile, so that nothing else is done here.
  private var counts: [Seen: Int] = [:]
  private var kept: [UInt32: Int?] = [:]

  /// A dynamic program has called its `main` when the tracer has seen its entry point, or the library
  /// has reported and closed what it reported on. Until then its loader is at work, which a policy
  /// need not allow.
  private enum Phase: Equatable {
    case loading(report: UInt64?)
    case closing(report: UInt64)
    case running
  }

  private var phase: Phase
  private let loader: FilterProgram
  private var startsThreads = false

  private struct Seen: Hashable {
    let architecture: UInt32
    let number: UInt32
    /// The argument that a policy looks at; 0 where it looks at none.
    let argument: UInt64
  }

  /// - Parameters:
  ///   - report: the descriptor that the library reports on, if there is one.
  ///   - isLoading: whether a loader is at work first, until ``programStarts()`` or the report.
  init(report: CInt?, isLoading: Bool) throws(JailError) {
    guard let architecture = Architecture.current else {
      throw SystemCallFilter.unknownArchitecture
    }
    self.architecture = architecture
    phase = isLoading ? .loading(report: report.map { UInt64(UInt32(bitPattern: $0)) }) : .running
    do {
      let kill = Instruction(code: OperationCode.returnOperand, operand: 0)
      loader = try FilterProgram([kill]).allowingLoader(on: architecture)
    } catch {
      throw JailError("--learn: \(error)")
    }
  }

  /// Whether the call belongs to the start of the program, and not to the program.
  private mutating func isOfStart(_ call: CallListener.Call) -> Bool {
    func makes(_ name: String, on descriptor: UInt64) -> Bool {
      architecture.name(ofCall: call.number) == name && call.arguments[0] == descriptor
    }
    switch phase {
    case .running: return false
    case .loading(let report?) where makes("write", on: report): phase = .closing(report: report)
    case .closing(let report) where makes("close", on: report): phase = .running
    default:
      let data = CallData(
        number: call.number, architecture: call.architecture, arguments: call.arguments)
      return loader.run(data).action == .allow
    }
    return true
  }

  /// The loader is done.
  mutating func programStarts() { phase = .running }

  mutating func add(_ call: CallListener.Call) {
    if isOfStart(call) { return }
    let index: Int?
    if let known = kept[call.number] {
      index = known
    } else {
      index = architecture.name(ofCall: call.number).flatMap(PolicyGenerator.keptArgument)
      kept[call.number] = index
    }
    let seen = Seen(
      architecture: call.architecture, number: call.number,
      argument: index.map { call.arguments[$0] } ?? 0)
    counts[seen, default: 0] &+= 1
    let name = counts[seen] == 1 ? architecture.name(ofCall: call.number) : nil
    if name == "clone" || name == "clone3" { startsThreads = true }
  }

  /// The policy, and what no policy for this machine can name.
  func result() -> (policy: String, unknown: Set<String>) {
    var generator = PolicyGenerator(architecture: architecture)
    var unknown: Set<String> = []
    for (seen, count) in counts {
      guard seen.architecture == architecture.auditNumber else {
        unknown.insert(
          "calls of the architecture 0x\(String(seen.architecture, radix: 16))")
        continue
      }
      guard let name = architecture.name(ofCall: seen.number) else {
        unknown.insert("call number \(seen.number)")
        continue
      }
      let index = PolicyGenerator.keptArgument(of: name) ?? 0
      let text = "0x\(String(seen.argument, radix: 16))"
      generator.add(
        TracedCall(name: name, arguments: Array(repeating: text, count: index + 1)), times: count)
    }
    if startsThreads {
      // What threads call depends on who waits for whom: another run may need it.
      for name in Self.ofThreads { generator.add(TracedCall(name: name, arguments: []), times: 0) }
    }
    return (generator.text(), unknown)
  }
}
