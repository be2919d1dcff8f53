import DaemonStore
import Glibc
import DaemonStoreKernel

extension Sessions {
  /// Stays until the user's sessions have ended, and unmounts the user then: for a system on which
  /// cryptohomed does not run. One process for each user does this; another returns at once.
  package static func stay(with user: ObfuscatedUsername, _ layout: Layout) throws {
    while try SessionRecords(ofExisting: user, layout) != nil {
      let state = try Directory(opening: layout.root).trusted("run/cryptohome")
      let name: FilePath = "\(user).watch"
      guard let lock = try FileLock(name, in: state, until: .now) else { return }
      watch(user, layout)
      lock.remove(name, in: state)
      // A session that has begun meanwhile has found the lock taken, and left its end to this process.
    }
  }

  private static let firstDelay = Duration.seconds(1)
  private static let lastDelay = Duration.seconds(300)

  /// Returns when nothing is recorded of the user.
  private static func watch(_ user: ObfuscatedUsername, _ layout: Layout) {
    var delay = firstDelay
    while true {
      do {
        guard let records = try SessionRecords(ofExisting: user, layout) else { return }
        if let leader = try records.sessions().map(\.leader).first(where: \.isAlive) {
          try leader.waitForEnd()
          delay = firstDelay
          continue
        }
        if try lockIfEnded(user, layout)?.isComplete ?? true { continue }
      } catch {
        // The next attempt meets the same error, or not; `status` and doctor show what is left.
      }
      pause(delay)
      delay = min(delay * 2, lastDelay)
    }
  }
}

extension SessionLeader {
  fileprivate func waitForEnd() throws(SystemError) {
    do {
      let process = try Descriptor(process: process)
      // The number is that of this process as long as it is alive.
      while isAlive { _ = try waitUntilReadable([process.number]) }
    } catch  where error.code == ESRCH {
    }
  }
}

extension Sessions {
  /// Whether a process belongs to one of the user's sessions: a leader is among its ancestors, or in
  /// the same session of the audit system.
  ///
  /// - Parameter owner: whose process it must be.
  package static func contain(
    process: pid_t, of owner: uid_t, in user: ObfuscatedUsername, _ layout: Layout
  ) throws -> Bool {
    let leaders = try leaders(of: user, layout)
    guard !leaders.isEmpty else { return false }
    // The number may be that of another process by now: then it must be the same user's, too.
    guard (try? FileStatus.owner(ofProcess: process)) == owner else { return false }
    if let session = auditSession(of: process),
      leaders.contains(where: { auditSession(of: $0.process) == session })
    {
      return true
    }
    var ancestor = process
    for _ in 0..<64 where ancestor > 1 {
      guard let stat = ProcessStat(of: ancestor) else { return false }
      if leaders.contains(where: { $0.process == ancestor && $0.startTime == stat.startTime }) {
        return true
      }
      ancestor = stat.parent
    }
    return false
  }

  /// nil for a process outside of any, and on a kernel without the audit system.
  private static func auditSession(of process: pid_t) -> UInt32? {
    guard let text = try? kernelFile("/proc/\(process)/sessionid"),
      let number = UInt32(String(decoding: text, as: UTF8.self)), number != .max
    else { return nil }
    return number
  }
}
