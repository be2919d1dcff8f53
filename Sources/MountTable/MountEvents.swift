import Glibc
import Kernel

/// The changes of the mount table of this namespace, from now on.
///
/// The kernel tells whoever polls the mountinfo file (proc_pid_mountinfo(5)). The file is never
/// read: that takes the longer the more mounts there are, and nothing in it is needed by who knows
/// which path to ask about.
public struct MountEvents: ~Copyable {
  private let file: Descriptor

  /// - Throws: `ENOENT` where no `/proc` shows this process.
  public init() throws(SystemError) {
    let path = "/proc/self/mountinfo"
    file = Descriptor(owning: try check("open", path, open(path, O_RDONLY | O_CLOEXEC)))
  }

  /// Waits for a change since the last call, or for one of `others`; says which of those it was, and
  /// is empty when `deadline` came first. What happened before the call is not lost.
  public func next(
    or others: [(descriptor: CInt, events: CInt)] = [],
    until deadline: ContinuousClock.Instant? = nil
  ) throws(SystemError) -> [Bool] {
    let woken = try wait(for: [(file.number, CInt(POLLPRI))] + others, until: deadline)
    return woken.contains(true) ? Array(woken.dropFirst()) : []
  }
}
