/// Why a ``PolicyParser/Reader`` could not read a file.
public struct ReadFailure: Error, Hashable, Sendable {
  /// There is no such file: the next place is tried.
  package let isMissing: Bool
  package let reason: String

  /// - Parameters:
  ///   - isMissing: whether there is no such file. For an included file, the parser then asks for
  ///     the next place; any other failure ends the parsing.
  ///   - reason: the end of the message, as strerror(3) has it.
  public init(isMissing: Bool, reason: String) {
    self.isMissing = isMissing
    self.reason = reason
  }
}

/// Reads policies, the language of minijail0(5): text to ``Policy``. It does no I/O of its own.
public struct PolicyParser {
  /// Gives a file's bytes, for a path as the policy writes it or relative to the including file. It
  /// should refuse what is no regular file or larger than 16 MiB, which the parser refuses too.
  public typealias Reader = (_ path: String) throws(ReadFailure) -> [UInt8]

  package let architecture: Architecture
  package let dialect: Dialect
  /// A name that the architecture does not have is a warning: what `minijail0 -L` does.
  package let toleratesUnknownCalls: Bool
  let read: Reader

  /// - Parameters:
  ///   - architecture: whose numbers and constants the names stand for.
  ///   - toleratesUnknownCalls: whether a call that the architecture does not have is a warning and
  ///     not an error, as with `minijail0 -L`.
  ///   - read: called during a parse, for the policy's file and each file that it includes.
  public init(
    architecture: Architecture, dialect: Dialect = .minijail, toleratesUnknownCalls: Bool = false,
    read: @escaping Reader
  ) {
    self.architecture = architecture
    self.dialect = dialect
    self.toleratesUnknownCalls = toleratesUnknownCalls
    self.read = read
  }

  /// Reads a policy and what it includes.
  ///
  /// - Parameter file: the path that the reader is asked for, and that messages name.
  /// - Throws: ``PolicyError`` with everything that is wrong, not only the first mistake; also when
  ///   the reader fails, or the files are larger than 64 MiB together.
  public func parse(file: String) throws(PolicyError) -> Policy {
    var run = ParserRun(self)
    do throws(ReadFailure) {
      run.parse(try read(file), file: file)
    } catch {
      let message = "failed to open seccomp filter file '\(shown(Array(file.utf8)[...]))': "
      run.failFile(message + error.reason, file: file)
    }
    return try run.finish(file)
  }

  /// Reads a policy from memory; `name` stands for it in messages, and its includes are relative
  /// to where that would be.
  ///
  /// - Throws: ``PolicyError``, as for a file.
  public func parse(_ bytes: [UInt8], name: String) throws(PolicyError) -> Policy {
    var run = ParserRun(self)
    run.parse(bytes, file: name)
    return try run.finish(name)
  }
}

/// What bounds the work that a policy can cause. A program holds 4096 instructions, so nothing
/// that could be loaded comes near them.
package enum PolicyLimits {
  package static let fileBytes = 16 << 20
  /// All files of one policy together.
  package static let totalBytes = 64 << 20
  package static let lineBytes = 1 << 20
  package static let includeDepth = 32
  package static let includes = 1000
}

/// The state of reading one policy.
struct ParserRun {
  let parser: PolicyParser
  private(set) var diagnostics: [Diagnostic] = []
  private(set) var policy: Policy
  /// Where each system call's rule is in `policy.rules`.
  private var indices: [UInt32: Int] = [:]
  /// System calls whose rule has come to an unconditional action.
  private var closed: Set<UInt32> = []
  var callNames: [UInt32: String] = [:]
  private var includeCount = 0
  private var totalBytes = 0
  /// The files that are being read, outermost first, in normal form.
  private var stack: [String] = []
  private(set) var file = ""
  private(set) var line = SourceLine(bytes: [], parts: [], isUnfinished: false)

  init(_ parser: PolicyParser) {
    self.parser = parser
    policy = Policy(architecture: parser.architecture)
  }

  private var isFull: Bool { diagnostics.count >= PolicyError.limit }

  consuming func finish(_ file: String) throws(PolicyError) -> Policy {
    guard diagnostics.isEmpty else {
      throw PolicyError(file: file, diagnostics: diagnostics, warnings: policy.warnings)
    }
    return policy
  }

  mutating func parse(_ bytes: [UInt8], file: String) {
    totalBytes += bytes.count
    guard bytes.count <= PolicyLimits.fileBytes, totalBytes <= PolicyLimits.totalBytes else {
      return failFile("policy is too large: \(bytes.count) bytes", file: file)
    }
    let outer = (self.file, line)
    self.file = file
    stack.append(normal(file))
    for line in SourceLines(bytes) where !isFull {
      self.line = line
      parseLine()
    }
    stack.removeLast()
    (self.file, line) = outer
  }

