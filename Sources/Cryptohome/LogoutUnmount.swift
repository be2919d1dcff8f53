import DaemonStore
import Glibc
import DaemonStoreKernel

/// The first part of a logout: all mounts go, and what strangers keep of directories is made empty,
/// while the key is still there.
struct LogoutUnmount {
  private let home: UserHome
  private let vault: (any Vault)?
  private let lazily: Bool
  /// When what is left is left, for the key to be removed.
  private let deadline: ContinuousClock.Instant
  private let configuration: Configuration

  init(
    _ home: UserHome, _ vault: (any Vault)?, lazily: Bool,
    until deadline: ContinuousClock.Instant
  ) {
    self.deadline = deadline
    self.home = home
    self.vault = vault
    self.lazily = lazily
    configuration = Configuration(of: home.layout)
  }

  private var user: ObfuscatedUsername { home.user }
  private var layout: Layout { home.layout }

  func run(_ report: inout LogoutReport) {
    let covered = vault?.coveredHome()
    let subtree: UserSubtree
    let audit: UnmountAudit
    do {
      subtree = try UserSubtree(
        of: user, in: layout, recordedOwner: home.recordedOwner)
      subtree.deadline = deadline
      audit = try UnmountAudit(of: subtree, lazily: lazily)
    } catch {
      report.problems.append("\(error)")
      // The owner of a mount is not known. Those at places that are the user's alone go nevertheless.
      report.removals = remove(home: nil, lazily: lazily) { _ in true }
      return
    }
    report.wasMounted = audit.wasMounted
    report.attempt { _ in try finishRenewal() }
    report.removals = remove(home: covered, lazily: lazily, isOurs: audit.mayGo)
    do {
      try release(subtree, audit, over: covered, into: &report)
    } catch {
      report.problems.append("\(error)")
    }
  }

  /// Unmounts everything that can be; what is free goes, whatever is busy.
  private func remove(
    home: FilePath?, lazily: Bool, isOurs: (FileStatus) -> Bool
  ) -> [Removal] {
    var removals = UserFolders.remove(user, from: layout, lazily: lazily, isOurs: isOurs)
    if let home, let removal = PasswdHome.remove(home, layout, lazily: lazily, isOurs: isOurs) {
      removals.append(removal)
    }
    for place in HomePlace.allCases.reversed() {
      removals += place.remove(user, layout, lazily: lazily, isOurs: isOurs)
    }
    return removals
  }

  private func present(_ report: LogoutReport) -> Set<FilePath> {
    // What was mounted as the vault by another program was there before us, and stays.
    Set(report.removals.filter(\.isHeld).map(\.path))
      .union([vault?.mountPoint, vault?.directory].compactMap { $0 })
  }

  private func release(
    _ subtree: UserSubtree, _ audit: UnmountAudit, over covered: FilePath?,
    into report: inout LogoutReport
  ) throws {
    var rest = try audit.rest(besides: present(report))
    if let covered, rest.isShown(at: covered), !present(report).contains(covered) {
      // Its mount point stays, so the copies on it go with another one.
      report.attempt { _ in try PasswdHome.replace(covered, layout) }
      rest = try audit.rest(besides: present(report))
    }
    var uses = try subtree.uses(rest)
    if uses.isHeld, HolderEnding.isAsked(by: configuration) {
      report.ended = try HolderEnding(subtree, configuration).run()
      if !report.ended.isEmpty {
        let busy = report.removals.contains(where: \.isHeld)
        if busy {
          report.removals.removeAll(where: \.isHeld)
          report.removals += remove(home: covered, lazily: lazily, isOurs: audit.mayGo)
        }
        rest = try audit.rest(besides: present(report))
        uses = try subtree.uses(rest)
      }
    }
    if !lazily, report.removals.contains(where: \.isInUse), !uses.isHeld,
      !uses.pins.isEmpty || audit.isCoveredByStrangers
    {
      // Only strangers keep it busy.
      let busy = report.removals.filter(\.isHeld).map(\.path)
      report.removals.removeAll(where: \.isHeld)
      report.removals += remove(home: covered, lazily: true, isOurs: audit.mayGo).map {
        busy.contains($0.path) && $0.outcome == .detached
          ? Removal(path: $0.path, outcome: .removed) : $0
      }
      rest = try audit.rest(besides: present(report))
      uses = try subtree.uses(rest)
    }
    report.pins = uses.pins
    try forget(&report)
    if !report.removals.contains(where: \.isHeld), !uses.isHeld {
      try renew(&uses, &rest, of: subtree, by: audit, into: &report)
    }
    report.mounts = uses.mounts
    report.files = uses.files
    try close(audit, &rest, &report)
    report.detachedCopies = rest.detachedCopies
    report.detachedAlong = rest.detachedAlong
    if report.holders.isEmpty, rest.detachedAlong.isEmpty,
      report.removals.contains(where: \.isInUse)
    {
      report.files.append(Holder(keeper: nil, hold: .unseen))
    }
  }

