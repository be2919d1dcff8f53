import Glibc
import DaemonStoreKernel

/// Why a jail was not started, or a process not confined.
public struct JailError: Error, Equatable, CustomStringConvertible {
  /// One line that names the step, the thing and the kernel's reason.
  public let description: String
  /// What `minijail0` exits with.
  package let status: CInt
  /// Lines that lead to it, where there is more than one thing to say: the mistakes of a policy.
  public let details: [String]
  /// The command line could not even be taken apart: the help goes to standard output.
  package let showsHelp: Bool

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

/// The exit statuses of a jail that are not the program's, as `minijail0` has them. The program can
/// exit with the same.
public enum ExitStatus {
  /// The set-up failed in the child: the program has not run, and a line on standard error says
  /// why.
  public static let failure: CInt = 1
  /// execve(2) refused the program for another reason than ENOENT.
  public static let notExecutable: CInt = 126
  /// There is no such program in the jail, or no such interpreter or loader: ENOENT.
  public static let notFound: CInt = 127
  /// One of ``JailConfiguration/mounts`` could not be done; the program has not run.
  public static let mountFailed: CInt = 251
  /// What had to be done inside the program was not done: it was ended.
  package static let noJail: CInt = 252
  /// The program was killed by SIGSYS: a violation of its seccomp policy.
  package static let policyViolation: CInt = 253
  /// With an init (``JailConfiguration/ProcessNamespace/withInit``): a signal killed the program.
  public static let killedInside: CInt = 254
  /// The program was killed by this signal.
  package static func killed(by signal: CInt) -> CInt { 128 + signal }
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
