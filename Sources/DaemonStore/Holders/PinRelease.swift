import Glibc
import Kernel
import MountTable

/// What is found of a user's data in use.
public struct Uses: Sendable {
  /// Mounts that keep it, and what of mounts could not be inspected.
  public var mounts: [Holder]
  /// Processes and loop devices that use it, and what of processes could not be inspected.
  public var files: [Holder]
  /// What strangers keep of directories: no obstacle once nothing is in them.
  public var pins: [DirectoryPin]
  /// The directories that must be renewed for that, below the vault.
  public var pinned: [FilePath]

  public var holders: [Holder] { mounts + files }

  /// Whether something is surely in use, and not only kept by strangers or in doubt.
  public var isHeld: Bool { holders.contains { !$0.isDoubt } }
}

extension UserSubtree {
  /// Everything that uses the user's data.
  ///
  /// - Parameters:
  ///   - rest: the mounts that are left of it.
  ///   - strictly: whether descriptors on their way count that nobody can look at, whomever they are
  ///     sent to.
  public func uses(_ rest: Departure.Rest, strictly: Bool = false) throws -> Uses {
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
    let pinned = (pins?.places ?? []).compactMap { place -> FilePath? in
      switch place {
      case .below(let path): path
      case .removed(let path): path
      }
    }
    return Uses(
      mounts: mounts, files: files, pins: pins?.pins ?? [],
      pinned: Set(pinned).filter { !$0.isEmpty }.sorted())
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
public enum PinRelease {
  /// In the vault, while a directory is renewed.
  private static let staging: FilePath = ".daemon-store-moving"

  /// Completes what a crash has interrupted. The key must be there.
  ///
  /// - Parameters:
  ///   - vault: the directory `…/H/mount`.
  ///   - home: `…/H`.
  /// - Returns: whether there was something to complete.
  @discardableResult
  public static func finish(
    in vault: borrowing Directory, _ home: borrowing Directory
  ) throws(SystemError) -> Bool {
    try renewal(vault, home).finish()
  }

  /// Moves what is in each of these directories into a new one in its place.
  ///
  /// - Returns: why that failed, for each that it did for.
  public static func renew(
    _ paths: [FilePath], in vault: borrowing Directory, _ home: borrowing Directory
  ) -> [SystemError] {
    var errors: [SystemError] = []
    for path in paths {
      do throws(SystemError) {
        try renewal(vault, home).renew(path)
      } catch {
        // One that is gone is kept by nobody any more.
        if error.code != ENOENT { errors.append(error) }
      }
    }
    return errors
  }

  private static func renewal(
    _ vault: borrowing Directory, _ home: borrowing Directory
  ) throws(SystemError) -> DirectoryRenewal {
    DirectoryRenewal(
      in: try vault.directory("."), staging: staging, grave: try home.directory("."))
  }
}
