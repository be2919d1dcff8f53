import ArgumentParser
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram

/// `cryptohome`: users' vaults.
struct CryptohomeProgram: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cryptohome",
    abstract: "Log users in and out: their vault, their homes, their folder in each daemon store.",
    version: version,
    subcommands: [
      MountCommand.self, UnmountCommand.self, StatusCommand.self, SanitizeCommand.self,
      CreateCommand.self, RemoveCommand.self, PasswdCommand.self, KeyCommand.self,
      RenameCommand.self, AdoptCommand.self, RepairHomeCommand.self,
      PamCommand.self,
    ])
}

/// Runs the command that the command line names, and exits.
package func runCryptohome() -> Never {
  do throws(SystemError) {
    // Before there is a key or a password. Without root there is neither.
    if geteuid() == 0 { try forbidDumps() }
  } catch {
    Program.complain("cryptohome: \(error)")
    exit(1)
  }
  Program.run(CryptohomeProgram.self)
}
