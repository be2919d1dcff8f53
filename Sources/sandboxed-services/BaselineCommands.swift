import ArgumentParser
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram
import ServiceAudit

struct CheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Compare the services that run with a baseline.",
    discussion: """
      A service that the baseline does not have, a new one of root, and one that has lost a feature \
      are each a line on standard error, with the line that the baseline would need.

      Exit status: 0 all is as the baseline has it, 1 failed, 2 usage, 3 it is not.
      """)

  @Argument(help: "The file with the baseline; - reads standard input.", completion: .file())
  var baseline: FilePath

  func run() throws {
    try Program.requireRoot()
    let name: FilePath = baseline == "-" ? "standard input" : baseline
    let file =
      baseline == "-"
      ? Descriptor(owning: STDIN_FILENO)
      : try Descriptor(followingLinks: baseline, flags: O_RDONLY)
    guard let bytes = try file.read(atMost: 1 << 24, shown: name) else {
      throw Failure("\(name): is larger than 16 MiB, so it is no baseline")
    }
    guard String(validating: bytes, as: UTF8.self) != nil else {
      throw Failure("\(name): is not valid UTF-8")
    }
    let services = try RunningServices.all()
    let problems = try Baseline(parsing: bytes, named: name).problems(with: services)
    for problem in problems { Program.complain("sandboxed-services: check: \(problem)") }
    if !problems.isEmpty { throw Ending(.partial) }
    Program.say("\(services.count) processes of services, all as in \(name)")
  }
}

struct BaselineCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "baseline",
    abstract: "Write the baseline of what runs now.")

  @Option(
    name: .shortAndLong, help: "The file to write, as a whole or not at all; else it is printed.",
    completion: .file())
  var output: FilePath?

  func run() throws {
    try Program.requireRoot()
    let text = Baseline(of: try RunningServices.all()).text
    if let output {
      try FileReplacement(of: output).commit(Array(text.utf8))
    } else {
      print(text, terminator: "")
    }
  }
}
