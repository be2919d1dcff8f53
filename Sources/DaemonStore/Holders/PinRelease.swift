import Glibc
import DaemonStoreKernel

/// What is found of a user's data in use.
package struct Uses: Sendable {
  /// Mounts that keep it, and what of mounts could not be inspected.
  package var mounts: [Holder]
  /// Processes and loop devices that use it, and what of processes could not be inspected.
  package var files: [Holder]
  /// What strangers keep of directories: no obstacle once nothing is in them.
  package var pins: [DirectoryPin]
  /// The directories that must be renewed for that, below the vault.
  package var pinned: [FilePath]

  package var holders: [Holder] { mounts + files }

  /// Whether something is surely in use, and not only kept by strangers or in doubt.
  package var isHeld: Bool { holders.contains { !$0.isDoubt } }
}

extension UserSubtree {
  /// Everything that uses the user's data.
  ///
  /// - Parameters:
  ///   - rest: the mounts that are left of it.
  ///   - strictly: whether everything counts that can refer to a wiped key: descriptors on their way
  ///     that cannot be looked at, whatever process they are sent to, and mounts of directories that
  ///     an earlier logout has emptied.
  package func uses(_ rest: UnmountAudit.Rest, strictly: Bool = false) throws -> Uses {
    let lost = Unknowns()
    let uses = try Inspection.run(
      .files, keeping: descriptors, for: owner, until: deadline, lost
    ) {
      try lookForUses(rest, strictly: strictly)
    }
    guard var uses else {
      // The mounts are known without a look at processes.
      let mounts =
        rest.holders
        + rest.strangers.map { copy in
          Holder(
            keeper: copy.keeper,
            hold: shows(copy.mount) ? .mountNamespace(copy.mount.target) : .mount(copy.mount))
        }
      return Uses(mounts: mounts, files: lost.holders, pins: [], pinned: [])
    }
    uses.files += lost.holders
    return uses
  }

  private func lookForUses(_ rest: UnmountAudit.Rest, strictly: Bool) throws -> Uses {
    let pins = pins()
    let files = try holders(pins, strictly: strictly)
    var mounts = rest.holders
    for copy in rest.strangers {
      if let pins, let place = try directory(below: copy.mount) {
        pins.add(copy.keeper, copy.user, .mountNamespace(copy.mount.target), at: place)
      } else {
        let isCopy = shows(copy.mount)
        mounts.append(
          Holder(
            keeper: copy.keeper,
            hold: isCopy
              ? .mountNamespace(copy.mount.target) : .mount(copy.mount)))
      }
    }
    if strictly, let pins {
      for (keeper, user, path) in try removedPins() {
        pins.add(keeper, user, .mountNamespace(path), at: .emptied)
      }
    }
    let pinned = (pins?.places ?? []).compactMap { place -> FilePath? in
      switch place {
      case .below(let path): path
      case .removed(let path): path
      case .emptied: nil
      }
    }
    return Uses(
      mounts: mounts, files: files, pins: pins?.pins ?? [],
      pinned: Set(pinned).filter { !$0.isEmpty }.sorted {
        $0.cString.lexicographicallyPrecedes($1.cString)
      })
  }

  /// The directory that is the root of a mount of it; nil when that is a file or the whole vault.
  private func directory(below mount: Mount) throws(SystemError) -> DirectoryPins.Place? {
    guard shows(mount) else { return nil }
    if isWholeDevice(mount.device) { return .removed(from: nil) }
    guard let root = relativeRoot(of: mount),
      let path = FilePath(root.bytes.drop { $0 == UInt8(ascii: "/") }), !path.isEmpty
    else { return nil }
    let vault = try Directory(opening: vaultPath)
    guard let status = try vault.status(below: path) else { return nil }
    return status.isDirectory ? .below(path) : nil
  }
}

/// Takes from strangers what they keep of a user's directories.
package enum PinRelease {
  /// In the vault, while a directory is renewed.
  private static let staging: FilePath = ".daemon-store-moving"

  /// Completes what a crash has interrupted. The key must be there.
  ///
  /// - Parameters:
  ///   - vault: the directory `…/H/mount`.
  ///   - home: `…/H`.
  /// - Returns: whether there was something to complete.
  @discardableResult
  package static func finish(
    in vault: borrowing Directory, _ home: borrowing Directory,
    until deadline: ContinuousClock.Instant? = nil
  ) throws(SystemError) -> Bool {
    try renewal(vault, home).finish(until: deadline)
  }

  /// Moves what is in each of these directories into a new one in its place.
  ///
  /// - Returns: the paths that are left, with the reason.
  package static func renew(
    _ paths: [FilePath], in vault: borrowing Directory, _ home: borrowing Directory,
    until deadline: ContinuousClock.Instant
  ) throws(SystemError) -> [(path: FilePath, error: SystemError)] {
    let renewal = try renewal(vault, home)
    var left: [(path: FilePath, error: SystemError)] = []
    var isUnfinished = true
    for path in paths {
      do throws(SystemError) {
        guard ContinuousClock.now < deadline else {
          throw SystemError(operation: "empty", path: path, code: ETIMEDOUT)
        }
        if isUnfinished { try renewal.finish(until: deadline) }
        isUnfinished = true
        try renewal.renew(path, until: deadline)
        isUnfinished = false
      } catch {
        // A directory that is gone keeps nothing.
        if error.code != ENOENT { left.append((path, error)) }
      }
    }
    return left
  }

  private static func renewal(
    _ vault: borrowing Directory, _ home: borrowing Directory
  ) throws(SystemError) -> DirectoryRenewal {
    DirectoryRenewal(
      in: try vault.directory("."), staging: staging, removalDirectory: try home.directory("."))
  }
}
