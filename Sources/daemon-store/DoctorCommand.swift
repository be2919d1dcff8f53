import ArgumentParser
import Cryptohome
import DaemonStore
import Program

struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Check everything on this host, and say what mends what is wrong.",
    discussion: """
      The most serious first, each with what was seen and the command that mends it. Nothing is \
      changed.

      Exit status: 0 healthy, 1 failed, 2 usage, 3 there are findings.
      """)

  @Flag(help: "Print the result as JSON.")
  var json = false

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    var findings = try Self.findings(.system)
    // What was only on its way, a login for one, is not there at a second look.
    if !findings.isEmpty {
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
        Program.say("  mend: \(finding.mend)")
      }
      let count = findings.count
      Program.say(count == 0 ? "healthy" : "\(count) \(count == 1 ? "finding" : "findings")")
    }
    if !findings.isEmpty { throw Ending(.partial) }
  }

  private static func findings(_ layout: Layout) throws -> [Finding] {
    let survey = try StoreSurvey(of: layout, isThorough: true)
    return Finding.sorted(survey.findings + survey.ownerDrift() + (try UserFindings.all(layout)))
  }
}

/// `daemon-store doctor --json`: one for each finding.
struct FindingOutput: Encodable {
  let severity: String
  let kind: String
  let subject: String
  let problem: String
  let evidence: [String]
  let mend: String

  init(_ finding: Finding) {
    severity = finding.kind.severity.rawValue
    kind = finding.kind.rawValue
    subject = finding.subject
    problem = finding.problem
    evidence = finding.evidence
    mend = finding.mend
  }
}
