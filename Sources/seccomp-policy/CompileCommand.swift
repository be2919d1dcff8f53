import ArgumentParser
import DaemonStoreKernel
import DaemonStoreProgram
import Seccomp

struct CompileCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compile", abstract: "Make the program that the kernel runs for a policy.")

  enum Format: String, CaseIterable, ExpressibleByArgument {
    case raw
    case cHeader = "c-header"
  }

  @Argument(help: "The policy.", completion: .file())
  var policy: String

  @Option(
    name: .shortAndLong, help: "Where the program goes; - is standard output.",
    completion: .file())
  var output: FilePath

  @OptionGroup var options: PolicyOptions

  @Option(help: "For calls that no rule decides; over the policy's @default.")
  var defaultAction: DefaultAction?

  @Option(help: "raw, as minijail0 --seccomp-bpf-binary reads it, or c-header.")
  var format: Format = .raw

  @Flag(help: "Kill the process, and not the thread.")
  var useKillProcess = false

  @Flag(help: "Allow and log what would kill.")
  var useRetLog = false

  @Flag(help: "Make the filter that stands from before execve(2), with what a loader needs.")
  var startup = false

  func run() throws {
    guard !Files.areSame("\(self.policy)", output) else {
      throw ValidationError("\(output) is the policy; name another file for the program")
    }
    let policy = try Files.policy(policy, options.architecture, options.dialect)
    var compiler = Compiler()
    compiler.defaultAction = defaultAction?.action
    compiler.killsProcess = useKillProcess
    compiler.logs = useRetLog
    let program: FilterProgram
    do {
      program =
        try startup
        ? compiler.startupFilter(for: policy).program : compiler.compile(policy)
    } catch {
      throw Failure("\(self.policy): \(error)")
    }
    let name = output.components.last?.bytes.split(separator: UInt8(ascii: ".")).first
    let bytes =
      switch format {
      case .raw: program.bytes
      case .cHeader:
        Array(
          program.cHeader(name: output == "-" ? "filter" : name.map { shownBytes($0) } ?? "filter")
            .utf8)
      }
    try Files.write(bytes, to: output)
  }
}
