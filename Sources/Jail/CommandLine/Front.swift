import Glibc
import DaemonStoreKernel

/// The program `minijail0`: from its words to its exit status.
///
/// - Parameter words: the whole command line, the name of the program first.
package func runMinijail(_ words: [RawArgument]) -> CInt {
  let program = words.first?.description ?? "minijail0"
  var log = Log()
  do throws(JailError) {
    let command = try Command(reading: Array(words.dropFirst()), launcher: program)
    switch command.action {
    case .help: return printed(Help.text(program: program))
    case .systemCalls: return printed(Help.systemCalls(program: program))
    case .version: return printed("\(version)\n")
    case .writeConfiguration(let text, let file):
      try writeNew(text, to: file)
      return 0
    case .explain(let asJSON):
      let plan = try JailPlan(command.configuration)
      try report(command, to: log)
      let explanation = try Explanation(plan)
      return printed(asJSON ? explanation.json : explanation.text)
    case .run:
      log = Log(command.configuration.logging)
      let plan = try JailPlan(command.configuration)
      try report(command, to: log)
      return try Launcher(plan: plan, log: log).run()
    }
  } catch {
    if error.showsHelp {
      writeLine(error.description, to: STDERR_FILENO)
      writeAll(Array(Help.text(program: program).utf8), to: STDOUT_FILENO)
    } else {
      for line in error.details + [error.description] { log.error(line) }
    }
    return error.status
  }
}

private func printed(_ text: String) -> CInt {
  if writeAll(Array(text.utf8), to: STDOUT_FILENO) { return 0 }
  writeLine(
    "minijail0: write standard output: \(String(cString: strerror(errno)))", to: STDERR_FILENO)
  return ExitStatus.failure
}

/// What is usually a mistake: a warning each, or with `--strict` the reason not to start.
private func report(_ command: Command, to log: Log) throws(JailError) {
  let mistakes = command.configuration.warnings
  if command.configuration.isStrict, let first = mistakes.first {
    throw JailError("--strict: \(first)")
  }
  if command.configuration.isStrict, command.configuration.usesLibrary {
    throw JailError(
      "--strict: --jail-by=preload trusts the program to let the library complete its jail")
  }
  for warning in command.warnings + mistakes { log.warning(warning) }
}

/// A configuration file, which must be a new one.
private func writeNew(_ text: [UInt8], to file: FilePath) throws(JailError) {
  do throws(SystemError) {
    let descriptor = Descriptor(
      owning: try check(
        "create", "\(file)", open(file.cString, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)))
    do throws(SystemError) {
      try descriptor.write(text, shown: "\(file)")
      try descriptor.close()
    } catch {
      unlink(file.cString)
      throw error
    }
  } catch {
    guard error.code == EEXIST || error.code == EISDIR else {
      throw JailError("--gen-config", error)
    }
    throw JailError("'\(file)' exists. Specify a new filename.")
  }
}
