import Seccomp

/// A policy that is given as text.
func policy(
  _ text: String, on architecture: Architecture = .x86_64, dialect: Dialect = .minijail,
  files: [String: String] = [:]
) throws(PolicyError) -> Policy {
  try parser(architecture, dialect, files).parse(Array(text.utf8), name: "test.policy")
}

/// What is wrong with a text: `LINE:COLUMN: message`, with the detail before it.
func mistakes(
  _ text: String, on architecture: Architecture = .x86_64, dialect: Dialect = .minijail,
  files: [String: String] = [:]
) -> [String] {
  mistakes(Array(text.utf8), on: architecture, dialect: dialect, files: files)
}

func mistakes(
  _ bytes: [UInt8], on architecture: Architecture = .x86_64, dialect: Dialect = .minijail,
  files: [String: String] = [:]
) -> [String] {
  do throws(PolicyError) {
    _ = try parser(architecture, dialect, files).parse(bytes, name: "test.policy")
    return []
  } catch {
    return error.diagnostics.map {
      "\($0.line.map { "\($0)" } ?? "-"):\($0.column): \($0.detail.map { "\($0); " } ?? "")\($0.message)"
    }
  }
}

func parser(
  _ architecture: Architecture, _ dialect: Dialect, _ files: [String: String]
) -> PolicyParser {
  PolicyParser(architecture: architecture, dialect: dialect) { path throws(ReadFailure) in
    guard let text = files[path] else {
      throw ReadFailure(isMissing: true, reason: "No such file or directory (ENOENT)")
    }
    return Array(text.utf8)
  }
}

/// The same numbers each time: xorshift64*.
struct Numbers: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }

  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_f491_4f6c_dd1d
  }
}

extension FilterProgram {
  /// The action for one call on x86_64.
  func action(_ name: String, _ arguments: UInt64...) -> Action? {
    let architecture = Architecture.x86_64
    return run(
      CallData(
        number: architecture.number(ofCall: name) ?? .max, architecture: architecture.auditNumber,
        arguments: arguments)
    ).action
  }
}
