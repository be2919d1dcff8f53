import Bus
import Glibc
import Kernel
import Program

/// The `cryptohome` processes that run for callers. Nobody waits for one but the event loop, and
/// none is ended with this service.
final class Actions {
  private let program: FilePath
  private var running: [pid_t: Action] = [:]

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
  }

  /// Starts `cryptohome`.
  ///
  /// - Parameters:
  ///   - descriptors: what it has open, by their numbers there; else 0 is empty.
  ///   - user: for whom; nil for this service itself, which has limits of another kind.
  ///   - done: gets how it ended, and the lines that it complained with.
  func start(
    _ arguments: [String], descriptors: [CInt: CInt] = [:], for user: uid_t?,
    in loop: borrowing EventLoop, done: @escaping (ProcessEnd, [String]) -> Void
  ) throws {
    if let user {
      let users = running.values.compactMap(\.user)
      let same = users.count { $0 == user }
      let others = users.count { $0 != 0 }
      guard user == 0 ? same < Self.limitForRoot : same < Self.limitForUser && others < Self.limit
      else { throw BusError.limitsExceeded("too many logins and logouts are under way; try again") }
    }
    let errors = try Pipe()
    let process = try spawn(arguments, descriptors, errors: errors.writing.number)
    let action = Action(process, user, reading: errors.intoReading())
    running[process] = action
    do {
      try action.watch(in: loop) { [unowned self] end in
        running[process] = nil
        done(end, action.lines)
      }
    } catch {
      // It goes on, unwatched: better than half a login.
      running[process] = nil
      throw error
    }
  }

  private func spawn(
    _ arguments: [String], _ descriptors: [CInt: CInt], errors: CInt
  ) throws(SystemError) -> pid_t {
    var actions = posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawnattr_init(&attributes)
    defer {
      posix_spawn_file_actions_destroy(&actions)
      posix_spawnattr_destroy(&attributes)
    }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO)
    // In their order: one that has the number 3 here may become number 0, before 3 is another.
    for (number, descriptor) in descriptors.sorted(by: { $0.key < $1.key }) {
      posix_spawn_file_actions_adddup2(&actions, descriptor, number)
    }
    // Every signal as it is by default, and none blocked.
    var none = sigset_t()
    var all = sigset_t()
    sigemptyset(&none)
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

    let bus = "DBUS_SYSTEM_BUS_ADDRESS"
    let environment =
      ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
      + (getenv(bus).map { ["\(bus)=\(FilePath(cString: $0))"] } ?? [])
    var argv = (["cryptohome"] + arguments).map { strdup($0) } + [nil]
    var envp = environment.map { strdup($0) } + [nil]
    defer {
      for text in argv + envp { free(text) }
    }
    var process: pid_t = 0
    let code = posix_spawn(&process, program.cString, &actions, &attributes, &argv, &envp)
    guard code == 0 else {
      throw SystemError(operation: "starting", path: program, code: code)
    }
    return process
  }
}

/// One of them.
private final class Action {
  let process: pid_t
  let user: uid_t?
  private let errors: Descriptor
  private var text: [UInt8] = []
  private var handle: Descriptor?
  private var sources: [EventSource] = []

  /// Of what it complains with; the rest is lost.
  private static let limit = 1 << 16

  init(_ process: pid_t, _ user: uid_t?, reading errors: consuming Descriptor) {
    self.process = process
    self.user = user
    self.errors = errors
  }

  func watch(in loop: borrowing EventLoop, _ done: @escaping (ProcessEnd) -> Void) throws {
    try check("fcntl", nil, fcntl(errors.number, F_SETFL, O_NONBLOCK))
    let handle = try Descriptor(process: process)
    let number = handle.number
    self.handle = consume handle
    sources = [
      try loop.watch(errors.number, for: .readable) { [unowned self] in read() },
      try loop.watch(number, for: .readable) { [unowned self] in
        guard case .ended(_, let end)? = try? reapEnded(process) else { return }
        read()
        sources = []
        done(end)
      },
    ]
  }

  private func read() {
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = Glibc.read(errors.number, &buffer, buffer.count)
      if count == 0, sources.count == 2 { sources.removeFirst() }  // closed: told no more
      guard count > 0 else { return }
      text += buffer[..<min(count, Self.limit - text.count)]
    }
  }

  var lines: [String] {
    text.lines.map { shownBytes($0) }
  }
}
