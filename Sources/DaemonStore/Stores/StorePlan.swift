import Glibc
import DaemonStoreKernel

/// What is found at the place of a store, `/run/daemon-store/D` or its cache store.
struct StorePlace: Equatable {
  enum Entry: Equatable {
    case absent
    /// The directory below whatever is mounted on it.
    case directory(FileStatus)
    /// Something else: `a symbolic link`.
    case other(String)
  }

  let path: FilePath
  let entry: Entry
  /// What is mounted here, the first at the bottom.
  let mounts: [Mount]
  /// Mount points below: where the users' folders are.
  let below: [FilePath]
}

/// The mount that `/run/daemon-store` itself is on: what a store is a bind of.
struct StoreBase: Equatable {
  let mount: Mount

  /// The directory of the file system that a store at `path` shows.
  func root(of path: FilePath) -> FilePath {
    let rest = mount.target == "/" ? path : path.dropping(prefix: mount.target) ?? ""
    return mount.root == "/" ? rest : "\(mount.root)\(rest)"
  }
}

/// One tree of stores: the mount that its directory is on, and its stores in the order of their
/// names, those with a template and those that are there without.
struct TreePlan {
  let base: StoreBase
  let stores: [PlannedStore]
}

/// What is found at the place of a store, and what is to be done.
struct PlannedStore {
  let store: StoreName
  let place: StorePlace
  let step: StoreStep
}

/// What is done to one store in one tree.
package enum StoreStep: Equatable, Sendable {
  /// Everything is as it should be.
  case keep
  /// Make the directory if need be, give it to root and the group, mount it.
  case create
  /// Bring the mount that is there into order; each with what was wrong.
  case repair([StoreRepair])
  /// The template is gone and nobody uses the store: unmount it and remove the directory.
  case remove
  /// The template is gone, but the store is in use: why.
  case retain(String)
  /// Something is there that is not a store: what.
  case refuse(String)
}

/// A store that is mounted, but not as it should be.
package enum StoreRepair: Equatable, Sendable {
  /// The directory below belongs to somebody else or has another mode.
  case ownership
  case attributes
  /// It is not shared, so no jail has received a login since, nor will one that runs.
  case unshared
  /// It is in the peer group of the mount around it, so each login mounts twice.
  case foreignGroup

  /// What was wrong, for people.
  package var description: String {
    switch self {
    case .ownership: "its directory had another owner or mode"
    case .attributes:
      "it was not mounted \((StorePlan.attributes.names.map(\.description)).joined(separator: ","))"
    case .unshared: "it was not shared: restart the daemons that were started before"
    case .foreignGroup: "it was in the peer group of the mount around it"
    }
  }
}

/// The decision for one store, from what is seen alone.
enum StorePlan {
  static let attributes: MountAttributes = [.readOnly, .data]
  static let permissions: mode_t = 0o751

  /// Of a store that is a slave.
  static let follower =
    "follows a store of another mount namespace: this is a jail or a container; look on its host"

  /// - Parameters:
  ///   - group: of the template; nil when there is none any more.
  ///   - use: who uses it, when anybody does: `is followed by …`; asked only when it is to go.
  static func step(
    for place: StorePlace, group: gid_t?, base: StoreBase, use: () throws -> String?
  ) rethrows -> StoreStep {
    if case .other(let kind) = place.entry {
      return group == nil ? .keep : .refuse("is \(kind), not a directory; remove it")
    }
    guard let mount = place.mounts.last else {
      guard case .directory = place.entry else { return group == nil ? .keep : .create }
      return group == nil ? try removal(use) : .create
    }
    guard place.mounts.count == 1 else {
      return group == nil
        ? .keep
        : .refuse(
          "has \(place.mounts.count) mounts stacked on it; unmount all but one, or all: umount "
            + shellWord(place.path))
    }
    if mount.master != nil {
      return group == nil ? .keep : .refuse(follower)
    }
    guard mount.device == base.mount.device, mount.root == base.root(of: place.path)
    else {
      return group == nil
        ? .keep
        : .refuse(
          "is the mount point of something else (\(mount.fileSystem) \(mount.source)); "
            + "umount \(place.path)")
    }
    guard let group else {
      if !place.below.isEmpty {
        return .retain("it has no template any more, but users are mounted in it")
      }
      return try removal(use)
    }
    return step(for: place, mount: mount, group: group, base: base)
  }

  private static func removal(_ use: () throws -> String?) rethrows -> StoreStep {
    try use().map { .retain("it has no template any more, but \($0)") } ?? .remove
  }

  /// The step for a store that is one, and has a template.
  private static func step(
    for place: StorePlace, mount: Mount, group: gid_t, base: StoreBase
  ) -> StoreStep {
    var repairs: [StoreRepair] = []
    if case .directory(let status) = place.entry,
      status.owner != 0 || status.group != group || status.permissions != permissions
    {
      repairs.append(.ownership)
    }
    if !mount.attributes.isSuperset(of: attributes) { repairs.append(.attributes) }
    if mount.peerGroup == nil {
      repairs.append(.unshared)
    } else if mount.peerGroup == base.mount.peerGroup {
      guard place.below.isEmpty else {
        return .refuse(
          "is in the peer group of \(base.mount.target), and users are mounted in it; run "
            + "daemon-store shutdown and daemon-store startup when they are logged out")
      }
      repairs.append(.foreignGroup)
    }
    return repairs.isEmpty ? .keep : .repair(repairs)
  }
}
