import CLinux
import Glibc

/// Runs a program of the search path to its end. Its output goes where errors go, so that it does
/// not mix with a result; it has no signals ignored that we ignore.
///
/// - Parameter input: what it reads, at most what fits into a pipe.
/// - Throws: a ``SystemError`` of `ENOENT` when there is no such program.
public func runProgram(
  _ words: [FilePath], input: String = ""
) throws(SystemError) -> ProcessEnd {
  var actions = posix_spawn_file_actions_t()
  var attributes = posix_spawnattr_t()
  posix_spawn_file_actions_init(&actions)
  posix_spawnattr_init(&attributes)
  defer {
    posix_spawn_file_actions_destroy(&actions)
    posix_spawnattr_destroy(&attributes)
  }
  var ignored = sigset_t()
  sigemptyset(&ignored)
  sigaddset(&ignored, SIGPIPE)
  posix_spawnattr_setsigdefault(&attributes, &ignored)
  posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))

  let pipe = try Pipe()
  posix_spawn_file_actions_adddup2(&actions, pipe.reading.number, STDIN_FILENO)
  posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO)
  try pipe.writing.write(Array(input.utf8), shown: words[0])
  var argv = words.map { strdup($0.cString) } + [nil]
  defer { for word in argv { free(word) } }
  var process: pid_t = 0
  let code = posix_spawnp(&process, words[0].cString, &actions, &attributes, &argv, linux_environ())
  guard code == 0 else { throw SystemError(operation: "run", path: words[0], code: code) }
  _ = pipe.intoReading()  // closes the other end: there is no more input
  return try wait(for: process).end
}
