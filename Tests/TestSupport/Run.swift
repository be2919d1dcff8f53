import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import Testing

/// How a program ended, and what it said.
package struct Outcome: CustomStringConvertible, Sendable {
  package let command: String
  /// The exit status, or minus the signal.
  package let status: CInt
  package let output: String
  package let errors: String

  package var lines: [String] { output.split(separator: "\n").map(String.init) }

  /// The lines on standard error, but for the warning that each `mount` and `unmount` away from
  /// pid 1's namespace begins with.
  package var complaints: [String] {
    errors.split(separator: "\n").map(String.init)
      .filter { !$0.contains("this is not the mount namespace of pid 1") }
  }

  /// The same under another name, where the command was a wrapper.
  package func named(_ command: String) -> Outcome {
    Outcome(command: command, status: status, output: output, errors: errors)
  }

  package func complains(of words: String...) -> Bool {
    complaints.contains { line in words.allSatisfy { line.contains($0) } }
  }

  package var description: String { "\(command): status \(status)\n\(output)\(errors)" }
}

/// Runs a program in the namespaces of the calling thread: posix_spawn(3) forks that thread. A
/// program that does not end within a minute is killed.
package func run(
  _ program: String, _ arguments: [String], stdin: String = "", environment: [String]? = nil
) throws -> Outcome {
  try run(
    program, raw: arguments.map { Array($0.utf8CString) }, stdin: stdin, environment: environment)
}

/// The same, for arguments that are no text. Each ends in a zero byte.
package func run(
  _ program: String, raw arguments: [[CChar]], stdin: String = "", environment: [String]? = nil
) throws -> Outcome {
  let input = try Pipe()
  let output = try Pipe()
  let errors = try Pipe()
  let process = try spawn(
    program, arguments, environment: environment, stdin: input.reading.number,
    stdout: output.writing.number, stderr: errors.writing.number)
  try input.writing.write(Array(stdin.utf8), shown: "pipe")  // at most what a pipe holds
  _ = input.intoReading()
  let texts = drain([output.intoReading().release(), errors.intoReading().release()], process)
  let words = arguments.map {
    String(decoding: $0.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
  return Outcome(
    command: ([program] + words).joined(separator: " "), status: try reap(process),
    output: texts[0], errors: texts[1])
}

/// Reads both pipes to their ends, whichever comes first, so that neither blocks the program.
private func drain(_ pipes: [CInt], _ process: pid_t) -> [String] {
  var texts = [[UInt8]](repeating: [], count: pipes.count)
  var open = pipes.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
  let deadline = ContinuousClock.now + .seconds(60)
  var buffer = [UInt8](repeating: 0, count: 1 << 16)
  while open.contains(where: { $0.fd >= 0 }) {
    _ = poll(&open, nfds_t(open.count), 1_000)
    if ContinuousClock.now > deadline {
      Issue.record("process \(process) did not end within a minute")
      kill(process, SIGKILL)
      break
    }
    for index in open.indices where open[index].fd >= 0 && open[index].revents != 0 {
      let count = read(open[index].fd, &buffer, buffer.count)
      if count > 0 { texts[index] += buffer[..<count] } else { open[index].fd = -1 }
    }
  }
  for pipe in pipes { close(pipe) }
  return texts.map { String(decoding: $0, as: UTF8.self) }
}

/// Waits for a process; the exit status, or minus the signal.
package func reap(_ process: pid_t) throws -> CInt {
  var status: CInt = 0
  try check("waitpid", nil, waitpid(process, &status, 0))
  let signal = linux_wait_signaled(status)
  return signal >= 0 ? -signal : linux_wait_exited(status)
}

/// Runs `body` in a process of one thread, which may be confined, and waits for its end: 0, or 1 when it
/// throws, which is printed.
package func inChild(_ body: () throws -> Void) throws -> CInt {
  guard let child = try fork() else {
    do { try body() } catch {
      print(error)
      _exit(1)
    }
    _exit(0)
  }
  return try reap(child)
}

/// Starts a program with these three descriptors and no other, and with no signal blocked or ignored:
/// the tests may run under nohup(1).
package func spawn(
  _ program: String, _ arguments: [[CChar]], environment: [String]?, stdin: CInt, stdout: CInt,
  stderr: CInt
) throws -> pid_t {
  var actions = posix_spawn_file_actions_t()
  var attributes = posix_spawnattr_t()
  posix_spawn_file_actions_init(&actions)
  posix_spawnattr_init(&attributes)
  defer {
    posix_spawn_file_actions_destroy(&actions)
    posix_spawnattr_destroy(&attributes)
  }
  for (from, to) in [(stdin, CInt(0)), (stdout, 1), (stderr, 2)] {
    posix_spawn_file_actions_adddup2(&actions, from, to)
  }
  // Everything else that is open here stays here.
  try check("close_range", nil, linux_close_range(3, .max, 4))  // CLOSE_RANGE_CLOEXEC
  var none = sigset_t()
  sigemptyset(&none)
  posix_spawnattr_setsigmask(&attributes, &none)
  var all = sigset_t()
  sigfillset(&all)
  posix_spawnattr_setsigdefault(&attributes, &all)
  posix_spawnattr_setflags(
    &attributes, Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF))

  var argv = [strdup(program)] + arguments.map { strdup($0) } + [nil]
  var envp = (environment ?? inheritedEnvironment).map { strdup($0) } + [nil]
  defer {
    for text in argv + envp { free(text) }
  }
  var process: pid_t = 0
  let code = posix_spawnp(&process, program, &actions, &attributes, &argv, &envp)
  guard code == 0 else {
    throw SystemError(operation: "posix_spawn", path: program, code: code)
  }
  return process
}

/// The path and nothing of what the test runner set.
private let inheritedEnvironment = [
  "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
]

/// A program that runs beside the test, and is killed at a moment of the test's choice.
package final class Launched {
  package let process: pid_t
  private var hasEnded = false
  private var status: CInt = 0

  /// - Parameter output: the file that its standard output goes to.
  package init(_ program: String, _ arguments: [String], output: String = "/dev/null") throws {
    let null = Descriptor(owning: try check("open", "/dev/null", open("/dev/null", O_RDWR)))
    let file = Descriptor(
      owning: try check("open", output, open(output, O_WRONLY | O_CREAT | O_TRUNC, 0o644)))
    process = try spawn(
      program, arguments.map { Array($0.utf8CString) }, environment: nil, stdin: null.number,
      stdout: file.number, stderr: null.number)
  }

  deinit { kill() }

  /// Waits for its end; the exit status, or minus the signal. One that goes on is killed.
  package func finish() throws -> CInt {
    _ = eventually { !isRunning }
    guard !hasEnded else { return status }
    Issue.record("process \(process) did not end")
    kill()
    return -SIGKILL
  }

  /// Whether it has not ended by itself.
  package var isRunning: Bool {
    var raw: CInt = 0
    if !hasEnded, waitpid(process, &raw, WNOHANG) == process {
      hasEnded = true
      let signal = linux_wait_signaled(raw)
      status = signal >= 0 ? -signal : linux_wait_exited(raw)
    }
    return !hasEnded
  }

  /// Kills it, if it still runs, and waits until it is gone.
  package func kill() {
    guard !hasEnded else { return }
    hasEnded = true
    _ = Glibc.kill(process, SIGKILL)
    _ = waitpid(process, nil, 0)
  }
}
