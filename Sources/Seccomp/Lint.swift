/// What a reviewer should look at in a policy that is correct.
package struct LintFinding: Hashable, Sendable, CustomStringConvertible {
  package enum Kind: String, Hashable, Sendable {
    /// A call that gives much away, without a comment that says why.
    case dangerous
    /// A rule, or a part of one, that never decides anything.
    case unreachable
    /// A comparison that always holds or never does.
    case constant
  }

  package let kind: Kind
  package let place: Place
  package let call: SystemCall
  package let message: String

  /// `FILE(LINE): ioctl: …`.
  package var description: String { "\(place): \(call.name): \(message)" }
}

extension Policy {
  /// Calls that need a comment on the line before their rule (blank lines between are fine), or at
  /// its end: the list of the reference's tool.
  package static let dangerousCalls = [
    "bpf", "clone", "execve", "execveat", "getrandom", "ioctl", "kill", "mmap", "mmap2", "mount",
    "mprotect", "prctl", "ptrace", "setns", "socket", "swapoff", "swapon",
  ]

  /// Findings in the order of the rules. `isCommented` tells whether a line has a comment: see
  /// ``CommentedLines``.
  package func lint(
    dangerousCalls: [String] = Policy.dangerousCalls, isCommented: (Place) -> Bool
  ) -> [LintFinding] {
    var findings: [LintFinding] = []
    for rule in rules {
      if dangerousCalls.contains(rule.call.name), !rule.isHarmless, !isCommented(rule.place) {
        findings.append(
          LintFinding(
            kind: .dangerous, place: rule.place, call: rule.call,
            message: "dangerous: add a comment before it that says why it is needed"))
      }
      findings += rule.idleParts(is64Bit: architecture.is64Bit)
    }
    return findings
  }
}

extension Rule {
  /// Denied always, or with arguments that do no harm.
  fileprivate var isHarmless: Bool {
    if clauses.isEmpty {
      switch otherwise {
      case nil, .kill?, .killProcess?, .killThread?, .trap?, .errno?: return true
      case .allow?, .log?, .trace?, .userNotify?: return false
      }
    }
    let isClosed = clauses.count == 1 && !(otherwise?.letsPass ?? false)
    guard isClosed, let condition = clauses.first?.condition else { return false }
    let texts = condition.map { group in
      group.map { "arg\($0.argument) \($0.operation.rawValue) \($0.value.text)" }
        .joined(separator: " && ")
    }.joined(separator: " || ")
    switch call.name {
    case "getrandom": return texts == "arg2 in ~GRND_RANDOM"
    case "mmap", "mmap2", "mprotect":
      return [
        "arg2 == PROT_READ || arg2 == PROT_NONE", "arg2 in ~PROT_EXEC",
        "arg2 in ~PROT_EXEC || arg2 in ~PROT_WRITE",
      ].contains(texts)
    default: return false
    }
  }

  /// Clauses behind one that always holds, clauses that repeat an earlier group, and comparisons
  /// that no argument can change.
  fileprivate func idleParts(is64Bit: Bool) -> [LintFinding] {
    var findings: [LintFinding] = []
    var seen: Set<[Comparison]> = []
    var hasEnded = false
    func find(_ kind: LintFinding.Kind, _ place: Place, _ message: String) {
      findings.append(LintFinding(kind: kind, place: place, call: call, message: message))
    }
    for clause in clauses {
      if hasEnded {
        find(.unreachable, clause.place, "never reached: an earlier filter always holds")
        break
      }
      for group in clause.condition {
        let constants = group.map { $0.constant(is64Bit: is64Bit) }
        if let index = constants.firstIndex(of: false) {
          find(.constant, clause.place, "'\(group[index].text)' never holds")
        } else if constants.allSatisfy({ $0 == true }) {
          hasEnded = true
          find(
            .constant, clause.place, "'\(group.map(\.text).joined(separator: " && "))' always holds"
          )
        } else if !seen.insert(group.map(\.plain)).inserted {
          let text = group.map(\.text).joined(separator: " && ")
          find(.unreachable, clause.place, "'\(text)' is there already")
        }
      }
    }
    return findings
  }
}

extension Comparison {
  fileprivate var text: String { "arg\(argument) \(operation.rawValue) \(value.text)" }

  /// The same for the same value, however it was written.
  fileprivate var plain: Comparison {
    Comparison(
      argument: argument, operation: operation,
      value: Value(text: "", bits: value.bits, isInt: value.isInt))
  }

  /// What it comes to for every argument; nil when that depends.
  fileprivate func constant(is64Bit: Bool) -> Bool? {
    let greatest: UInt64 = is64Bit && !value.isInt ? .max : 0xffff_ffff
    let bits = value.bits & greatest
    switch operation {
    case .less where bits == 0, .intersects where bits == 0, .greater where bits == greatest:
      return false
    case .greaterOrEqual where bits == 0, .lessOrEqual where bits == greatest,
      .within where bits == greatest:
      return true
    default: return nil
    }
  }
}

/// Which lines of a file have a comment: at their end, or on the last line before that is not blank.
package struct CommentedLines: Hashable, Sendable {
  private var numbers: Set<Int> = []

  package init(_ bytes: [UInt8]) {
    var isAfterComment = false
    for line in SourceLines(bytes) where !line.text.isEmpty {
      if line.isComment {
        isAfterComment = true
        continue
      }
      if isAfterComment || line.text.contains(UInt8(ascii: "#")) { numbers.insert(line.number) }
      isAfterComment = false
    }
  }

  package func contains(line: Int) -> Bool { numbers.contains(line) }
}