  /// Empties what strangers keep, until nothing more is found: while one directory is emptied,
  /// another one in it can be opened.
  private func renew(
    _ uses: inout Uses, _ rest: inout UnmountAudit.Rest, of subtree: UserSubtree,
    by audit: UnmountAudit, into report: inout LogoutReport
  ) throws {
    for round in 1... {
      guard !uses.pinned.isEmpty else { return }
      guard round <= 8, let vault, try isOpen() else {
        report.unemptied = uses.pinned
        return
      }
      let directory = try Directory(opening: vault.directory)
      let left = try PinRelease.renew(
        uses.pinned, in: directory, Directory(opening: home.path), until: deadline)
      subtree.forgetMountRoots()
      guard left.isEmpty else {
        report.unemptied = left.map(\.path)
        report.problems += left.lazy.map(\.error).filter { $0.code != ETIMEDOUT }.prefix(16)
          .map(\.description)
        return
      }
      rest = try audit.rest(besides: present(report))
      uses = try subtree.uses(rest)
      report.add(uses.pins)
    }
  }

  /// Completes a renewal that an earlier logout has not. Of a locked vault nothing is seen here: the
  /// next login does it.
  private func finishRenewal() throws {
    guard let vault, vault.mountPoint == nil, try isOpen() else { return }
    try finishRenewal(in: vault.directory)
  }

  private func finishRenewal(in path: FilePath) throws(SystemError) {
    let directory = try Directory(opening: path)
    let place = try Directory(opening: home.path)
    do {
      _ = try PinRelease.finish(in: directory, place, until: deadline)
    } catch {
      // At the deadline the rest is left to the next login.
      guard error.code == ETIMEDOUT else { throw error }
    }
  }

  /// Whether the names in the vault can be read.
  private func isOpen() throws -> Bool {
    switch try vault?.state() {
    case nil, .unlocked: true
    case .locked, .busy: false
    }
  }

  private func forget(_ report: inout LogoutReport) throws {
    guard !report.removals.contains(where: \.isHeld), let vault else { return }
    do {
      for error in try vault.forget() {
        report.removals.append(Removal(path: error.path ?? vault.directory, failed: error))
      }
    } catch {
      report.removals.append(Removal(path: vault.directory, failed: error))
    }
  }

  /// A vault in use stays mounted: so the next logout finds it, and its holders.
  private func close(
    _ audit: UnmountAudit, _ rest: inout UnmountAudit.Rest, _ report: inout LogoutReport
  ) throws {
    guard !report.removals.contains(where: \.isHeld), report.holders.isEmpty else { return }
    if vault == nil { return try removeEmpty() }
    guard let removal = try vault?.close() else { return }
    report.removals.append(removal)
    let left = try audit.rest(besides: removal.isHeld ? [removal.path] : [])
    rest = left
    report.mounts = rest.holders
    // The copies of the vault's own mount went with its mount point.
    let places = left.places
    report.pins.removeAll { pin in
      guard case .mountNamespace(let path) = pin.hold else { return false }
      return !places.contains(path)
    }
  }

  /// An ephemeral vault that a crash left half made; any other is not empty.
  private func removeEmpty() throws(SystemError) {
    guard let shadow = home.shadow, try shadow.directory.status(of: user.path)?.isDirectory == true
    else { return }
    do {
      try shadow.directory.removeDirectory(user.path)
    } catch {
      guard [ENOTEMPTY, EEXIST, EBUSY, EROFS].contains(error.code) else { throw error }
    }
  }
}
