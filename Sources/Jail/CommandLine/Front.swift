import Glibc
import Kernel

/// The program `minijail0`: from its words to its exit status.
///
/// - Parameter words: the whole command line, the name of the program first.
public func runMinijail(_ words: [RawArgument]) -> CInt {
  let program = words.first?.description ?? "minijail0"
  var log = Log()
  do throws(JailError) {
    var parser = CommandLineParser()
    var command = try parser.parse(Array(words.dropFirst()), program: program)
    switch command.action {
    case .help:
      writeAll(Array(Help.text(program: program).utf8), to: STDOUT_FILENO)
      return 0
    case .systemCalls:
      writeAll(Array(Help.systemCalls(program: program).utf8), to: STDOUT_FILENO)
      return 0
    case .version:
      writeAll(Array("\(version)\n".utf8), to: STDOUT_FILENO)
      return 0
    case .run, .explain: break
    }
    if command.action == .run { log = Log(command.configuration.logging) }
    try checkProgram(&command.configuration)
    for warning in command.warnings { log.warning(warning) }
    let plan = JailPlan(command.configuration)
    guard command.action == .explain else { return try Launcher(plan: plan, log: log).run() }
    writeAll(Array(try Explanation(plan).text.utf8), to: STDOUT_FILENO)
    return 0
  } catch {
    if error.showsHelp {
      writeLine(error.description, to: STDERR_FILENO)
      writeAll(Array(Help.text(program: program).utf8), to: STDOUT_FILENO)
    } else {
      log.error(error.description)
    }
    return error.status
  }
}

/// That the program can be run and with the capabilities that it is to have, unless `-T` says not
/// to look.
private func checkProgram(_ configuration: inout JailConfiguration) throws(JailError) {
  let linkage: JailConfiguration.Linkage?
  if let given = configuration.linkage {
    linkage = given
  } else {
    linkage = try ProgramFile(configuration).check(word: configuration.program)
  }
  configuration.linkage = linkage
  if linkage == .static, configuration.capabilities != nil, !configuration.raisesAmbient {
    throw JailError(
      "Can't run statically-linked binaries with capabilities (-c) without also setting ambient "
        + "capabilities. Try passing --ambient.")
  }
}
