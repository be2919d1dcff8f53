import CDaemonStoreLinux
import Glibc

/// The changes of the mount table of this namespace, from now on.
///
/// The kernel tells whoever polls the mountinfo file (proc_pid_mountinfo(5)). The file is never
/// read: that takes the longer the more mounts there are, and nothing in it is needed by who knows
/// which path to ask about.
package struct MountEvents: ~Copyable {
  private let file: Descriptor

  /// - Throws: `ENOENT` where no `/proc` shows this process: a file that is called so is none.
  package init() throws(SystemError) {
    let path: FilePath = "/proc/self/mountinfo"
    var (type, id): (UInt64, UInt64) = (0, 0)
    // PROC_SUPER_MAGIC.
    guard linux_file_system(path.cString, &type, &id) == 0, type == 0x9fa0 else {
      throw SystemError(operation: "open", path: path, code: ENOENT)
    }
    file = Descriptor(owning: try check("open", path, open(path.cString, O_RDONLY | O_CLOEXEC)))
  }

  /// Waits for a change since the last call, or for one of `others`; says which of those it was.
  /// What happened before the call is not lost.
  package func next(
    or others: [(descriptor: CInt, events: CInt)]
  ) throws(SystemError) -> [Bool] {
    Array(try wait(for: [(file.number, CInt(POLLPRI))] + others).dropFirst())
  }
}
