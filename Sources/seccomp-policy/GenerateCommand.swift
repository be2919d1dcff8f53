import ArgumentParser
import DaemonStoreKernel
import DaemonStoreProgram
import Seccomp

struct GenerateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate",
    abstract: "Make a policy from the output of strace, or from audit logs.",
    discussion: "The same traces give the same policy. Read it before use.")

  @Argument(help: "Traces.", completion: .file())
  var traces: [FilePath]

  @Option(
    help: ArgumentHelp(
      "Also write how often calls were made, for @frequency; the policy is then sorted by name."),
    completion: .file())
  var frequency: FilePath?

  @Option(help: "The process whose records of an audit log count.")
  var auditComm: String?

  @Option(name: .customLong("arch"), help: "The machine that the traces are from; else this one.")
  var architecture: Architecture = .current ?? .x86_64

  /// A trace is longer than a policy.
  private static let limit = 1 << 30

  func validate() throws {
    if traces.isEmpty { throw ValidationError("no trace is given") }
  }

  func run() throws {
    var generator = PolicyGenerator(architecture: architecture)
    for path in traces {
      let bytes = try Files.read(path, limit: Self.limit)
      if auditComm == nil,
        bytes.split(separator: UInt8(ascii: "\n")).contains(where: { AuditReader.isRecord($0) })
      {
        throw ValidationError("\(path) is an audit log: say of which process with --audit-comm")
      }
      // A policy without the calls that a program needs kills it.
      guard generator.add(trace: bytes, command: auditComm) > 0 else {
        throw Failure(
          auditComm.map { "\(path): no system call of a process '\($0)' is recorded there" }
            ?? "\(path): no system call is recorded there; traces are made with strace -f -o FILE")
      }
    }
    for name in generator.unknownCalls.sorted() {
      Program.complain(
        "seccomp-policy: generate: warning: '\(name)' is no system call of \(architecture.name)")
    }
    if let frequency { try Files.write(Array(generator.frequencyText().utf8), to: frequency) }
    print(generator.text(byName: frequency != nil), terminator: "")
  }
}
