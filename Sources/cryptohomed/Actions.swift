import DaemonStoreBus
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram

/// The `cryptohome` processes that run for callers. Nothing waits for one but the event loop, and
/// none is ended with this service.
final class Actions {
  /// Gets how a process ended, and the lines that it said. The end is nil when it has not ended in the
  /// time that it had: it was killed, and is not waited for.
  typealias Done = (ProcessEnd?, [String]) -> Void

  private let program: FilePath
  private var running: [pid_t: Action] = [:]
  private var source: EventSource?

  /// How many at once for ordinary users, for one of them, and for root: each may take the memory of a
  /// key derivation.
  static let limit = 12
  static let limitForUser = 2
  static let limitForRoot = 8

  /// - Throws: where `/proc` does not show where this program is.
  init() throws(SystemError) {
    guard let program = programPath(called: "cryptohome") else {
      throw SystemError(operation: "readlink", path: "/proc/self/exe", code: ENOENT)
    }
    self.program = program
    // Where the parent of this service ignored it, the kernel would throw the ends of children away.
    signal(SIGCHLD, SIG_DFL)
  }

  /// Has the ends of the processes noticed. That needs no descriptor for each, and cannot fail for one.
  func watch(in loop: borrowing EventLoop) throws(SystemError) {
    source = try loop.watch(signal: SIGCHLD) { [unowned self] in reap() }
  }

  /// - Throws: when as many run for a user as may.
  func requireRoom(for user: uid_t) throws {
    let users = running.values.compactMap(\.user)
    let same = users.count { $0 == user }
    let others = users.count { $0 != 0 }
    guard user == 0 ? same < Self.limitForRoot : same < Self.limitForUser && others < Self.limit
    else { throw BusError.limitsExceeded("too many logins and logouts are under way; try again") }
  }

  /// Starts `cryptohome`.
  ///
  /// - Parameters:
  ///   - descriptors: what it has open, by their numbers there; else 0 is empty.
  ///   - hearsOutput: whether its output is among its lines; else only what it complains with.
  ///   - user: for whom; nil for this service itself, which has limits of another kind.
  ///   - timeout: how long it has; nil for as long as it takes.
  /// - Returns: its number.
  @discardableResult
  func start(
    _ arguments: [String], descriptors: [CInt: CInt] = [:], hearsOutput: Bool = false,
    for user: uid_t?, atMost timeout: Duration? = nil, in loop: borrowing EventLoop,
    done: @escaping Done
  ) throws -> pid_t {
    if let user { try requireRoom(for: user) }
    // All that can fail comes before there is a process.
    let pipe = try Pipe()
    let action = Action(user, done)
    try check("fcntl", nil, fcntl(pipe.reading.number, F_SETFL, O_NONBLOCK))
    action.source = try loop.watch(pipe.reading.number, for: .readable) { [unowned action] in
      action.read()
    }
    if let timeout {
      action.timer = try loop.after(timeout) { [unowned self, unowned action] in abandon(action) }
    }
    let writing = pipe.writing.number
    let process = try startProcess(
      program, ["cryptohome"] + arguments.map { "\($0)" }, environment: Self.environment,
      descriptors: descriptors.merging(
        hearsOutput ? [STDOUT_FILENO: writing, STDERR_FILENO: writing] : [STDERR_FILENO: writing]
      ) { asked, _ in asked })
    action.process = process
    action.pipe = pipe.intoReading()
    running[process] = action
    return process
  }

  /// Whether a process that was started here has not ended, though it may have been given up.
  func isRunning(_ process: pid_t) -> Bool { running[process] != nil }

  private static var environment: [FilePath] {
    let bus = "DBUS_SYSTEM_BUS_ADDRESS"
    return ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
      + (getenv(bus).map { ["\(bus)=\(FilePath(cString: $0))"] } ?? [])
  }

  private func reap() {
    for process in running.keys {
      do {
        switch try reapEnded(process) {
        case .noneEnded: break
        case .ended(_, let end): finish(process, end)
        case .noChildren:
          Program.complain("cryptohomed: process \(process) has ended unnoticed")
          finish(process, .exited(1))
        }
      } catch {
        Program.complain("cryptohomed: process \(process): \(error)")
      }
    }
  }

  private func finish(_ process: pid_t, _ end: ProcessEnd) {
    guard let action = running.removeValue(forKey: process) else { return }
    action.read()
    action.tell(end)
  }

  /// It keeps its place until it has ended: what a user has stuck is within that user's limit.
  private func abandon(_ action: Action) {
    kill(action.process, SIGKILL)
    action.read()
    action.tell(nil)
  }
}

/// One of them.
private final class Action {
  let user: uid_t?
  var process: pid_t = -1
  var pipe: Descriptor?
  var source: EventSource?
  var timer: EventSource?
  private var done: Actions.Done?
  private var text: [UInt8] = []

  /// Of what it says; the rest is lost.
  private static let limit = 1 << 16

  init(_ user: uid_t?, _ done: @escaping Actions.Done) {
    self.user = user
    self.done = done
  }

  func read() {
    guard let number = pipe?.number else { return }
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = Glibc.read(number, &buffer, buffer.count)
      if count == 0 { source = nil }  // closed: told no more
      guard count > 0 else { return }
      text += buffer[..<min(count, Self.limit - text.count)]
    }
  }

  /// Once.
  func tell(_ end: ProcessEnd?) {
    source = nil
    timer = nil
    guard let done else { return }
    self.done = nil
    done(end, text.lines.map { shownBytes($0) })
  }
}
