import Kernel
import Seccomp

/// `--learn`: which system calls a program makes, and the policy that allows them.
struct Learning {
  /// Everything waits for the launcher: one instruction, SECCOMP_RET_USER_NOTIF.
  static let filter: [UInt8] = [6, 0, 0, 0, 0, 0, 0xc0, 0x7f]

  private let architecture: Architecture
  /// What was seen, and how often: the program waits meanwhile, so that nothing else is done here.
  private var counts: [Seen: Int] = [:]
  private var kept: [UInt32: Int?] = [:]

  private struct Seen: Hashable {
    let architecture: UInt32
    let number: UInt32
    /// The argument that a policy looks at; 0 where it looks at none.
    let argument: UInt64
  }

  init() throws(JailError) {
    guard let architecture = Architecture.current else {
      throw SystemCallFilter.unknownArchitecture
    }
    self.architecture = architecture
  }

  mutating func add(_ call: CallListener.Call) {
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
    return (generator.text(), unknown)
  }
}
