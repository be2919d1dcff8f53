import Seccomp
import TestSupport
import Testing

@Suite struct StartupFilterTests {
  /// minijail0(1) names the calls that a program can make before its entry point.
  @Test func manualNamesTheCallsOfLoaders() throws {
    let page = try readFile(projectFile("docs/man/minijail0.1"))
    let list = try #require(page.firstRange(of: "what loaders and initialisers call:\n"))
    let words = page[list.upperBound...].prefix { $0 != "." }.split { $0 == "," || $0.isWhitespace }
    var calls: Set<String> = []
    for line in StartupFilter.loaderPolicy.split(separator: "\n") where !line.hasPrefix("#") {
      let names = line.prefix { $0 != ":" }.split { "{}, ".contains($0) }.map(String.init)
      if line.contains(":"), !line.hasPrefix(" ") { calls.formUnion(names) }
    }
    #expect(Set(words.map(String.init)) == calls && calls.count > 60)
  }

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
        // Both together are the policy; a call of another architecture dies of the first.
        let both = [found.code, filter.completion.run(call).code].map(Int32.init(bitPattern:))
        if call.architecture == architecture.auditNumber {
          try #require(both.min() == Int32(bitPattern: wanted.code), text())
        } else {
          try #require(found.code == wanted.code, text())
        }
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
    #expect(filter.program.action("prctl", 4) == .allow)  // PR_SET_DUMPABLE
    #expect(filter.program.action("prctl", 8) == .killThread)  // PR_SET_KEEPCAPS
    #expect(filter.program.action("prlimit64", 0, 7, 0) == .allow)
    #expect(filter.program.action("prlimit64", 0, 7, 1) == .killThread)
  }

  /// The architecture is looked at once for each call.
  @Test func completionLeavesTheArchitectureOut() throws {
    let rules = try policy("read: 1\nptrace: arg0 == 1\nsocket: return 1")
    let completion = try Compiler().startupFilter(for: rules).completion
    let whole = try Compiler().compile(rules)
    #expect(completion.instructions.allSatisfy { $0.operand != 4 || $0.code != 0x20 })
    for (name, expected) in [("read", Action.allow), ("socket", .errno(1)), ("mount", .killThread)]
    {
      #expect(completion.action(name, 1) == expected)
    }
    let number = try #require(Architecture.x86_64.number(ofCall: "ptrace"))
    let call = CallData(number: number, architecture: Architecture.x86_64.auditNumber)
    #expect(completion.run(call).steps == whole.run(call).steps - 2)
    #expect(completion.run(call).action == .killThread)
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
