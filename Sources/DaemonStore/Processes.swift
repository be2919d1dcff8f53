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
    program = shownBytes(comm.last == UInt8(ascii: "\n") ? comm.dropLast() : comm[...])
  }
}

extension ProcessName {
  /// The unit of systemd that it is part of, by its control group; nil for none.
  public var unit: String? { (try? kernelFile("/proc/\(pid)/cgroup")).flatMap(Self.unit(in:)) }

  /// The unit in the text of `/proc/PID/cgroup`: in the one hierarchy of version 2 or in the one that
  /// systemd has of version 1, the first group that is no slice. cgroups(7), systemd.slice(5).
  static func unit(in text: [UInt8]) -> String? {
    for line in text.lines {
      let fields = line.split(
        separator: UInt8(ascii: ":"), maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3,
        fields[1].equals("name=systemd") || fields[0].equals("0") && fields[1].isEmpty
      else { continue }
      let group = fields[2].split(separator: UInt8(ascii: "/")).first { !$0.ends(with: ".slice") }
      // A name that the kernel would take for a file of its own has an underscore before it.
      let unit = group.map { $0.first == UInt8(ascii: "_") ? $0.dropFirst() : $0 }
      guard let unit, unit.ends(with: ".service") || unit.ends(with: ".scope") else { continue }
      return shownBytes(unit)
    }
    return nil
  }
}

extension ProcessName {
  /// The processes whose program has that name.
  public static func all(called program: String) throws(SystemError) -> [ProcessName] {
    try Processes.all().map { ProcessName($0) }.filter { $0.program == program }
  }

  /// What it may do, as a set of bits; nil when it is gone.
  public var effectiveCapabilities: UInt64? {
    guard let text = try? kernelFile("/proc/\(pid)/status") else { return nil }
    return text.field("CapEff")?.number(radix: 16)
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
      return (error.code == EACCES || error.code == EPERM) && !isKernelThread(process)
    }
  }

  /// Those that are hidden from us.
  static func hidden() throws(SystemError) -> [ProcessName] {
    try all().filter { process in
      guard let directory = try? Directory(opening: "/proc/\(process)") else { return false }
      return isHidden(process, directory)
    }.map { ProcessName($0) }
  }

  /// By PF_KTHREAD.
  private static func isKernelThread(_ process: pid_t) -> Bool {
    ProcessStat(of: process).map { $0.flags & 0x0020_0000 != 0 } ?? false
  }
}
