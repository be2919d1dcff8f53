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

  /// Whether nothing is mounted and nobody uses anything.
  public var isComplete: Bool {
    holders.isEmpty && takenAlong.isEmpty && removals.allSatisfy { $0.outcome == .removed }
  }
}

/// Unmounts a user everywhere, and finds out whether that is true.
public enum Logout {
  /// - Parameter lazily: detach what is busy.
  /// - Throws: when nothing could be done at all. What is busy is no error, but in the report.
  public static func run(
    _ user: ObfuscatedUsername, _ layout: Layout, lazily: Bool = false
  ) throws -> LogoutReport {
    try locked(user, layout) { try unmount(user, layout, lazily: lazily) }
  }

  private static func unmount(
    _ user: ObfuscatedUsername, _ layout: Layout, lazily: Bool
  ) throws -> LogoutReport {
    let vault = try VaultKind.mounted(of: user, layout)?.vault(of: user, layout, size: nil)
    let subtree = try UserSubtree(of: user, in: layout)
    let departure = try Departure(of: subtree, lazily: lazily)
    var report = LogoutReport(user: user, wasMounted: departure.wasMounted)

    report.removals = UserFolders.remove(
      user, from: layout, lazily: lazily, isOurs: departure.mayGo)
    for place in HomePlace.allCases.reversed() {
      report.removals += place.remove(user, layout, lazily: lazily, isOurs: departure.mayGo)
    }
    if !report.removals.contains(where: \.isHeld), let vault {
      do {
        try vault.forget()
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

  /// Again until nobody holds anything, or `patience` is over.
  public static func run(
    _ user: ObfuscatedUsername, _ layout: Layout, lazily: Bool, patience: Duration
  ) throws -> LogoutReport {
    let clock = ContinuousClock()
    let deadline = clock.now + patience
    var pause = Duration.milliseconds(20)
    var detached: [DetachedCopies] = []
    var removed: [Removal] = []
    var wasMounted = false
    while true {
      // Lazily only when waiting has not helped.
      let isLast = clock.now + pause >= deadline
      var report = try run(user, layout, lazily: lazily && isLast)
      detached += report.detachedCopies
      report.detachedCopies = detached
      report.removals = removed + report.removals
      removed = report.removals.filter { $0.outcome == .removed }
      wasMounted = wasMounted || report.wasMounted
      report.wasMounted = wasMounted
      if report.isComplete || isLast { return report }
      var time = timespec(
        tv_sec: 0, tv_nsec: Int(pause.components.attoseconds / 1_000_000_000))
      nanosleep(&time, nil)
      pause = min(pause * 2, .milliseconds(500))
    }
  }
}

extension VaultKind {
  /// The kind of vault that is there to be unmounted, whether or not this version could open it.
  static func mounted(of user: ObfuscatedUsername, _ layout: Layout) throws -> VaultKind? {
    guard let shadow = try UserDirectory.shadow(layout),
      let status = try shadow.status(of: user.description), status.isDirectory,
      try shadow.status(of: "\(user)/mount") != nil
    else { return nil }
    return try status.isMountRoot && EphemeralVault.isMounted(status) ? .ephemeral : .plain
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
