import ArgumentParser
import DaemonStoreKernel
import DaemonStoreProgram
import Seccomp

struct DisassembleCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "disassemble", abstract: "Show a program as text.")

  @Argument(help: "The program, as compile writes it.", completion: .file())
  var file: FilePath

  @Option(name: .customLong("arch"), help: "Whose names to show; else that which it looks for.")
  var architecture: Architecture?

  func run() throws {
    let bytes = try Files.read(file)
    do throws(ProgramError) {
      let program = try FilterProgram(bytes: bytes)
      let found = program.instructions.lazy
        .filter { $0.code == OperationCode.jumpEqual }
        .compactMap { Architecture(auditNumber: $0.operand) }.first
      print(program.assembly(for: architecture ?? found), terminator: "")
    } catch {
      throw Failure("\(file): \(error)")
    }
  }
}

struct SystemCallsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "syscalls", abstract: "List the system calls that policies can name.")

  @Option(name: .customLong("arch"), help: "The machine; else this one.")
  var architecture: Architecture = .current ?? .x86_64

  func run() {
    for call in architecture.systemCalls { print("\(call.number)\t\(call.name)") }
  }
}
