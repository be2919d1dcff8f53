import CLinux
import Glibc
import Kernel
import MountTable

/// A process, named for people.
public struct ProcessName: Hashable, Sendable, CustomStringConvertible {
  public let pid: pid_t
  /// As in `/proc/PID/comm`, with what would garble a terminal replaced.
  public let program: String
  public var description: String { "\(program) (pid \(pid))" }

  init(_ pid: pid_t) {
    self.pid = pid
    let comm = (try? kernelFile("/proc/\(pid)/comm")) ?? Array("?".utf8)
    program = String(decoding: comm.dropLast(comm.last == UInt8(ascii: "\n") ? 1 : 0), as: UTF8.self)
      .unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : "\($0)" }.joined()
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

/// A mount namespace and somebody who is in it.
public struct MountNamespace: Sendable {
  /// The inode of the namespace file: `4026531841` of `mnt:[4026531841]`.
  public let id: UInt64
  public let process: ProcessName
  /// The thread through which its mount table is read.
  let thread: pid_t

  /// Every mount namespace that a process is in, this one first, each once.
  static func all() throws(SystemError) -> [MountNamespace] {
    var seen: Set<UInt64> = []
    var namespaces: [MountNamespace] = []
    for process in [getpid()] + (try Processes.all()) {
      for thread in Processes.threads(of: process) {
        guard let id = identity(ofThread: thread, of: process), seen.insert(id).inserted else {
          continue
        }
        namespaces.append(
          MountNamespace(id: id, process: ProcessName(process), thread: thread))
      }
    }
    return namespaces
  }

  /// nil when the thread is gone.
  private static func identity(ofThread thread: pid_t, of process: pid_t) -> UInt64? {
    guard let link = try? linkTarget(of: "/proc/\(process)/task/\(thread)/ns/mnt") else {
      return nil
    }
    return UInt64(link.drop { $0 != "[" }.dropFirst().prefix { $0 != "]" })
  }

  /// The mounts in it; nil when its last process went away. `needle` spares the parsing of a table
  /// that does not contain it at all.
  func table(containing needle: String) throws(MountTableError) -> MountTable? {
    let path = "/proc/\(process.pid)/task/\(thread)/mountinfo"
    let text: [UInt8]
    do {
      text = try kernelFile(path)
    } catch where [ENOENT, ESRCH, EINVAL].contains(error.code) {
      return nil  // EINVAL: a thread that is exiting has no namespace any more
    } catch {
      throw .unreadable(error)
    }
    guard linux_contains(text, text.count, needle) != 0 else { return MountTable([]) }
    return try MountTable(parsing: text, from: path)
  }
}
