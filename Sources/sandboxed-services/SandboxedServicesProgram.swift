import ArgumentParser
import DaemonStoreKernel
import DaemonStoreProgram
import ServiceAudit

/// `sandboxed-services`: how the services that run are confined.
struct SandboxedServicesProgram: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sandboxed-services",
    abstract: "Show how the services of this system are confined, and compare with a baseline.",
    version: version,
    subcommands: [ListCommand.self, CheckCommand.self, BaselineCommand.self])
}

/// Runs the command that the command line names, and exits.
package func runSandboxedServices() -> Never {
  Program.run(SandboxedServicesProgram.self)
}
