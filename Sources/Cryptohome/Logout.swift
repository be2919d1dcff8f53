import DaemonStore
import Glibc
import DaemonStoreKernel

/// What a logout did, and what it could not do.
package struct LogoutReport: Sendable {
  package let user: ObfuscatedUsername
  /// Whether anything of the user's was mounted.
  package internal(set) var wasMounted = false
  package internal(set) var removals: [Removal] = []
  /// What other namespaces kept for themselves, and is gone now.
  package internal(set) var detachedCopies: [DetachedCopies] = []
  /// What others had mounted upon the user's mounts, and was detached with them.
  package internal(set) var detachedAlong: [Holder] = []
  /// Who uses the user's data still.
  package var holders: [Holder] { mounts + files }
  var mounts: [Holder] = []
  var files: [Holder] = []
  /// What other users keep of the user's directories: nothing is in those any more.
  package internal(set) var pins: [DirectoryPin] = []
  /// The directories below the vault that other users keep and that could not be emptied.
  package internal(set) var unemptied: [FilePath] = []
  /// The processes that got a signal because they held files.
  package internal(set) var ended: [ProcessName] = []
  /// What the kernel has of the vault's key; nil for a vault without one. A key that is wiped, and that
  /// nothing but empty directories still refers to, counts as gone.
  package internal(set) var lock: VaultLock?
  /// Why it could not be asked.
  package internal(set) var lockProblem: String?
  /// What else has failed, each in one line.
  package internal(set) var problems: [String] = []

  /// Whether nothing is mounted, there is no holder, and the key is gone.
  package var isComplete: Bool {
    holders.isEmpty && detachedAlong.isEmpty && removals.allSatisfy { $0.outcome == .removed }
      && (lock ?? .locked) == .locked && lockProblem == nil && problems.isEmpty
      && unemptied.isEmpty
  }
}

/// Unmounts a user everywhere, and finds out whether that is true.
package enum Logout {
  /// A logout is over within 30 seconds, with whatever is left named. So long it searches for holders
  /// and empties directories that other users keep.
  fileprivate static let timeForHolders = Duration.seconds(22)
  /// So long it searches afterwards for what still refers to the key.
  fileprivate static let timeForExplanation = Duration.seconds(4)

  /// - Parameter lazily: detach what is busy.
  /// - Throws: when nothing could be done at all. What is busy is no error, but in the report.
  package static func run(
    _ user: ObfuscatedUsername, in layout: Layout, lazily: Bool = false,
    until deadline: ContinuousClock.Instant? = nil
  ) throws -> LogoutReport {
    try LockedHome(of: user, in: layout, until: deadline ?? .now + LockTimeout.logout)
      .unmount(lazily: lazily)
  }

  /// Again until there is no holder, or `time` is over: the last time then.
  ///
  /// - Parameter time: nil to try once, after another login or logout has ended.
  package static func run(
    _ user: ObfuscatedUsername, in layout: Layout, lazily: Bool, timeout time: Duration?
  ) throws -> LogoutReport {
    guard let time else { return try run(user, in: layout, lazily: lazily) }
    let deadline = ContinuousClock.now + time
    var interval = Duration.milliseconds(20)
    var earlier: LogoutReport?
    while true {
      // Lazily only when waiting has not helped.
      let isLast = ContinuousClock.now >= deadline
      var report: LogoutReport
      do {
        report = try run(user, in: layout, lazily: lazily && isLast, until: deadline)
      } catch {
        // What an earlier attempt has found is true still.
        if let earlier { return earlier }
        throw error
      }
      if let earlier { report.add(earlier) }
      if report.isComplete || isLast { return report }
      earlier = report
      pause(max(.zero, min(interval, ContinuousClock.now.duration(to: deadline))))
      interval = min(interval * 2, .milliseconds(500))
    }
  }
}

extension LogoutReport {
  /// Does one step. That it failed is part of the report.
  mutating func attempt(_ step: (LogoutReport) throws -> Void) {
    do {
      try step(self)
    } catch {
      problems.append("\(error)")
    }
  }

