import ArgumentParser
import DaemonStoreProgram
import Seccomp

struct ExplainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain", abstract: "Say what a policy does to a call, and which line decides.")

  @Argument(help: "The policy.", completion: .file())
  var policy: String

  @Argument(help: "The system call: its name or number.")
  var call: String

  @Argument(help: "Its arguments, as numbers and constants; those left out are 0.")
  var arguments: [String] = []

  @OptionGroup var options: PolicyOptions

  @Flag(help: "Print the result as JSON.")
  var json = false

  func run() throws {
    let call = try systemCall(call, on: options.architecture)
    guard arguments.count <= 6 else { throw ValidationError("a call has at most 6 arguments") }
    var values: [UInt64] = []
    for text in arguments {
      guard let value = constantExpression(text, on: options.architecture) else {
        throw ValidationError("'\(text)' is no value on \(options.architecture.name)")
      }
      values.append(value)
    }
    let policy = try Files.policy(policy, options.architecture, options.dialect)
    let explanation = try Compiler().explain(policy, call: call, arguments: values)
    if json {
      try printJSON(ExplanationOutput(explanation))
    } else {
      Program.say("\(explanation)")
    }
  }
}

/// `explain --json`.
struct ExplanationOutput: Encodable {
  let syscall: String
  let number: UInt32
  let arguments: [UInt64]
  let action: String
  let isDefault: Bool
  let file: String?
  let line: Int?
  let instructions: Int

  init(_ explanation: Explanation) {
    syscall = explanation.call.name
    number = explanation.call.number
    arguments = explanation.arguments
    action = explanation.action.word
    isDefault = explanation.isDefault
    file = explanation.place?.file
    line = explanation.place?.line
    instructions = explanation.steps
  }
}
