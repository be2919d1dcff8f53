import CLinux
import Glibc
import Kernel
import MountTable

/// A process, named for people.
public struct ProcessName: Hashable, Sendable, CustomStringConvertible {
  public let pid: pid_t
  /// As in `/proc/PID/comm`, fit to be shown.
  public let program: String
  public var description: String { "\(program) (pid \(pid))" }

  init(_ pid: pid_t) {
    self.pid = pid
    let comm = (try? kernelFile("/proc/\(pid)/comm")) ?? Array("?".utf8)
    let name = comm.last == UInt8(ascii: "\n") ? comm.dropLast() : comm[...]
    program = oneLine(String(decoding: name, as: UTF8.self))
  }
}

/// The processes of this `/proc`.
enum Processes {
  /// All of them, in ascending order.
  static func all() throws(SystemError) -> [pid_t] {
    try Directory(opening: "/proc").names().compactMap { pid_t($0) }.sorted()
  }

  /// The threads of one; none when it is gone. Namespaces, working directory and root are a
  /// thread's own (unshare(2)), and a process may live on without its first thread.
  static func threads(of process: pid_t) -> [pid_t] {
    let tasks = try? Directory(opening: "/proc/\(process)/task").names()
    return (tasks ?? []).compactMap { pid_t($0) }
  }
}
