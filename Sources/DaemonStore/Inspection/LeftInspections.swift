import Glibc
import DaemonStoreKernel

extension Inspection {
  /// Finds the inspecting processes that were killed and do not end, of other commands, and notes
  /// what they are called for: so no other one is lost to the same.
  static func leftBehind() -> Int {
    // Without `/proc` the inspection says so itself.
    let processes = (try? Directory(opening: "/proc").names()) ?? []
    var killed = processes.compactMap { Killed($0.bytes.number()) }
    // Most are about to end: those of a command that was killed, or that had no more time.
    for _ in 0..<50 where !killed.isEmpty {
      usleep(20_000)
      killed.removeAll { $0.goesOn }
    }
    culprits.formUnion(killed.map(\.label))
    return killed.count
  }

  /// An inspecting process that has got SIGKILL, and has not ended.
  private struct Killed {
    let label: FilePath
    private let process: pid_t
    private let progress: Progress

    init?(_ process: pid_t?) {
      guard let process, let label = Inspection.label(of: process),
        !Kind.allCases.map(\.done).contains(label), Inspection.isKilled(process)
      else { return nil }
      self.label = label
      self.process = process
      progress = Progress(of: process)
    }

    /// Whether it runs, has run, or is gone.
    var goesOn: Bool {
      let now = Progress(of: process)
      return now.isRunning || now.switches != progress.switches || !Inspection.isKilled(process)
    }
  }

  /// Whether a process is an inspecting one, of any command: it is no holder, and hangs where it looks.
  /// The name alone says nothing: a link to a set-user-ID program gives it to a process of root's.
  static func isInspecting(_ process: pid_t) -> Bool {
    guard label(of: process) != nil, let own = program(of: getpid()) else { return false }
    return program(of: process) == own
  }

  /// The file that a process runs; nil when that is gone, or cannot be known.
  private static func program(of process: pid_t) -> FileIdentity? {
    do throws(SystemError) {
      return try Directory(opening: "/proc/\(process)").status(behind: "exe")?.identity
    } catch {
      return nil
    }
  }

  /// The label of an inspecting process of root's, which is its name; nil for any other process. Another process
  /// with such a name can make a search incomplete, but cannot make it seem complete.
  private static func label(of process: pid_t) -> FilePath? {
    guard process != getpid(),
      let comm = (try? kernelFile("/proc/\(process)/comm")).flatMap({ FilePath($0.dropLast()) }),
      comm.dropping(prefix: "look ") != nil || comm.dropping(prefix: "list ") != nil,
      ProcessName.user(of: process) == 0
    else { return nil }
    return comm
  }

  /// Whether a process has got SIGKILL, and has not ended.
  private static func isKilled(_ process: pid_t) -> Bool {
    guard let text = try? kernelFile("/proc/\(process)/status"),
      let stat = ProcessStat(of: process), !stat.hasEnded
    else { return false }
    let pending: UInt64 = text.field("SigPnd")?.number(radix: 16) ?? 0
    return pending & 1 << UInt64(SIGKILL - 1) != 0 || stat.flags & 0x4 != 0  // PF_EXITING
  }
}
