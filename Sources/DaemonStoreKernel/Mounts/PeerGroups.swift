/// How peer groups receive mounts from one another: mount_namespaces(7).
package struct PeerGroups: Sendable {
  /// Of each group that is a slave: the group that it receives from. All peers have the same.
  private let masters: [Int: Int]

  /// - Parameter tables: of all namespaces. Nothing is known of a group in none of them: what
  ///   receives by way of it seems to receive from nowhere beyond.
  package init(_ tables: some Sequence<MountTable>) {
    let pairs = tables.lazy.flatMap(\.mounts).compactMap { mount in
      mount.peerGroup.flatMap { group in mount.master.map { (group, $0) } }
    }
    masters = Dictionary(Array(pairs)) { first, _ in first }
  }

  /// The groups in which a mount or an unmount happens in `mount`, too: its own, that of its
  /// master, of the master's master, and so on.
  package func sources(of mount: Mount) -> Set<Int> {
    var sources = Set([mount.peerGroup].compactMap { $0 })
    var next = mount.master
    // Ends in a circle, too: tables that were read one after the other may show one.
    while let group = next, sources.insert(group).inserted { next = masters[group] }
    return sources
  }
}
