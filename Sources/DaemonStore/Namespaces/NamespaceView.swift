import Glibc
import DaemonStoreKernel

/// What one mount namespace shows of a user's data.
package struct NamespaceView: Sendable {
  /// One mount of it.
  package struct Shown: Sendable {
    package let mount: Mount
    /// What it is mounted in.
    let parent: Mount?
    /// Other mounts on top of it.
    let covering: [Mount]
    /// The peer groups from which what it is mounted in receives mounts and unmounts.
    let sources: Set<Int>

    /// The directory that it is mounted on, whatever path it has in this namespace: who removes
    /// that directory detaches the mount.
    var place: Place? {
      parent.map { Place(device: $0.device, path: StoreBase(mount: $0).root(of: mount.target)) }
    }

    /// A directory of a file system.
    struct Place: Hashable {
      let device: UInt64
      let path: FilePath
    }

    /// Whether an unmount of its counterpart takes it along: an unmount propagates through the
    /// mount around it, not through its own peers (mount_namespaces(7)).
    func follows(_ groups: Set<Int>) -> Bool { !sources.isDisjoint(with: groups) }
  }

  package let keeper: MountNamespace.Keeper
  /// The inode of its file; nil for one that is known by a mount of that.
  private let id: UInt64?
  private let listing: MountListing?
  /// The user who made the user namespace that it belongs to, if the kernel says.
  private let owner: uid_t?
  /// Whether it is the one of this process.
  package let isOwn: Bool
  package let shown: [Shown]
  /// Overlay file systems with a layer that is the user's.
  let overlays: [Mount]
  /// Whether it cannot be looked into, and may show anything.
  let isClosed: Bool

  /// One that cannot be looked into.
  init(closed keeper: MountNamespace.Keeper, id: UInt64? = nil) {
    self.keeper = keeper
    self.id = id
    listing = nil
    owner = nil
    isOwn = false
    shown = []
    overlays = []
    isClosed = true
  }

  /// - Parameters:
  ///   - groups: those of all namespaces.
  ///   - isUsers: whether a mount shows the user's data.
  ///   - isUsersOverlay: whether an overlay has a layer that is the user's.
  init(
    keeper: MountNamespace.Keeper, id: UInt64? = nil, isOwn: Bool, table: MountTable,
    groups: PeerGroups, listing: MountListing? = nil, owner: uid_t? = nil, isUsers: (Mount) -> Bool,
    isUsersOverlay: (Mount) -> Bool = { _ in false }
  ) {
    let mounts = table.mounts.filter(isUsers)
    let byID = Dictionary(table.mounts.map { ($0.id, $0) }) { first, _ in first }
    let ids = Set(mounts.map(\.id))
    let others = Dictionary(
      grouping: table.mounts.filter { ids.contains($0.parent) && !ids.contains($0.id) },
      by: \.parent)
    self.keeper = keeper
    self.id = id
    self.listing = listing
    self.owner = owner
    self.isOwn = isOwn
    shown = mounts.map { mount in
      let parent = byID[mount.parent]
      return Shown(
        mount: mount, parent: parent, covering: others[mount.id] ?? [],
        sources: parent.map { groups.sources(of: $0) } ?? [])
    }
    overlays = table.mounts.filter { !$0.layers.isEmpty && isUsersOverlay($0) }
    isClosed = false
  }

  /// What one namespace is found by in two surveys.
  private enum Key: Hashable {
    case id(UInt64)
    case keeper(MountNamespace.Keeper)
  }

  private var keys: [Key] { (id.map { [.id($0)] } ?? []) + [.keeper(keeper)] }

  private func isSame(as other: NamespaceView) -> Bool {
    guard let id, let otherID = other.id else { return keeper == other.keeper }
    return id == otherID
  }

  /// Whether the kernel says that it lives: what its last process or descriptor has held may have
  /// gone to where nobody looks. Again, since the end of one takes its time.
  func isAlive() -> Bool {
    for _ in 0..<3 {
      do throws(SystemError) {
        guard let listing, try !listing.isGone() else { return false }
      } catch {
        return true  // as far as anybody knows
      }
      pause(.milliseconds(10))
    }
    return true
  }

  /// What the namespaces show now, as far as anybody knows: one that was looked into before, and
  /// cannot be any more or is not found although it is alive, shows what it did.
  static func completed(
    _ after: [NamespaceView], with before: [NamespaceView],
    isAlive: (NamespaceView) -> Bool = { $0.isAlive() }
  ) -> [NamespaceView] {
    let found = index(after)
    let lost = before.filter { old in
      guard !old.isOwn, !old.shown.isEmpty || !old.overlays.isEmpty else { return false }
      let now = candidates(for: old, in: found).filter { $0.isSame(as: old) }
      return now.isEmpty ? isAlive(old) : now.allSatisfy(\.isClosed)
    }
    let replaced = index(lost)
    return after.filter { view in
      !(view.isClosed && candidates(for: view, in: replaced).contains { $0.isSame(as: view) })
    } + lost
  }

  /// The views by all that they can be found by: one user may have thousands of namespaces.
  private static func index(_ views: [NamespaceView]) -> [Key: [NamespaceView]] {
    var index: [Key: [NamespaceView]] = [:]
    for view in views {
      for key in view.keys { index[key, default: []].append(view) }
    }
    return index
  }

  private static func candidates(
    for view: NamespaceView, in index: [Key: [NamespaceView]]
  ) -> [NamespaceView] {
    view.keys.flatMap { index[$0] ?? [] }
  }

  /// The copies in other namespaces that an unmount here did not take along, and that are gone
  /// nevertheless: the removal of the mount point has detached them.
  package static func detached(
    from before: [NamespaceView], to after: [NamespaceView]
  ) -> [DetachedCopies] {
    // The peer groups of the mounts that ours are mounted in.
    let groups = Set(
      before.filter(\.isOwn).flatMap(\.shown).compactMap { $0.parent?.peerGroup })
    let alive = Set(after.flatMap(\.shown).map(\.mount.id))
    return before.filter { !$0.isOwn }.compactMap { view in
      let gone = view.shown.filter { copy in
        !alive.contains(copy.mount.id) && !(copy.follows(groups) && copy.covering.isEmpty)
      }
      return gone.isEmpty
        ? nil : DetachedCopies(keeper: view.keeper, paths: gone.map(\.mount.target))
    }
  }

  /// Who keeps a mount of the user's data when only `present` of our own are there still: other
  /// mounts here, what is mounted on ours, and copies elsewhere. Those at the same place as ours
  /// are not counted: they go with them.
  ///
  /// - Parameter isStranger: whether copies in a namespace of this user's do not count: they are for
  ///   ``copies(in:of:)``.
  static func holders(
    in views: [NamespaceView], besides present: Set<FilePath>,
    isStranger: (uid_t) -> Bool = { _ in false }
  ) -> [Holder] {
    let places = Set(
      views.filter(\.isOwn).flatMap(\.shown).filter { present.contains($0.mount.target) }
        .compactMap(\.place))
    return views.flatMap { view -> [Holder] in
      if let owner = view.owner, isStranger(owner) { return [] }
      let keeper = view.isOwn ? nil : view.keeper
      if view.isClosed { return [Holder(keeper: keeper, hold: .closedNamespace)] }
      let overlays = view.overlays.map {
        Holder(keeper: keeper, hold: .mount($0))
      }
      return overlays
        + view.shown.flatMap { copy -> [Holder] in
          let path = copy.mount.target
          let isExpected =
            view.isOwn ? present.contains(path) : copy.place.map(places.contains) == true
          let covering = copy.covering.filter { $0.server.map(isStranger) != true }.map {
            Holder(keeper: keeper, hold: .mount($0))
          }
          if isExpected { return covering }
          let hold: Holder.Hold =
            view.isOwn
            ? .mount(path, "the same data") : .mountNamespace(path)
          return covering + [Holder(keeper: keeper, hold: hold)]
        }
    }
  }
}

extension NamespaceView {
  /// A copy of a mount, or an overlay over part of it, in a namespace that a stranger has made.
  struct Copy {
    let keeper: MountNamespace.Keeper
    let user: uid_t
    let mount: Mount
  }

  static func copies(in views: [NamespaceView], ofStrangers isStranger: (uid_t) -> Bool) -> [Copy] {
    views.flatMap { view -> [Copy] in
      guard let owner = view.owner, isStranger(owner) else { return [] }
      return (view.shown.map(\.mount) + view.overlays).map {
        Copy(keeper: view.keeper, user: owner, mount: $0)
      }
    }
  }
}

/// Copies of a user's mounts that one namespace kept for itself, and that are gone now.
package struct DetachedCopies: Equatable, Sendable {
  package let keeper: MountNamespace.Keeper
  /// Where the copies were in it.
  package let paths: [FilePath]
}
