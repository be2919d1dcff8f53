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

  /// The threads of a process that have a table of descriptors of their own: one of those that
  /// share it, as they do unless somebody went to some trouble.
  static func descriptorTables(of process: pid_t) -> [pid_t] {
    threads(of: process).filter { $0 == process || linux_compare_files(process, $0) != 0 }
  }

  /// Whether the kernel hides from us what a process uses: ptrace(2), access mode checking. One
  /// that is gone, and a thread of the kernel's own, uses nothing. Process 1 is taken at its word:
  /// some systems protect it from root.
  static func isHidden(_ process: pid_t, _ directory: borrowing Directory) -> Bool {
    guard process != 1 else { return false }
    do throws(SystemError) {
      _ = try linkTarget(of: directory.path(of: "root"))
      return false
    } catch {
      return (error.code == EACCES || error.code == EPERM) && !isKernelThread(directory)
    }
  }

  /// By the flags in `/proc/PID/stat`, which everybody may read: PF_KTHREAD.
  private static func isKernelThread(_ directory: borrowing Directory) -> Bool {
    guard let text = try? kernelFile(directory.path(of: "stat")),
      let end = text.lastIndex(of: UInt8(ascii: ")"))  // a name may hold anything else
    else { return false }
    // state ppid pgrp session tty_nr tpgid flags: proc_pid_stat(5).
    let fields = text[(end + 1)...].split(separator: UInt8(ascii: " "))
    guard fields.count > 6, let flags = UInt64(String(decoding: fields[6], as: UTF8.self)) else {
      return false
    }
    return flags & 0x0020_0000 != 0
  }
}
