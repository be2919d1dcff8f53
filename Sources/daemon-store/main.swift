import ArgumentParser
import DaemonStoreKernel
import DaemonStoreProgram
import cryptohome
import cryptohomed
import sandboxed_services
import seccomp_policy

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

/// Every program but `minijail0` is this one file, under links with the names of the others: the name
/// by which it was called says which it is. Five files would hold the Swift runtime five times.
switch Program.calledName {
case "cryptohome": runCryptohome()
case "cryptohomed": runCryptohomed()
case "sandboxed-services": runSandboxedServices()
case "seccomp-policy": runSeccompPolicy()
default: Program.run(DaemonStoreProgram.self)
}
