import CDaemonStoreLinux
import Glibc

/// Starts a program: every signal is as it is by default there, and none is blocked.
///
/// - Parameters:
///   - program: a path, or a name that is looked for in the search path.
///   - words: its arguments, with its own name.
///   - environment: nil for that of this process.
///   - descriptors: what it has open, by their numbers there. 0, 1 and 2 are `/dev/null` otherwise. A
///     descriptor must not have a smaller number here than there, unless it has the same.
package func startProcess(
  _ program: FilePath, _ words: [FilePath], environment: [FilePath]? = nil,
  descriptors: [CInt: CInt] = [:]
) throws(SystemError) -> pid_t {
  var actions = posix_spawn_file_actions_t()
  var attributes = posix_spawnattr_t()
  posix_spawn_file_actions_init(&actions)
  posix_spawnattr_init(&attributes)
  defer {
    posix_spawn_file_actions_destroy(&actions)
    posix_spawnattr_destroy(&attributes)
  }
  // In their order: one that has the number 3 here may become number 0, before 3 is another.
  for (number, descriptor) in descriptors.sorted(by: { $0.key < $1.key }) {
    posix_spawn_file_actions_adddup2(&actions, descriptor, number)
  }
  for number in 0...2 as ClosedRange<CInt> where descriptors[number] == nil {
    posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_RDWR, 0)
  }
  var none = sigset_t()
  var all = sigset_t()
  sigemptyset(&none)
  sigfillset(&all)
  posix_spawnattr_setsigmask(&attributes, &none)
  posix_spawnattr_setsigdefault(&attributes, &all)
  posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

  var argv = words.map { strdup($0.cString) } + [nil]
  var own = (environment ?? []).map { strdup($0.cString) } + [nil]
  defer { for text in argv + own { free(text) } }
  var process: pid_t = 0
  let code = own.withUnsafeMutableBufferPointer { own in
    posix_spawnp(
      &process, program.cString, &actions, &attributes, &argv,
      environment == nil ? linux_environ() : own.baseAddress)
  }
  guard code == 0 else {
    throw SystemError(operation: "start", path: program, code: code)
  }
  return process
}

/// Runs a program of the search path to its end. Its output goes where errors go, so that it does
/// not mix with a result.
///
/// - Parameter input: what it reads, at most what fits into a pipe.
/// - Throws: a ``SystemError`` of `ENOENT` when there is no such program.
package func runProgram(
  _ words: [FilePath], input: String = ""
) throws(SystemError) -> ProcessEnd {
  let pipe = try Pipe()
  try pipe.writing.write(Array(input.utf8), shown: words[0])
  let process = try startProcess(
    words[0], words,
    descriptors: [0: pipe.reading.number, 1: STDERR_FILENO, 2: STDERR_FILENO])
  _ = pipe.intoReading()  // closes the other end: there is no more input
  return try wait(for: process).end
}
