import ArgumentParser
import Kernel
import Program

/// `daemon-store`: the stores of this machine.
struct DaemonStoreProgram: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "daemon-store",
    abstract: "Per-user folders that reach daemons in their own mount namespace.",
    version: version,
    subcommands: [
      StartupCommand.self, ShutdownCommand.self, StatusCommand.self, TreeCommand.self,
      WaitCommand.self, WatchCommand.self, WhoCommand.self, DoctorCommand.self,
      TemplateCommand.self, ConfigCommand.self,
    ])
}

Program.run(DaemonStoreProgram.self)
