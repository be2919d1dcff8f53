import ArgumentParser
import Cryptohome
import DaemonStore
import DaemonStoreKernel
import DaemonStoreProgram

struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Check everything on this host, and say how to fix it.",
    discussion: """
      The most serious first, each with what was seen and the command that fixes it. Nothing is \
      changed.

      Exit status: 0 healthy, 1 failed, 2 usage, 3 there are findings.
      """)

  @Flag(help: "Print the result as JSON.")
  var json = false

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    InitNamespace.warn("daemon-store: doctor", "what is said of the host is said of this one")
    var findings = try Self.findings(.system)
    // What was only on its way, a login that one jail had and another had not, is not there when
    // it is looked for again and again.
    for _ in 1...2 where !findings.isEmpty {
      let again = try Self.findings(.system)
      findings = again.filter { now in
        findings.contains { ($0.kind, $0.subject) == (now.kind, now.subject) }
      }
    }
    if json {
      try printJSON(findings.map { FindingOutput($0) })
    } else {
      for finding in findings {
        Program.say("\(finding.kind.severity.rawValue): \(finding.subject) \(finding.problem)")
        for line in finding.evidence { Program.say("  \(line)") }
        Program.say("  fix: \(finding.fix)")
      }
      let count = findings.count
      Program.say(count == 0 ? "healthy" : "\(count) \(count == 1 ? "finding" : "findings")")
    }
    if !findings.isEmpty { throw Ending(.partial) }
  }

  private static func findings(_ layout: Layout) throws -> [Finding] {
    let users = try UserFindings.all(layout)
    do {
      let survey = try StoreSurvey(of: layout, isThorough: true)
      return Finding.sorted(survey.findings + survey.ownerDrift() + users)
    } catch let refusal as Refusal {
      // What is at the place of all stores is none of ours.
      let isMounted =
        StoreTree.allCases.map(layout.directory).contains(refusal.path)
        ? try FileStatus.mountID(at: refusal.path) != nil : false
      let finding = Finding(
        .storeReplaced, refusal.path, "cannot hold the stores", evidence: [refusal.reason],
        fix: isMounted
          ? "umount \(refusal.path) && daemon-store startup"
          : refusal.fix ?? "daemon-store startup")
      return Finding.sorted([finding] + users)
    }
  }
}

/// `daemon-store doctor --json`: one for each finding.
struct FindingOutput: Encodable {
  let severity: String
  let kind: String
  let subject: String
  let problem: String
  let evidence: [String]
  let fix: String

  init(_ finding: Finding) {
    severity = finding.kind.severity.rawValue
    kind = finding.kind.rawValue
    subject = finding.subject
    problem = finding.problem
    evidence = finding.evidence
    fix = finding.fix
  }
}
