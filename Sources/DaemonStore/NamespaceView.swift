import MountTable

/// What one mount namespace shows of a user's data.
public struct NamespaceView: Sendable {
  /// One mount of it.
  public struct Shown: Sendable {
    public let mount: Mount
    /// What it is mounted in.
    let parent: Mount?
    /// Other mounts on top of it.
    let covering: [Mount]

    /// Whether an unmount of its counterpart takes it along: an unmount propagates through the
    /// mount around it, not through its own peers (mount_namespaces(7)).
    func follows(_ groups: Set<Int>) -> Bool { parent?.follows(groups) == true }
  }

  public let keeper: MountNamespace.Keeper
  /// Whether it is the one of this process.
  public let isOwn: Bool
  public let shown: [Shown]

  init(keeper: MountNamespace.Keeper, isOwn: Bool, shown: [Shown]) {
    self.keeper = keeper
    self.isOwn = isOwn
    self.shown = shown
  }

  /// - Parameter isUsers: whether a mount shows the user's data.
  init(
    keeper: MountNamespace.Keeper, isOwn: Bool, table: MountTable, isUsers: (Mount) -> Bool
  ) {
    let mounts = table.mounts.filter(isUsers)
    let byID = Dictionary(table.mounts.map { ($0.id, $0) }) { first, _ in first }
    let ids = Set(mounts.map(\.id))
    let others = Dictionary(
      grouping: table.mounts.filter { ids.contains($0.parent) && !ids.contains($0.id) },
      by: \.parent)
    self.init(
      keeper: keeper, isOwn: isOwn,
      shown: mounts.map {
        Shown(mount: $0, parent: byID[$0.parent], covering: others[$0.id] ?? [])
      })
  }

  /// The copies in other namespaces that an unmount here did not take along, and that are gone
  /// nevertheless: the removal of the mount point has detached them.
  public static func detached(
    from before: [NamespaceView], to after: [NamespaceView]
  ) -> [DetachedCopies] {
    let groups = before.groupsAround { _ in true }
    let alive = Set(after.flatMap(\.shown).map(\.mount.id))
    return before.filter { !$0.isOwn }.compactMap { view in
      let gone = view.shown.filter { copy in
        !alive.contains(copy.mount.id) && !(copy.follows(groups) && copy.covering.isEmpty)
      }
      return gone.isEmpty
        ? nil : DetachedCopies(keeper: view.keeper, paths: gone.map(\.mount.target))
    }
  }

  /// Who keeps a mount of the user's data, after an unmount of which `held` could not be removed:
  /// other mounts here and what is mounted on the held ones, and the copies elsewhere that do not
  /// merely follow the held ones.
  public static func holders(in after: [NamespaceView], held: [Removal]) -> [Holder] {
    let places = Set(held.map(\.path))
    let groups = after.groupsAround { places.contains($0.target) }
    return after.flatMap { view -> [Holder] in
      let keeper = view.isOwn ? nil : view.keeper
      return view.shown.flatMap { copy -> [Holder] in
        var holders = copy.covering.map {
          Holder(keeper: keeper, hold: .mount($0.target, $0.fileSystem))
        }
        let path = copy.mount.target
        if view.isOwn {
          if !places.contains(path) {
            holders.append(Holder(keeper: nil, hold: .mount(path, "the same data")))
          }
        } else if !copy.follows(groups) {
          holders.append(Holder(keeper: keeper, hold: .mountNamespace(path)))
        }
        return holders
      }
    }
  }
}

/// Copies of a user's mounts that one namespace kept for itself, and that are gone now.
public struct DetachedCopies: Equatable, Sendable {
  public let keeper: MountNamespace.Keeper
  /// Where the copies were in it.
  public let paths: [String]
}

extension [NamespaceView] {
  /// The peer groups of the mounts that ours are mounted in.
  fileprivate func groupsAround(_ isIncluded: (Mount) -> Bool) -> Set<Int> {
    Set(
      filter(\.isOwn).flatMap(\.shown).filter { isIncluded($0.mount) }
        .compactMap { $0.parent?.peerGroup })
  }
}

extension Mount {
  /// Whether what happens in one of these peer groups happens to this mount.
  func follows(_ groups: Set<Int>) -> Bool {
    [master, peerGroup].contains { $0.map(groups.contains) == true }
  }
}
