import DaemonStoreKernel

/// What a mount namespace has of a store.
package enum StoreRole: Equatable, Sendable {
  /// A slave of the store, directly or by way of another namespace: each login arrives.
  case follows
  /// In the store's own peer group: what is mounted in it is mounted on the host, too.
  case peer
  /// A copy that is in no group any more, or never was: no login arrives.
  case privateCopy
  /// The directory that the store is mounted on, without the store: it was there before the store,
  /// or came with a bind of the directories around it that was not recursive.
  case bareDirectory
  /// A store that was taken down; the one that has the name now is another.
  case formerStore
  /// A slave of a group that no store has.
  case stray(Int)

  /// Whether logins arrive.
  package var receives: Bool { self == .follows || self == .peer }

  /// What a mount of the store's directory is, in another namespace.
  ///
  /// - Parameters:
  ///   - group: the peer group of the store; nil for one that is not mounted, or not shared.
  ///   - groups: those of all namespaces.
  init(of mount: Mount, group: Int?, _ groups: PeerGroups) {
    if let group, mount.peerGroup == group {
      self = .peer
    } else if let group, groups.sources(of: mount).contains(group) {
      self = .follows
    } else if withoutDeletion(mount.root) != mount.root {
      self = .formerStore
    } else if !mount.attributes.isSuperset(of: StorePlan.attributes) {
      self = .bareDirectory  // a copy of a store has the store's attributes
    } else if let master = mount.master {
      self = .stray(master)
    } else {
      self = .privateCopy
    }
  }
}

/// How one mount namespace has one store.
package struct StoreView: Sendable {
  package let keeper: MountNamespace.Keeper
  package let role: StoreRole
  /// Whether it was bound there for its own sake; else it came with the mounts around it, as every
  /// namespace has them that systemd makes for a service.
  package let isOwnBind: Bool
  /// Where, in that namespace.
  package let path: FilePath
  /// Of the users who are mounted on the host: those whose folder is there, too.
  package let users: [ObfuscatedUsername]
  /// A process in it that runs as the store's owner, which is not root.
  package let daemon: ProcessName?

  /// Whether somebody there wants the store: it was bound, or its owner is there.
  package var isWanted: Bool { isOwnBind || daemon != nil }
}

/// The mounts of one namespace, by what they show.
struct NamespaceMounts {
  /// A directory of a file system.
  private struct Place: Hashable {
    let device: UInt64
    let root: FilePath
  }

  private let byID: [UInt64: Mount]
  private let byPlace: [Place: [Mount]]
  private let children: [UInt64: [Mount]]
  private let mounts: [Mount]

  init(_ table: MountTable) {
    mounts = table.mounts
    byID = Dictionary(mounts.map { ($0.id, $0) }) { first, _ in first }
    byPlace = Dictionary(grouping: mounts) {
      Place(device: $0.device, root: withoutDeletion($0.root))
    }
    children = Dictionary(grouping: mounts, by: \.parent)
  }

  /// The mounts of the directory of a store, in their order.
  func mounts(of root: FilePath, on device: UInt64) -> [Mount] {
    byPlace[Place(device: device, root: root)] ?? []
  }

  /// Whether a mount is at the very place where the original is, so that it may have come with the
  /// mount around it: in the same directory of the same file system, and not upon a copy.
  func isInherited(_ mount: Mount, at root: FilePath, on device: UInt64) -> Bool {
    guard let parent = byID[mount.parent], parent.device == device else { return false }
    let isStacked = withoutDeletion(parent.root) == root && parent.target == mount.target
    return !isStacked && StoreBase(mount: parent).root(of: mount.target) == withoutDeletion(root)
  }

  /// What is mounted in `mount` that shows the same as one of these: their keys.
  func shown<Key: Comparable>(_ folders: [Key: Mount], in mount: Mount) -> [Key] {
    let there = Set(
      (children[mount.id] ?? []).map { Place(device: $0.device, root: withoutDeletion($0.root)) })
    return folders.filter { there.contains(Place(device: $0.value.device, root: $0.value.root)) }
      .keys.sorted()
  }

  /// The mount that shows the directory `root` of a file system, itself or from further above, with
  /// nothing over it on the way; and the path of the directory.
  func around(_ root: FilePath, on device: UInt64) -> (mount: Mount, path: FilePath)? {
    for mount in mounts.reversed() where mount.device == device {
      guard root.isAtOrBelow(mount.root) else { continue }
      let rest = mount.root == "/" ? root : root.dropping(prefix: mount.root) ?? ""
      let path: FilePath = mount.target == "/" ? rest : "\(mount.target)\(rest)"
      let isCovered = mounts.contains {
        $0.id != mount.id && $0.target.cString.count > mount.target.cString.count
          && path.isAtOrBelow($0.target)
          || $0.parent == mount.id && $0.target == mount.target
      }
      if !isCovered { return (mount, path) }
    }
    return nil
  }
}
