import ArgumentParser
import DaemonStoreKernel
import DaemonStoreProgram

/// `seccomp-policy`: the tools around the policies of `minijail0 -S`.
struct SeccompPolicyProgram: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "seccomp-policy",
    abstract: "Compile, check, explain and generate policies for system calls.",
    discussion: "A file that is given as - is standard input.", version: version,
    subcommands: [
      CompileCommand.self, CheckCommand.self, ExplainCommand.self, GenerateCommand.self,
      DisassembleCommand.self, SystemCallsCommand.self,
    ])
}

/// Runs the command that the command line names, and exits.
package func runSeccompPolicy() -> Never {
  Program.run(SeccompPolicyProgram.self)
}
