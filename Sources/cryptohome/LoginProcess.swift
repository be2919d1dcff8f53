import Glibc
import Kernel

/// Leaves the control group of the login, which the user may be able to freeze or to give no time, for
/// the root of each hierarchy; and what the login has set for a lack of memory. Where that is refused,
/// as in a container, this process stays where it is.
func leaveControlGroup() {
  put("0", into: "/proc/self/oom_score_adj")
  let root: FilePath = "/sys/fs/cgroup"
  put("0", into: "\(root)/cgroup.procs")
  // Version 1 has a directory for each controller.
  guard let hierarchies = try? Directory(opening: root).names() else { return }
  for name in hierarchies { put("0", into: "\(root)/\(name)/tasks") }
}

/// Writes to a file of the kernel's, if it can.
private func put(_ text: String, into path: FilePath) {
  let file = open(path.cString, O_WRONLY | O_CLOEXEC | O_NOFOLLOW)
  guard file >= 0 else { return }
  _ = write(file, text, text.utf8.count)
  close(file)
}

/// Starts this program again, with nothing of what it has open, and does not wait for it.
func startApart(_ arguments: [String]) throws(SystemError) {
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  for descriptor in 0...2 as ClosedRange<CInt> {
    posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0)
  }
  var argv = (["cryptohome"] + arguments).map { strdup($0) } + [nil]
  defer {
    for text in argv { free(text) }
  }
  var environment: [UnsafeMutablePointer<CChar>?] = [nil]
  var process: pid_t = 0
  // By its own name, which the process then has, and not by that of the file that it is a link to.
  guard let program = programPath(called: "cryptohome") else {
    throw SystemError(operation: "readlink", path: "/proc/self/exe", code: ENOENT)
  }
  let code = posix_spawn(&process, program.cString, &actions, nil, &argv, &environment)
  guard code == 0 else {
    throw SystemError(operation: "starting", path: program, code: code)
  }
}