  /// Takes the key away, also from what is still in use, and asks the kernel whether it is gone.
  fileprivate mutating func lock(
    _ vault: (any Vault)?, _ home: UserHome, until deadline: ContinuousClock.Instant
  ) {
    do {
      lock = try vault?.lock()
      switch lock {
      case .locked:
        // No file of it is open or mounted anywhere, whatever could not be looked at: the kernel says so.
        files.removeAll(where: \.isDoubt)
        mounts.removeAll { $0.isDoubt || $0.hold == .closedNamespace }
      case .busy where mounts.isEmpty && !removals.contains(where: \.isHeld):
        try explainBusy(vault, home, until: deadline)
      default: break
      }
    } catch {
      lockProblem = "\(error)"
    }
  }

  /// Finds out what a key is referred to by that is wiped: perhaps by nothing but empty directories.
  private mutating func explainBusy(
    _ vault: (any Vault)?, _ home: UserHome, until deadline: ContinuousClock.Instant
  ) throws {
    do {
      // A file was opened since the search; or the search itself had it open, and it is closed. What
      // this search has open is closed when it is over.
      let subtree = try UserSubtree(
        of: user, in: home.layout, recordedOwner: home.recordedOwner)
      subtree.deadline = deadline
      let uses = try subtree.uses(UnmountAudit.Rest(), strictly: true)
      files = uses.files
      add(uses.pins)
      // Too late for these: the key is wiped, and what is in them still shows.
      if !uses.pinned.isEmpty, unemptied.isEmpty {
        files.append(Holder(keeper: nil, hold: .unseen))
      }
    }
    lock = try vault?.lock()
    guard lock == .busy, files.isEmpty, unemptied.isEmpty else { return }
    if pins.isEmpty {
      files.append(Holder(keeper: nil, hold: .unseen))
    } else {
      lock = .locked
    }
  }

  /// Adds the pins that are not there yet.
  mutating func add(_ found: [DirectoryPin]) {
    let known = Set(pins)
    pins += found.filter { !known.contains($0) }
  }

  /// Takes over what an earlier attempt has done.
  fileprivate mutating func add(_ earlier: LogoutReport) {
    wasMounted = wasMounted || earlier.wasMounted
    removals = earlier.removals.filter { $0.outcome == .removed } + removals
    detachedCopies = earlier.detachedCopies + detachedCopies
    detachedAlong = earlier.detachedAlong + detachedAlong
  }
}

extension LockedHome {
  /// Goes on whatever fails: the last step, which takes the key away, is always made.
  func unmount(lazily: Bool) -> LogoutReport {
    var report = LogoutReport(user: user)
    var vault: (any Vault)?
    report.attempt { _ in vault = try home.present?.vault(of: home) }
    // Whatever of the vault is open here is closed when this returns: the key could not go else.
    let start = ContinuousClock.now
    let unmount = LogoutUnmount(
      home, vault, lazily: lazily, until: start + Logout.timeForHolders)
    unmount.run(&report)
    report.lock(vault, home, until: start + Logout.timeForHolders + Logout.timeForExplanation)
    report.problems += (layout.distrustedHomes() + layout.distrustedStores()).map(\.description)
    report.attempt { try Sessions.note($0, layout) }
    return report
  }
}

extension HomePlace {
  /// Unmounts `/home/user/H` or `/home/root/H` and removes the mount point.
  @discardableResult
  func remove(
    _ user: ObfuscatedUsername, _ layout: Layout, lazily: Bool,
    isOurs: (FileStatus) -> Bool = { _ in true }
  ) -> [Removal] {
    do {
      guard let parent = try open(layout) else { return [] }
      let removal = parent.clear(user.path, lazily: lazily, isOurs: isOurs)
      if let removal, removal.isHeld { return [removal] }
      try parent.removeMountPoint(user.path)
      return removal.map { [$0] } ?? []
    } catch {
      return [Removal(path: layout.below("home/\(rawValue)/\(user)"), failed: error)]
    }
  }
}
