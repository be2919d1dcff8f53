import DaemonStoreKernel

/// The end of a user's mounts: what they are, and, when they were taken away, who is left.
package final class UnmountAudit {
  package let subtree: UserSubtree
  private let isWanted: (Mount) -> Bool
  private let before: [NamespaceView]
  private let ours: Set<UInt64>
  /// What others have mounted on or below ours, and may go with them when they are detached: that of
  /// strangers always.
  private let upon: [Mount]

  /// Looks at all namespaces. Everything of the user's is there still.
  ///
  /// - Parameters:
  ///   - lazily: whether the mounts are detached when they are busy, with what is mounted on them.
  ///   - isWanted: which of the user's mounts are to go.
  package init(
    of subtree: UserSubtree, lazily: Bool, isWanted: @escaping (Mount) -> Bool = { _ in true }
  ) throws {
    self.subtree = subtree
    self.isWanted = isWanted
    before = try subtree.views(isWanted)
    ours = Set(before.filter(\.isOwn).flatMap(\.shown).map { $0.mount.id })
    upon = try Self.mounts(upon: ours).filter { lazily || Self.isStrangers($0, subtree) }
  }

  /// Whether a stranger's server is what is mounted.
  private static func isStrangers(_ mount: Mount, _ subtree: UserSubtree) -> Bool {
    mount.server.map(subtree.isStranger) == true
  }

  private static func mounts(upon ours: Set<UInt64>) throws -> [Mount] {
    let table = try MountTable.current()
    let parents = Dictionary(table.mounts.map { ($0.id, $0.parent) }) { first, _ in first }
    return table.mounts.filter { mount in
      guard !ours.contains(mount.id) else { return false }
      var id = mount.parent
      for _ in table.mounts.indices {
        if ours.contains(UInt64(id)) { return true }
        guard let parent = parents[id] else { return false }
        id = parent
      }
      return false
    }
  }

  /// Whether strangers have mounted something on it.
  package var isCoveredByStrangers: Bool { upon.contains { Self.isStrangers($0, subtree) } }

  /// Whether any of it is mounted here.
  package var wasMounted: Bool { !ours.isEmpty }

  /// Whether the mount with this root may be taken away.
  package func mayGo(_ status: FileStatus) -> Bool {
    ours.contains(status.mountID) || upon.contains { $0.id == status.mountID }
  }

  /// What is left of it, in all namespaces.
  package struct Rest: Sendable {
    /// Mounts that keep the data, and what is mounted on those that are left.
    package let holders: [Holder]
    /// What other namespaces kept for themselves, and is gone now.
    package let detachedCopies: [DetachedCopies]
    /// What others had mounted upon the user's mounts here, and was detached with them.
    package let detachedAlong: [Holder]
    /// What namespaces of strangers keep.
    let strangers: [NamespaceView.Copy]

    /// Nothing.
    package init() { self.init(holders: [], detachedCopies: [], detachedAlong: [], strangers: []) }

    init(
      holders: [Holder], detachedCopies: [DetachedCopies], detachedAlong: [Holder],
      strangers: [NamespaceView.Copy]
    ) {
      self.holders = holders
      self.detachedCopies = detachedCopies
      self.detachedAlong = detachedAlong
      self.strangers = strangers
    }

    /// Where other namespaces have copies.
    package var places: Set<FilePath> {
      Set(
        strangers.map(\.mount.target)
          + holders.compactMap {
            if case .mountNamespace(let path) = $0.hold { path } else { nil }
          })
    }

    /// Whether another namespace has a copy at this path.
    package func isShown(at path: FilePath) -> Bool {
      strangers.contains { $0.mount.target == path }
        || holders.contains {
          if case .mountNamespace(path) = $0.hold { true } else { false }
        }
    }
  }

  /// - Parameter present: our own mounts that are there still, by their paths.
  package func rest(besides present: Set<FilePath>) throws -> Rest {
    let after = NamespaceView.completed(try subtree.views(isWanted), with: before)
    let alive = upon.isEmpty ? [] : Set(try MountTable.current().mounts.map(\.id))
    return Rest(
      holders: NamespaceView.holders(
        in: after, besides: present, isStranger: subtree.isStranger)
        + subtree.unknownMounts.holders,
      detachedCopies: NamespaceView.detached(from: before, to: after),
      detachedAlong: upon.filter { !alive.contains($0.id) && !Self.isStrangers($0, subtree) }.map {
        Holder(keeper: nil, hold: .mount($0))
      },
      strangers: NamespaceView.copies(in: after, ofStrangers: subtree.isStranger))
  }
}
