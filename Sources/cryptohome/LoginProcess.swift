import Glibc
import DaemonStoreKernel

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
