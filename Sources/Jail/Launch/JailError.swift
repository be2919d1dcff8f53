import Glibc
import DaemonStoreKernel

/// Why a jail was not started, in one line, and the exit status that says so.
public struct JailError: Error, Equatable, CustomStringConvertible {
  public let description: String
  public let status: CInt
  /// Lines that lead to it, where there is more than one thing to say: the mistakes of a policy.
  public let details: [String]
  /// The command line could not even be taken apart: the help goes to standard output.
  public let showsHelp: Bool

  init(
    _ description: String, status: CInt = ExitStatus.failure, showsHelp: Bool = false,
    details: [String] = []
  ) {
    self.description = description
    self.status = status
    self.details = details
    self.showsHelp = showsHelp
  }

  /// A call of the set-up that the kernel refused.
  init(_ what: String, _ error: SystemError, status: CInt = ExitStatus.failure) {
    self.init("\(what): \(error)", status: status)
  }
}

/// The exit statuses that are the launcher's own; all others are the program's.
public enum ExitStatus {
  public static let failure: CInt = 1
  public static let notExecutable: CInt = 126
  public static let notFound: CInt = 127
  /// A `-b` or `-k` mount could not be done.
  public static let mountFailed: CInt = 251
  /// What had to be done inside the program was not done: it was ended.
  public static let noJail: CInt = 252
  /// The program was killed by SIGSYS: a violation of its seccomp policy.
  public static let policyViolation: CInt = 253
  /// With `-p`: the program was killed by a signal, whichever.
  public static let killedInside: CInt = 254
  /// The program was killed by this signal.
  public static func killed(by signal: CInt) -> CInt { 128 + signal }
}

/// Runs one step of the set-up; a refusal of the kernel becomes an error that says which.
@discardableResult
func step<Value: ~Copyable>(
  _ what: @autoclosure () -> String, status: CInt = ExitStatus.failure,
  _ body: () throws(SystemError) -> Value
) throws(JailError) -> Value {
  do { return try body() } catch { throw JailError(what(), error, status: status) }
}

/// A program that execve(2) refused, in the words and with the status of the reference.
struct ExecutionFailure {
  let text: String
  let status: CInt

  init(_ program: RawArgument, _ code: CInt) {
    text = Self.start(program) + String(cString: strerror(code))
    status = code == ENOENT ? ExitStatus.notFound : ExitStatus.notExecutable
  }

  static func start(_ program: RawArgument) -> String {
    oneLine("execve failed: \(program): ")
  }
}