  private mutating func parseLine() {
    guard !line.text.isEmpty, !line.isComment else { return }
    guard line.text.count <= PolicyLimits.lineBytes else {
      return fail(Step.file, "line is too long: \(line.text.count) bytes", at: line.text.startIndex)
    }
    if line.isUnfinished {
      return fail(Step.file, "line continues past the end of the file", at: line.text.endIndex - 1)
    }
    if let index = line.text.firstIndex(of: 0) {
      return fail(Step.file, "NUL byte", at: index)
    }
    if parser.dialect == .compileTool, line.text.last == UInt8(ascii: "\r") {
      line.text = line.text.dropLast().trimmed
    }
    let statement = line.text
    if statement.hasPrefix("@include") {
      return parseInclude(parser.dialect == .minijail ? statement : withoutComment(statement))
    }
    line.text = withoutComment(statement)
    guard !line.text.isEmpty else { return }
    if line.text.first == UInt8(ascii: "@") {
      parseStatement()
    } else {
      parsePolicyLine()
    }
  }

  private func withoutComment(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    text.prefix { $0 != UInt8(ascii: "#") }.trimmed
  }

  private mutating func parsePolicyLine() {
    guard let colon = line.text.firstIndex(of: UInt8(ascii: ":")) else {
      return fail(Step.file, "malformed policy line, missing ':'", at: line.text.endIndex)
    }
    let name = line.text[..<colon].trimmed
    let text = line.text[(colon + 1)...].trimmed
    guard !text.isEmpty else { return fail(Step.file, "empty policy line", at: colon) }
    guard let calls = calls(name), !calls.isEmpty else { return }
    guard let rule = RuleParser(text: text, run: self).rule(&self) else { return }
    for (call, index) in calls { add(rule, to: call, at: index) }
  }

  private mutating func add(_ parsed: ParsedRule, to call: SystemCall, at index: Int) {
    let place = place(of: index)
    guard let known = indices[call.number] else {
      indices[call.number] = policy.rules.count
      policy.rules.append(
        Rule(call: call, clauses: parsed.clauses, otherwise: parsed.otherwise, place: place))
      if parsed.isClosed { closed.insert(call.number) }
      return
    }
    let previous = policy.rules[known].place
    if parser.dialect == .minijail || (closed.contains(call.number)) {
      let step = "insert_and_check_duplicate_syscall"
      fail(step, "syscall '\(call.name)' redefined here", at: index)
      diagnostics.append(
        Diagnostic(
          step: step, place: previous, file: previous.file, column: 1, excerpt: "",
          excerptColumn: 0, message: "previous definition here", detail: nil))
      return
    }
    policy.rules[known].clauses += parsed.clauses
    policy.rules[known].otherwise = parsed.otherwise
    policy.rules[known].otherwisePlace = place
    if parsed.isClosed { closed.insert(call.number) }
  }
}

