import MountTable

/// What one mount namespace shows of a user's data.
public struct NamespaceView: Sendable {
  public let namespace: MountNamespace
  /// Whether it is the one of this process.
  public let isOwn: Bool
  /// The mounts of the user's data.
  public let mounts: [Mount]
  /// Other mounts on top of those.
  let below: [Mount]

  init(namespace: MountNamespace, isOwn: Bool, mounts: [Mount], below: [Mount] = []) {
    self.namespace = namespace
    self.isOwn = isOwn
    self.mounts = mounts
    self.below = below
  }

  /// The copies in other namespaces that an unmount here does not take along, and that were there
  /// before and are not after: private ones, and those that something else is mounted on. The
  /// removal of the mount point has detached them.
  public static func detached(
    from before: [NamespaceView], to after: [NamespaceView]
  ) -> [DetachedCopies] {
    let groups = Set(before.filter(\.isOwn).flatMap(\.mounts).compactMap(\.peerGroup))
    let alive = Set(after.flatMap(\.mounts).map(\.id))
    return before.filter { !$0.isOwn }.compactMap { view in
      let covered = Set(view.below.map(\.parent))
      let gone = view.mounts.filter { mount in
        !alive.contains(mount.id) && (covered.contains(mount.id) || !mount.follows(groups))
      }
      return gone.isEmpty
        ? nil : DetachedCopies(keeper: view.namespace.keeper, paths: gone.map(\.target))
    }
  }

  /// Who keeps a mount of the user's data, after an unmount of which `held` could not be removed:
  /// other mounts here and what is mounted on the held ones, and the copies elsewhere that do not
  /// merely follow the held ones.
  public static func holders(in after: [NamespaceView], held: [Removal]) -> [Holder] {
    let places = Set(held.map(\.path))
    let own = after.filter(\.isOwn).flatMap(\.mounts)
    let groups = Set(own.filter { places.contains($0.target) }.compactMap(\.peerGroup))
    return after.flatMap { view -> [Holder] in
      let others = view.mounts.filter {
        view.isOwn ? !places.contains($0.target) : !$0.follows(groups)
      }
      let copies = others.map { mount in
        view.isOwn
          ? Holder(keeper: nil, hold: .mount(mount.target, "the same data"))
          : Holder(keeper: view.namespace.keeper, hold: .mountNamespace(mount.target))
      }
      let covering = view.below.map { mount in
        Holder(
          keeper: view.isOwn ? nil : view.namespace.keeper,
          hold: .mount(mount.target, mount.fileSystem))
      }
      return copies + covering
    }
  }
}

/// Copies of a user's mounts that one namespace kept for itself, and that are gone now.
public struct DetachedCopies: Equatable, Sendable {
  public let keeper: MountNamespace.Keeper
  /// Where the copies were in it.
  public let paths: [String]
}

extension Mount {
  /// Whether what happens in one of these peer groups happens to this mount.
  func follows(_ groups: Set<Int>) -> Bool {
    [master, peerGroup].contains { $0.map(groups.contains) == true }
  }
}
