import Seccomp
import Testing

@Suite struct StartupFilterTests {
  @Test(arguments: Architecture.allCases)
  func allowsPolicyAndLoaderAndTellsTheRest(_ architecture: Architecture) throws {
    let loader = try PolicyParser(architecture: architecture, toleratesUnknownCalls: true) {
      _ throws(ReadFailure) in throw ReadFailure(isMissing: true, reason: "")
    }.parse(Array(StartupFilter.loaderPolicy.utf8), name: "loader")
    for seed in 1...UInt64(8) {
      var random = RandomPolicies(seed: seed &+ 77, architecture: architecture)
      let policy = random.policy(.minijail)
      let compiler = random.compiler()
      let filter = try compiler.startupFilter(for: policy)
      let exact = try compiler.compile(policy)
      for call in random.calls(for: policy, count: 200) + random.calls(for: loader, count: 100) {
        func text() -> Comment {
          "seed \(seed): \(call)\n\(filter.program.assembly(for: architecture))"
        }
        let wanted = exact.run(call)
        let found = filter.program.run(call)
        if wanted.code == Action.allow.code(killsProcess: false) {
          try #require(found.code == wanted.code, text())
          try #require(found.steps <= StartupFilter.stepLimit, text())
        }
        // Never stricter than the policy.
        try #require(Int32(bitPattern: found.code) >= Int32(bitPattern: wanted.code), text())
        if call.architecture == architecture.auditNumber,
          loader.decision(call).action == .allow
        {
          try #require(found.code == Action.allow.code(killsProcess: false), text())
        } else if found.code != wanted.code {
          // The policy allows it with other arguments, or it is told of.
          let isNamed = policy.rules.contains { $0.call.number == call.number }
          let isExtra = filter.extra.contains { $0.number == call.number }
          let isNoCall = architecture.name(ofCall: call.number) == nil
          let isSyslog = compiler.allowsSyslog
          try #require(isNamed || isExtra || isNoCall || isSyslog, text())
        }
      }
    }
  }

  @Test func smallPolicyIsExact() throws {
    let filter = try Compiler().startupFilter(
      for: try policy("read: 1\nptrace: 1\nsocket: return 1"))
    #expect(filter.extra.isEmpty)
    #expect(filter.program.action("ptrace") == .allow)
    #expect(filter.program.action("socket") == .errno(1))
    #expect(filter.program.action("mount") == .killThread)
    #expect(filter.program.action("openat", 0, 0, 0x80000) == .allow)
    #expect(filter.program.action("openat", 0, 0, 0x80001) == .killThread)
    #expect(filter.program.action("prctl", 38) == .allow)
    #expect(filter.program.action("prctl", 4) == .killThread)
    #expect(filter.program.action("prlimit64", 0, 7, 0) == .allow)
    #expect(filter.program.action("prlimit64", 0, 7, 1) == .killThread)
  }

  @Test func numbersToComeAreNeverAllowed() throws {
    var text = ""
    for number in stride(from: 0, through: 470, by: 3) { text += "\(number): 1\n" }
    let filter = try Compiler().startupFilter(for: try policy(text))
    #expect(!filter.extra.isEmpty)
    for number: UInt32 in [472, 473, 600, 0x4000_0000, .max] {
      let call = CallData(number: number, architecture: Architecture.x86_64.auditNumber)
      #expect(filter.program.run(call).action == .killThread)
    }
  }
}
