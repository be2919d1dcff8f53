import ArgumentParser
import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// How a program of this project ends.
package enum ExitStatus: CInt, Sendable {
  case done = 0
  /// Failed, and nothing left behind.
  case failed = 1
  case usage = 2
  /// Done except for what was named on standard error.
  case partial = 3
  /// The command that was to be run is there, and cannot be run: as sh(1) and env(1) say it.
  case notRunnable = 126
  case notFound = 127
}

/// Ends a command with a status whose reasons have been printed.
package struct Ending: Error {
  package let status: ExitStatus
  package init(_ status: ExitStatus) { self.status = status }
}

/// A failure that has nothing below it that throws: one line.
package struct Failure: Error, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

/// A command that changes something: that stays done when nobody can be told of it.
package protocol ChangingCommand: ParsableCommand {}

/// The only place that prints errors and exits.
package enum Program {
  /// Parses the command line, runs the command and exits.
  ///
  /// A path may have any bytes. Any other argument that is not UTF-8 is refused: repaired, two names
  /// of users could become one.
  package static func run<Root: ParsableCommand>(_ root: Root.Type) -> Never {
    let program = root.configuration.commandName ?? "program"
    linux_occupy_standard_descriptors()
    // The work is done whether or not somebody still reads what is said about it.
    pipeHandler = signal(SIGPIPE, SIG_IGN)
    // A limit of the size of files is an error like any other: EFBIG.
    fileSizeHandler = signal(SIGXFSZ, SIG_IGN)
    raiseDescriptorLimit()
    let words = rawArguments.map { ByteArguments.encoded(FilePath(cString: $0)) }
    if let mistake = commandMistake(in: Array(words.dropFirst()), of: root) {
      complain(mistake)
      exit(ExitStatus.usage.rawValue)
    }
    var name = program
    var unheard = ExitStatus.failed
    do {
      let parsed = Result { try root.parseAsRoot(Array(words.dropFirst())) }
      for (index, word) in words.enumerated().dropFirst()
      where ByteArguments.isEncoded(word) && !ByteArguments.isPath(word) {
        complain("\(program): argument \(index) is not valid UTF-8")
        exit(ExitStatus.usage.rawValue)
      }
      var command = try parsed.get()
      // What was done is done, however much of the report arrives.
      if command is any ChangingCommand { unheard = .done }
      if let verbs = verbs(of: type(of: command), below: root), !verbs.isEmpty {
        name += ": \(verbs.joined(separator: " "))"
      }
      try command.run()
      finish(.done, name, unheard: unheard)
    } catch let ending as Ending {
      finish(ending.status, name, unheard: ending.status)
    } catch {
      finish(root, error, name)
    }
  }

  /// How a command is called below another: `key add`.
  private static func verbs(
    of command: any ParsableCommand.Type, below root: any ParsableCommand.Type
  ) -> [String]? {
    if command == root { return [] }
    for child in root.configuration.subcommands {
      guard let verbs = verbs(of: command, below: child) else { continue }
      return (child.configuration.commandName.map { [$0] } ?? []) + verbs
    }
    return nil
  }

  /// The verbs that the command line begins with.
  private static func typedVerbs(below root: any ParsableCommand.Type) -> [String] {
    var command = root
    var verbs: [String] = []
    for argument in rawArguments.dropFirst() {
      let word = FilePath(cString: argument)
      guard
        let verb = command.configuration.subcommands.first(where: {
          $0.configuration.commandName.map { "\($0)" } == word
        }), let name = verb.configuration.commandName
      else { break }
      command = verb
      verbs.append(name)
    }
    return verbs
  }

  private static func finish<Root: ParsableCommand>(
    _ root: Root.Type, _ error: any Error, _ name: String
  ) -> Never {
    let code = root.exitCode(for: error)
    if code == .success {  // --help and --version
      put(root.fullMessage(for: error) + "\n")
      finish(.done, name)
    }
    if code == .validationFailure {
      let program = root.configuration.commandName ?? name
      let help = ([program] + typedVerbs(below: root) + ["--help"]).joined(separator: " ")
      // Some messages of the parser are sentences, or lists of one line for each choice.
      let lines = root.message(for: error).split(whereSeparator: \.isNewline)
      let message = lines.map { $0.drop(while: \.isWhitespace) }.joined(separator: " ")
      complain(
        "\(program): \(message.utf8.last == UInt8(ascii: ".") ? message.dropLast() : message[...]); "
          + "see \(help)")
      finish(.usage, name)
    }
    complain("\(name): \(error)")
    finish(error is NotDurable ? .partial : .failed, name)
  }

  /// Exits. When the results did not arrive, that is said, unless the reader wanted no more.
  ///
  /// - Parameter unheard: the status then.
  private static func finish(
    _ status: ExitStatus, _ name: String, unheard: ExitStatus = .failed
  ) -> Never {
    flush()
    guard let error = outputError, error != EPIPE else { exit(status.rawValue) }
    complain("\(name): standard output: \(String(cString: strerror(error)))")
    exit(unheard.rawValue)
  }

  /// What the first attempt to print met that failed. One thread, as everywhere below a command.
  nonisolated(unsafe) private static var outputError: CInt?
  /// How this process took SIGPIPE when it was started.
  nonisolated(unsafe) private static var pipeHandler: sighandler_t?
  /// The same of SIGXFSZ.
  nonisolated(unsafe) private static var fileSizeHandler: sighandler_t?

  /// Lets go of what was printed; false when it does not arrive.
  @discardableResult
  package static func flush() -> Bool {
    if fflush(nil) != 0, outputError == nil { outputError = errno }
    return outputError == nil
  }

  /// The last component of the name by which this program was called; empty when there is none.
  package static var calledName: String {
    guard let path = rawArguments.first else { return "" }
    let bytes = UnsafeRawBufferPointer(start: path, count: strlen(path))
    let name = bytes.split(separator: UInt8(ascii: "/")).last
    return String(decoding: name ?? bytes[..<0], as: UTF8.self)
  }

  /// The last word of the command line: an option that takes all that follows may be it.
  package static var lastArgument: FilePath? { rawArguments.last.map { FilePath(cString: $0) } }

  /// Becomes another program, which is found in PATH and finds everything as this one did.
  ///
  /// - Parameter variables: added to its environment.
  package static func become(
    _ command: [FilePath], setting variables: [(name: FilePath, value: FilePath)]
  ) throws(SystemError) -> Never {
    flush()
    for (name, value) in variables {
      try check("setenv", name, setenv(name.cString, value.cString, 1))
    }
    restoreDescriptorLimit()
    signal(SIGPIPE, pipeHandler)
    signal(SIGXFSZ, fileSizeHandler)
    let program = command.first ?? ""
    var words = command.map { strdup($0.cString) } + [nil]
    execvp(program.cString, &words)
    throw SystemError(operation: "exec", path: program, code: errno)
  }

  /// One line of a result, on standard output.
  package static func say(_ line: String) { put(oneLine(line) + "\n") }

  /// A result as it is. What is longer than a buffer may fail here, and not when it is flushed.
  package static func put(_ text: String) {
    var text = text
    let code = text.withUTF8 { linux_print($0.baseAddress, $0.count) == 0 ? nil : errno }
    outputError = outputError ?? code
  }

  /// One line on standard error.
  package static func complain(_ line: String) {
    flush()  // what was printed before comes before
    let bytes = Array((oneLine(line) + "\n").utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)  // nobody is left to be told of a failure
  }

  /// Makes `/` the working directory: when every path of the command line is resolved. The caller's
  /// may be one that root cannot search, and nothing must be kept busy by it.
  package static func leaveWorkingDirectory() throws(SystemError) {
    try check("chdir", "/", chdir("/"))
  }

  /// - Throws: ``Failure`` for anybody but root.
  package static func requireRoot() throws(Failure) {
    guard geteuid() == 0 else { throw Failure("only root can do that") }
  }
}

/// The command line as the kernel passed it: Swift's own reads `/proc`, which a jail may not have.
nonisolated(unsafe) private let rawArguments = (0..<Int(linux_argument_count())).compactMap {
  linux_arguments()[$0]
}
