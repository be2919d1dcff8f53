import ArgumentParser
import Kernel
import Program
import ServiceAudit

/// `sandboxed-services`: how the services that run are confined.
struct SandboxedServicesProgram: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sandboxed-services",
    abstract: "How the services of this system are confined, and whether they should be more so.",
    version: version,
    subcommands: [ListCommand.self, CheckCommand.self, BaselineCommand.self])
}

/// Runs the command that the command line names, and exits.
public func runSandboxedServices() -> Never {
  Program.run(SandboxedServicesProgram.self)
}
