import ArgumentParser
import Seccomp

/// What most of the commands take.
struct PolicyOptions: ParsableArguments {
  @Option(
    name: .customLong("arch"),
    help: "The machine that it is for: x86_64, i386, aarch64, arm or riscv64; else this one.")
  var architecture: Architecture = .current ?? .x86_64

  @Option(help: "The meaning of `expr; return N`: minijail or compile-tool.")
  var dialect: Dialect = .minijail
}

extension Architecture: ExpressibleByArgument {
  public init?(argument: String) { self.init(name: argument) }
  public var defaultValueDescription: String { name }
  public static var allValueStrings: [String] { allCases.map(\.name) }
}

extension Dialect: ExpressibleByArgument {}

/// `--default-action`.
struct DefaultAction: ExpressibleByArgument {
  let action: Action

  init?(argument: String) {
    let actions: [Action] = [
      .allow, .kill, .killProcess, .killThread, .trap, .trace, .log, .userNotify,
    ]
    if let known = actions.first(where: { $0.word == argument }) {
      action = known
    } else if argument.utf8.starts(with: "return ".utf8),
      let value = constantExpression(
        String(Substring(argument.utf8.dropFirst(7))), on: .current ?? .x86_64),
      value <= 4095
    {
      action = .errno(UInt16(value))
    } else {
      return nil
    }
  }
}

/// A system call by its name or number.
func systemCall(_ text: String, on architecture: Architecture) throws -> SystemCall {
  if let number = architecture.number(ofCall: text) {
    return SystemCall(number: number, name: text)
  }
  guard let first = text.first, first.isNumber,
    let value = constantExpression(text, on: architecture),
    value < 1 << 32
  else { throw ValidationError("'\(text)' is no system call of \(architecture.name)") }
  let number = UInt32(value)
  return SystemCall(number: number, name: architecture.name(ofCall: number) ?? "\(number)")
}
