import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import Seccomp
import TestSupport
import Testing

/// The kernel does with a program what the simulator says.
///
/// The calls take no arguments, so that the kernel ignores those that a filter looks at, and they
/// always succeed where they are allowed.
@Suite(.enabled(if: Architecture.current != nil, "no tables for this machine"))
struct KernelTests {
  private static let calls = ["getpid", "getppid", "gettid", "getuid", "getegid", "sched_yield"]

  /// What a filtered call comes to.
  private enum Ending: Hashable {
    case succeeded
    case failed(CInt)
    case signal(CInt)
  }

  private func expected(_ code: UInt32) -> Ending {
    switch Action(code: code) {
    case .allow, .log: .succeeded
    case .errno(let number): number == 0 ? .succeeded : .failed(CInt(number))
    case .trace, .userNotify: .failed(ENOSYS)  // nobody traces, nobody listens
    default: .signal(SIGSYS)
    }
  }

  /// Loads the program in a child and makes the call there. Between fork and exit the child only
  /// makes system calls: other threads may have held locks.
  private func ending(_ program: FilterProgram, _ call: CallData) throws -> Ending {
    let filter = UnsafeMutablePointer<sock_filter>.allocate(capacity: program.instructions.count)
    let arguments = UnsafeMutablePointer<UInt>.allocate(capacity: 12)
    defer {
      filter.deallocate()
      arguments.deallocate()
    }
    for (index, instruction) in program.instructions.enumerated() {
      filter[index] = sock_filter(
        code: instruction.code, jt: instruction.jumpTrue, jf: instruction.jumpFalse,
        k: instruction.operand)
    }
    for index in 0..<12 { arguments[index] = index < 6 ? UInt(call.arguments[index]) : 0 }
    var header = sock_fprog(len: UInt16(program.instructions.count), filter: filter)
    let exitGroup = Int(Architecture.current?.number(ofCall: "exit_group") ?? 0)
    let process = linux_fork(0)
    if process == 0 {
      _ = linux_prctl(38, 1, 0, 0)  // PR_SET_NO_NEW_PRIVS
      if linux_seccomp(1, 0, &header) != 0 {  // SECCOMP_SET_MODE_FILTER
        arguments[6] = 200
      } else if linux_system_call(Int(call.number), arguments) == -1 {
        arguments[6] = UInt(errno)
      }
      _ = linux_system_call(exitGroup, arguments + 6)
    }
    try check("fork", nil, process)
    let status = try reap(process)
    if status < 0 { return .signal(-status) }
    return status == 0 ? .succeeded : .failed(status)
  }

  @Test func outcomesAgree() throws {
    let architecture = try #require(Architecture.current)
    var seen: Set<Ending> = []
    for seed in 1...UInt64(24) {
      var random = RandomPolicies(seed: seed &+ 5000, architecture: architecture)
      var policy = random.policy(.minijail)
      // Of the calls that are made, only those of the list.
      policy.rules.removeAll { Self.calls.contains($0.call.name) || $0.call.name == "exit_group" }
      let place = Place(file: "kernel", line: 1)
      for name in Self.calls.shuffled(using: &random.numbers).prefix(5) + ["exit_group"] {
        let call = SystemCall(number: try #require(architecture.number(ofCall: name)), name: name)
        let clauses = (0..<3).map { _ in
          var action = random.action()
          if action == .errno(4095) { action = .errno(133) }
          return Clause(condition: random.condition(), action: action, place: place)
        }
        let isExit = name == "exit_group"
        policy.rules.append(
          Rule(
            call: call, clauses: isExit ? [] : clauses, otherwise: isExit ? .allow : .errno(7),
            place: place))
      }
      let compiler = random.compiler()
      let program = try compiler.compile(policy)
      let startup = try compiler.startupFilter(for: policy).program
      for call in random.calls(for: policy, count: 120)
      where Self.calls.contains(architecture.name(ofCall: call.number) ?? "")
        && call.architecture == architecture.auditNumber
      {
        for program in [program, startup] {
          let outcome = expected(program.run(call).code)
          let found = try ending(program, call)
          seen.insert(found)
          #expect(found == outcome, "seed \(seed): \(call)\n\(program.assembly(for: architecture))")
        }
      }
    }
    // Each kind of ending was among them.
    #expect(
      seen.isSuperset(of: [.succeeded, .signal(SIGSYS), .failed(7), .failed(1), .failed(ENOSYS)]))
  }

  /// What the kernel's checker takes is what ours takes.
  @Test func checkersAgree() throws {
    try #require(Architecture.current != nil)
    var numbers = Numbers(seed: 11)
    let codes: [UInt16] = [
      0x20, 0x00, 0x01, 0x80, 0x81, 0x60, 0x61, 0x02, 0x03, 0x05, 0x15, 0x1d, 0x25, 0x35, 0x45,
      0x06,
      0x16, 0x84, 0x07, 0x87, 0x04, 0x0c, 0x34, 0x3c, 0x54, 0x64, 0x6c, 0x74, 0xa4, 0x28, 0x30,
      0x40,
      0x0e, 0x94, 0x9c, 0xffff,
    ]
    var accepted = 0
    for _ in 0..<600 {
      let count = Int.random(in: 1...6, using: &numbers)
      var instructions = (0..<count).map { _ in
        Instruction(
          code: codes[Int.random(in: 0..<codes.count, using: &numbers)],
          jumpTrue: UInt8.random(in: 0...2, using: &numbers),
          jumpFalse: UInt8.random(in: 0...2, using: &numbers),
          operand: [0, 1, 2, 4, 15, 16, 31, 32, 60, 64][Int.random(in: 0..<10, using: &numbers)])
      }
      if Int.random(in: 0..<4, using: &numbers) > 0 {
        instructions[count - 1] = Instruction(code: 0x06, operand: 0x7fff_0000)
      }
      let isValid = (try? FilterProgram(instructions)) != nil
      accepted += isValid ? 1 : 0
      #expect(try kernelTakes(instructions) == isValid, "\(instructions)")
    }
    #expect(accepted > 30)
  }

  private func kernelTakes(_ instructions: [Instruction]) throws -> Bool {
    let filter = UnsafeMutablePointer<sock_filter>.allocate(capacity: instructions.count)
    let arguments = UnsafeMutablePointer<UInt>.allocate(capacity: 6)
    defer {
      filter.deallocate()
      arguments.deallocate()
    }
    for (index, instruction) in instructions.enumerated() {
      filter[index] = sock_filter(
        code: instruction.code, jt: instruction.jumpTrue, jf: instruction.jumpFalse,
        k: instruction.operand)
    }
    for index in 0..<6 { arguments[index] = 0 }
    var header = sock_fprog(len: UInt16(instructions.count), filter: filter)
    let exitGroup = Int(Architecture.current?.number(ofCall: "exit_group") ?? 0)
    let process = linux_fork(0)
    if process == 0 {
      _ = linux_prctl(38, 1, 0, 0)
      // A filter that is refused leaves the process as it is; one that is taken may kill it.
      if linux_seccomp(1, 0, &header) != 0 { arguments[0] = 22 }
      _ = linux_system_call(exitGroup, arguments)
    }
    try check("fork", nil, process)
    return try reap(process) != 22
  }
}
