import DaemonStore
import Glibc
import Kernel
import MountTable

/// What a logout did, and what it could not do.
public struct LogoutReport: Sendable {
  public let user: ObfuscatedUsername
  /// Whether anything of the user's was mounted.
  public internal(set) var wasMounted: Bool
  public internal(set) var removals: [Removal] = []
  /// What other namespaces kept for themselves, and is gone now.
  public internal(set) var detachedCopies: [DetachedCopies] = []
  /// What others had mounted upon the user's mounts, and was detached with them.
  public internal(set) var takenAlong: [Holder] = []
  /// Who uses the user's data still.
  public internal(set) var holders: [Holder] = []
  /// What the kernel has of the vault's key; nil for a vault without one.
  public internal(set) var lock: VaultLock?
  /// Why it could not be asked.
  public internal(set) var lockProblem: String?

  /// Whether nothing is mounted, nobody uses anything, and the key is gone.
  public var isComplete: Bool {
    holders.isEmpty && takenAlong.isEmpty && removals.allSatisfy { $0.outcome == .removed }
      && (lock ?? .locked) == .locked && lockProblem == nil
  }
}

/// Unmounts a user everywhere, and finds out whether that is true.
public enum Logout {
  /// - Parameter lazily: detach what is busy.
  /// - Throws: when nothing could be done at all. What is busy is no error, but in the report.
  public static func run(
    _ user: ObfuscatedUsername, _ layout: Layout, lazily: Bool = false,
    until deadline: ContinuousClock.Instant? = nil
  ) throws -> LogoutReport {
    try locked(user, layout, until: deadline ?? .now + LockPatience.logout) {
      try run(underLockOf: user, layout, lazily: lazily)
    }
  }

  static func run(
    underLockOf user: ObfuscatedUsername, _ layout: Layout, lazily: Bool
  ) throws -> LogoutReport {
    let vault = try VaultKind.mounted(of: user, layout)?.vault(of: user, layout, size: nil)
    // Whatever of the vault is open here is closed when this returns: the key could not go else.
    var report = try unmount(user, vault, layout, lazily: lazily)
    report.lock(vault, layout)
    try Sessions.note(report, layout)
    return report
  }

  private static func unmount(
    _ user: ObfuscatedUsername, _ vault: (any Vault)?, _ layout: Layout, lazily: Bool
  ) throws -> LogoutReport {
    let subtree = try UserSubtree(of: user, in: layout)
    let departure = try Departure(of: subtree, lazily: lazily)
    var report = LogoutReport(user: user, wasMounted: departure.wasMounted)

    report.removals = UserFolders.remove(
      user, from: layout, lazily: lazily, isOurs: departure.mayGo)
    if let path = try vault?.coveredHome(),
      let removal = PasswdHome.remove(path, layout, lazily: lazily, isOurs: departure.mayGo)
    {
      report.removals.append(removal)
    }
    for place in HomePlace.allCases.reversed() {
      report.removals += place.remove(user, layout, lazily: lazily, isOurs: departure.mayGo)
    }
    if !report.removals.contains(where: \.isHeld), let vault {
      do {
        for error in try vault.forget() {
          report.removals.append(Removal(path: error.path ?? vault.directory, heldBy: error))
        }
      } catch {
        report.removals.append(Removal(path: vault.directory, heldBy: error))
      }
    }
    let held = Set(report.removals.filter(\.isHeld).map(\.path))
    // What somebody else has mounted as the vault was there before us, and stays.
    let present = held.union([vault?.mountPoint, vault?.directory].compactMap { $0 })
    var rest = try departure.rest(besides: present)
    report.holders = rest.holders + (try subtree.holders())
    // A vault that somebody uses stays mounted: so the next logout finds it, and them.
    if held.isEmpty, report.holders.isEmpty {
      if let removal = try vault?.close() {
        report.removals.append(removal)
        rest = try departure.rest(besides: removal.isHeld ? [removal.path] : [])
        report.holders = rest.holders
      } else if vault == nil, let shadow = try UserDirectory.shadow(layout) {
        // An ephemeral vault that a crash left half made.
        _ = try? shadow.removeDirectory(user.description)
      }
    }
    report.detachedCopies = rest.detachedCopies
    report.takenAlong = rest.takenAlong
    if report.holders.isEmpty, rest.takenAlong.isEmpty,
      report.removals.contains(where: \.isInUse)
    {
      report.holders.append(Holder(keeper: nil, hold: .unseen))
    }
    return report
  }

  /// Again until nobody holds anything, or `patience` is over: the last time then.
  ///
  /// - Parameter patience: nil to try once, after another login or logout has ended.
  public static func run(
    _ user: ObfuscatedUsername, _ layout: Layout, lazily: Bool, patience: Duration?
  ) throws -> LogoutReport {
    guard let patience else { return try run(user, layout, lazily: lazily) }
    let deadline = ContinuousClock.now + patience
    var time = Duration.milliseconds(20)
    var earlier: LogoutReport?
    while true {
      // Lazily only when waiting has not helped.
      let isLast = ContinuousClock.now >= deadline
      var report: LogoutReport
      do {
        report = try run(user, layout, lazily: lazily && isLast, until: deadline)
      } catch {
        // What an earlier attempt has found is true still.
        if let earlier { return earlier }
        throw error
      }
      if let earlier { report.add(earlier) }
      if report.isComplete || isLast { return report }
      earlier = report
      pause(max(.zero, min(time, ContinuousClock.now.duration(to: deadline))))
      time = min(time * 2, .milliseconds(500))
    }
  }
}

extension LogoutReport {
  /// Takes the key away, also from what is still in use, and asks the kernel whether it is gone.
  fileprivate mutating func lock(_ vault: (any Vault)?, _ layout: Layout) {
    do {
      lock = try vault?.lock()
      guard lock == .busy, holders.isEmpty, !removals.contains(where: \.isHeld) else { return }
      // Somebody who has opened something since we looked; or we did ourselves, and it is gone.
      holders = try UserSubtree(of: user, in: layout).holders()
      lock = try vault?.lock()
      if lock == .busy, holders.isEmpty { holders.append(Holder(keeper: nil, hold: .unseen)) }
    } catch {
      lockProblem = "\(error)"
    }
  }

  /// Takes over what an earlier attempt has done.
  fileprivate mutating func add(_ earlier: LogoutReport) {
    wasMounted = wasMounted || earlier.wasMounted
    removals = earlier.removals.filter { $0.outcome == .removed } + removals
    detachedCopies = earlier.detachedCopies + detachedCopies
    takenAlong = earlier.takenAlong + takenAlong
  }
}

extension VaultKind {
  /// The kind of vault that is there to be unmounted, whether or not this version could open it.
  public static func mounted(of user: ObfuscatedUsername, _ layout: Layout) throws -> VaultKind? {
    guard let shadow = try UserDirectory.shadow(layout),
      let status = try shadow.status(of: user.description), status.isDirectory,
      try shadow.status(of: "\(user)/mount") != nil
    else { return nil }
    if try status.isMountRoot && EphemeralVault.isMounted(status) { return .ephemeral }
    return try shadow.status(of: "\(user)/mount")?.isEncrypted == true ? .fscrypt : .plain
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
      let removal = parent.clear(user.description, lazily: lazily, isOurs: isOurs)
      if let removal, removal.isHeld { return [removal] }
      try parent.removeDirectory(user.description)
      return removal.map { [$0] } ?? []
    } catch {
      return [Removal(path: layout.below("home/\(rawValue)/\(user)"), heldBy: error)]
    }
  }
}