// MARK: Statements
extension ParserRun {
  private mutating func parseStatement() {
    let word = line.text.prefix { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") }
    let argument = line.text[word.endIndex...].trimmed
    if word.equals("@default") {
      parseDefault(argument)
    } else if word.equals("@frequency") {
      parseFrequency(argument)
    } else {
      fail(Step.file, "invalid statement '\(shown(line.text))'", at: word.startIndex)
    }
  }

  private mutating func parseDefault(_ argument: ArraySlice<UInt8>) {
    switch Action(word: argument) {
    case .kill?, .killProcess?, .killThread?, .trap?, .userNotify?: break
    default:
      let message = "invalid default action '\(shown(argument))': "
      return fail(
        Step.file, message + "kill, kill-process, kill-thread, trap or user-notify",
        at: argument.startIndex)
    }
    guard policy.defaultAction == nil else {
      return fail(Step.file, "@default redefined here", at: line.text.startIndex)
    }
    policy.defaultAction = Action(word: argument)
  }

  /// Lines `name: count`. The reference ignores the statement, so in its dialect a file that
  /// cannot be read costs nothing but the order of the program.
  private mutating func parseFrequency(_ argument: ArraySlice<UInt8>) {
    guard !argument.isEmpty else {
      return fail(Step.file, "invalid statement '\(shown(line.text))'", at: line.text.startIndex)
    }
    guard let (path, bytes) = read(argument, isWarning: parser.dialect == .minijail) else { return }
    let outer = (file, line)
    file = path
    for line in SourceLines(bytes) where !isFull {
      self.line = line
      self.line.text = withoutComment(line.text)
      guard !self.line.text.isEmpty else { continue }
      let parts = self.line.text.parts(separator: ":").map(\.trimmed)
      guard parts.count == 2, let count = Number.unsigned(parts[1]) else {
        fail(Step.file, "invalid frequency '\(shown(line.text))'", at: line.text.startIndex)
        continue
      }
      guard let number = number(ofCall: parts[0]) else {
        warn(Step.file, "nonexistent syscall '\(shown(parts[0]))'", at: line.text.startIndex)
        continue
      }
      // Beyond this a call is as hot as it can be, and sums cannot overflow.
      policy.frequencies[number] = min(count, 1 << 24)
    }
    (file, line) = outer
  }

  private mutating func parseInclude(_ statement: ArraySlice<UInt8>) {
    let path = statement.dropFirst("@include".utf8.count)
    var target = path.dropFirst()
    if parser.dialect == .compileTool { target = target.trimmed }
    guard path.first == UInt8(ascii: " "), !target.isEmpty, target.first != UInt8(ascii: " ") else {
      return fail(
        Step.include, "invalid include statement '\(shown(statement))'", at: statement.startIndex)
    }
    guard target.first == UInt8(ascii: "/") || target.hasPrefix("./") else {
      return fail(Step.include, "implicit relative path '\(shown(target))'", at: target.startIndex)
    }
    guard stack.count <= PolicyLimits.includeDepth, includeCount < PolicyLimits.includes else {
      return fail(Step.include, "nested too deep", at: target.startIndex)
    }
    includeCount += 1
    let candidates = candidates(target)
    if let cycle = candidates.first(where: { stack.contains(normal($0)) }) {
      return fail(
        Step.include, "'\(shown(Array(cycle.utf8)[...]))' includes itself", at: target.startIndex)
    }
    guard let (file, bytes) = read(target, isWarning: false) else { return }
    parse(bytes, file: file)
  }

  /// Beside the including file, then in the working directory.
  private func candidates(_ target: ArraySlice<UInt8>) -> [String] {
    let path = String(decoding: target, as: UTF8.self)
    guard target.first != UInt8(ascii: "/"), let slash = file.utf8.lastIndex(of: UInt8(ascii: "/"))
    else {
      return [path]
    }
    let relative = path.utf8.starts(with: "./".utf8) ? path.utf8.dropFirst(2) : path.utf8[...]
    return [String(Substring(file.utf8[...slash])) + String(Substring(relative)), path]
  }

  private mutating func read(
    _ target: ArraySlice<UInt8>, isWarning: Bool
  ) -> (file: String, bytes: [UInt8])? {
    var reason = "no such file"
    if String(validating: target, as: UTF8.self) == nil {
      reason = "the path is not valid UTF-8"
    } else {
      for path in candidates(target) {
        do throws(ReadFailure) {
          return (path, try parser.read(path))
        } catch {
          reason = error.reason
          if !error.isMissing { break }
        }
      }
    }
    let message = "failed to open '\(shown(target))': \(reason)"
    if isWarning {
      warn(Step.include, message, at: target.startIndex)
    } else {
      fail(Step.include, message, at: target.startIndex)
    }
    return nil
  }

  /// A path without `.` and repeated slashes: enough to see that a file includes itself.
  private func normal(_ path: String) -> String {
    let slash = UInt8(ascii: "/")
    let names = path.utf8.split(separator: slash)
      .filter { !$0.elementsEqual(".".utf8) }.map { String(Substring($0)) }.joined(separator: "/")
    return path.utf8.first == slash ? "/" + names : names
  }
}

// MARK: Messages
extension ParserRun {
  func place(of index: Int) -> Place {
    Place(file: file, line: line.position(of: index).part.number)
  }

  mutating func fail(_ step: String, _ message: String, at index: Int, detail: String? = nil) {
    if !isFull { diagnostics.append(diagnostic(step, message, at: index, detail: detail)) }
  }

  mutating func warn(_ step: String, _ message: String, at index: Int) {
    guard policy.warnings.count < PolicyError.limit else { return }
    policy.warnings.append(diagnostic(step, message, at: index, detail: nil))
  }

  mutating func failFile(_ message: String, file: String) {
    diagnostics.append(
      Diagnostic(
        step: Step.file, place: nil, file: file, column: 1, excerpt: "", excerptColumn: 0,
        message: message, detail: nil))
  }

  private func diagnostic(
    _ step: String, _ message: String, at index: Int, detail: String?
  ) -> Diagnostic {
    let (part, column) = line.position(of: index)
    // A long line is shown from a little before the column.
    let bytes = line.bytes(of: part)
    let offset = min(column, bytes.count)
    let start = bytes.startIndex + (offset > 80 ? offset - 40 : 0)
    return Diagnostic(
      step: step, place: Place(file: file, line: part.number), file: file, column: column + 1,
      excerpt: shown(bytes[start...]),
      excerptColumn: shown(bytes[start..<bytes.startIndex + offset]).count,
      message: message, detail: detail)
  }
}
