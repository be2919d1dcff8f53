import DaemonStoreKernel

/// A jail that receives the logins of a store through a mount of its own.
package struct Follower: Sendable, CustomStringConvertible {
  package let keeper: MountNamespace.Keeper
  package var description: String { keeper.description }
}

enum Followers {
  /// The namespaces that hold a slave or peer of one of `stores`, or a slave of such a one, by a
  /// bind of their own. One that
  /// has merely inherited the store with the mount around it is none: what happens to the store
  /// happens to its copy too, and it comes back with the next startup.
  ///
  /// - Parameter base: the mount that the stores are on.
  /// - Throws: ``Refusal`` when a process may not be looked at: it may follow anything.
  static func of(_ stores: [Mount], base: Mount) throws -> [Follower] {
    try of([true: stores], base: base)[true] ?? []
  }

  /// The same for each of several stores, in one search; only of those that are followed.
  static func of<Key>(_ stores: [Key: [Mount]], base: Mount) throws -> [Key: [Follower]] {
    let groups = stores.mapValues { Set($0.compactMap(\.peerGroup)) }.filter { !$0.value.isEmpty }
    guard !groups.isEmpty else { return [:] }
    if let process = try Processes.hidden().first {
      throw Refusal(
        path: "/proc/\(process.pid)",
        reason:
          "\(process) may not be looked at, so nobody knows whether it follows a store; "
          + "CAP_SYS_PTRACE is needed")
    }
    let unknowns = Unknowns()
    let namespaces = try MountNamespace.all(containing: ["/daemon-store"], unknowns)
    if let unknown = unknowns.holders.first {
      throw Refusal(
        path: "/proc", reason: "\(unknown), so what follows a store is unknown; run this again")
    }
    let known = PeerGroups(namespaces.lazy.compactMap(\.table))
    var followers: [Key: [Follower]] = [:]
    for namespace in namespaces where !namespace.isOwn {
      for (key, groups) in groups {
        // One that cannot be looked into may follow anything.
        guard namespace.table.map({ holdsItsOwn($0, of: groups, known, base: base) }) ?? true
        else { continue }
        followers[key, default: []].append(Follower(keeper: namespace.keeper))
      }
    }
    return followers
  }

  static func holdsItsOwn(
    _ table: MountTable, of groups: Set<Int>, _ known: PeerGroups, base: Mount
  ) -> Bool {
    let byID = Dictionary(table.mounts.map { ($0.id, $0) }) { first, _ in first }
    return table.mounts.contains { mount in
      guard !known.sources(of: mount).isDisjoint(with: groups) else { return false }
      guard let groundGroup = base.peerGroup, let parent = byID[mount.parent] else { return true }
      return !known.sources(of: parent).contains(groundGroup)
    }
  }
}
