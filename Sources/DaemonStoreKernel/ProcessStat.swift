import Glibc

/// What `/proc/PID/stat` says of a process, which everybody may read: proc_pid_stat(5).
package struct ProcessStat: Equatable, Sendable {
  package let parent: pid_t
  package let hasTerminal: Bool
  /// As in `PF_…` of the kernel.
  package let flags: UInt64
  /// In clock ticks since the machine started: with its number it tells a process from all others.
  package let startTime: UInt64
  /// How long it has run, in clock ticks. It does not grow while the process is stopped or frozen.
  package let runTime: UInt64
  /// Whether it is about to end, or has ended.
  package var isExiting: Bool { flags & 0x4 != 0 }  // PF_EXITING
  package var isKernelThread: Bool { flags & 0x0020_0000 != 0 }  // PF_KTHREAD
  /// Whether nothing of it is left but its status. While one of its threads goes on, it is there.
  package let hasEnded: Bool

  /// nil when there is no such process.
  package init?(of process: pid_t) {
    guard let text = try? kernelFile("/proc/\(process)/stat") else { return nil }
    self.init(parsing: text)
  }

  /// nil for what is no such text.
  package init?(parsing text: [UInt8]) {
    // The name may hold anything, also a parenthesis.
    guard let end = text.lastIndex(of: UInt8(ascii: ")")) else { return nil }
    // state ppid pgrp session tty_nr tpgid flags, … num_threads itrealvalue starttime
    let fields = text[(end + 1)...].split(separator: UInt8(ascii: " "))
    guard fields.count > 19, let parent: pid_t = fields[1].number(),
      let terminal: UInt64 = fields[4].number(), let flags: UInt64 = fields[6].number(),
      let userTime: UInt64 = fields[11].number(), let systemTime: UInt64 = fields[12].number(),
      let threads: UInt64 = fields[17].number(),
      let startTime: UInt64 = fields[19].number()
    else { return nil }
    self.parent = parent
    hasTerminal = terminal != 0
    self.flags = flags
    self.startTime = startTime
    runTime = userTime &+ systemTime
    let isDead = fields[0].equals("Z") || fields[0].equals("X") || fields[0].equals("x")
    hasEnded = isDead && threads <= 1
  }
}
