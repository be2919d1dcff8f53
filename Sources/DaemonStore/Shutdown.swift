import Glibc
import Kernel
import MountTable

/// What `daemon-store shutdown` did.
public struct ShutdownReport: Sendable {
  /// The jails for whose sake nothing was done; empty when it went ahead.
  public internal(set) var followers: [Follower] = []
  public internal(set) var removals: [Removal] = []
  public internal(set) var holders: [Holder] = []

  /// What is still there, each in one line.
  public var held: [String] {
    removals.compactMap { removal in
      guard case .held(let reason) = removal.outcome else { return nil }
      return reason
    }
  }
}

/// Unmounts every user's folders, then the stores.
public enum Shutdown {
  /// - Parameter force: go on although jails follow the stores, and will never see a login again.
  public static func run(_ layout: Layout, force: Bool) throws -> ShutdownReport {
    var report = ShutdownReport()
    guard let trees = try OpenTrees(existingIn: layout) else { return report }
    if !force {
      report.followers = try followers(of: trees)
      guard report.followers.isEmpty else { return report }
    }
    for user in try UserFolders.users(of: layout) {
      // Without a vault there is nothing to tell the user's mounts from others by.
      let subtree = try? subtree(of: user, layout)
      let own = try subtree?.views().first { $0.isOwn }
      let ours = own.map { Set($0.shown.map { UInt64($0.mount.id) }) }
      let removals = try UserFolders.remove(user, from: layout, lazily: false) {
        ours?.contains($0.mountID) != false
      }
      report.removals += removals
      if removals.contains(where: \.isHeld) {
        report.holders += try subtree?.holders() ?? []
      }
    }
    let lock = try trees.lock()
    for tree in StoreTree.allCases.reversed() {
      for store in try trees[tree].stores().reversed() {
        try remove(store, from: trees[tree], into: &report)
      }
    }
    lock.release()
    return report
  }

  private static func followers(of trees: OpenTrees) throws -> [Follower] {
    let table = try MountTable.current()
    var found: [MountNamespace.Keeper: Follower] = [:]
    for tree in StoreTree.allCases.map({ trees[$0] }) {
      let mounts = try TreeMounts(
        table, directory: tree.front.path, groundID: try tree.front.status().mountID)
      let stores = try tree.stores().flatMap { mounts.at($0) }
      for follower in try Followers.of(stores, ground: mounts.ground.mount) {
        found[follower.keeper] = follower
      }
    }
    return found.values.sorted { $0.description < $1.description }
  }

  private static func subtree(
    of user: ObfuscatedUsername, _ layout: Layout
  ) throws -> UserSubtree {
    let vault = try Directory(opening: "\(layout.shadow)/\(user)/mount")
    return try UserSubtree(of: user, vault: vault, in: layout, table: .current())
  }

  private static func remove(
    _ store: StoreName, from tree: OpenTree, into report: inout ShutdownReport
  ) throws {
    let name = store.description
    let identity = try tree.backstage.root.status(of: name)?.identity
    guard let removal = tree.front.clear(name, lazily: false, isOurs: { $0.identity == identity })
    else { return }
    report.removals.append(removal)
    if removal.isHeld {
      // By its users' folders, which are named already, or by somebody in the store itself.
      var search = HolderSearch { name, directory in directory.identity(behind: name) == identity }
      report.holders += try search.processes()
      return
    }
    do {
      try tree.backstage.root.removeDirectory(name)
    } catch {
      report.removals.append(
        Removal(path: tree.front.path(of: name), outcome: .held("\(error)")))
    }
  }
}
