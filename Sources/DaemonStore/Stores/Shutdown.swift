import Glibc
import DaemonStoreKernel

/// What `daemon-store shutdown` did.
package struct ShutdownReport: Sendable {
  /// The jails for whose sake nothing was done; empty when it went ahead.
  package internal(set) var followers: [Follower] = []
  package internal(set) var removals: [Removal] = []
  /// What other namespaces kept of users' folders for themselves, and is gone now.
  package internal(set) var detachedCopies: [DetachedCopies] = []
  /// Who uses a store, or a user's folder, still.
  package internal(set) var holders: [Holder] = []
  /// What failed after something was unmounted, each in one line.
  package internal(set) var problems: [String] = []

  /// The directories of the stores that other users than root can change.
  package internal(set) var distrusted: [Refusal] = []

  /// What is still there or not as it should be, each in one line.
  package var held: [String] {
    removals.compactMap(\.reason) + distrusted.map(\.description)
  }

  package var isComplete: Bool { held.isEmpty && holders.isEmpty && problems.isEmpty }

  /// Whether anything is gone that was there before.
  var hasRemoved: Bool { removals.contains { !$0.isHeld } || !detachedCopies.isEmpty }
}

/// Unmounts every user's folders, then the stores.
package enum Shutdown {
  /// A failure concerns one user or one store: the others are unmounted all the same.
  ///
  /// - Parameter force: go on although jails follow the stores, and will never see a login again.
  /// - Throws: when nothing was unmounted; the first error.
  package static func run(_ layout: Layout, force: Bool) throws -> ShutdownReport {
    var report = ShutdownReport()
    let distrusted = layout.distrustedStores()
    guard let trees = try OpenTrees(existingIn: layout) else { return report }
    if !force {
      report.followers = try followers(of: trees)
      guard report.followers.isEmpty else { return report }
    }
    var errors: [any Error] = []
    func attempt(_ body: () throws -> Void) {
      do { try body() } catch { errors.append(error) }
    }
    // A store that an earlier run has unmounted in one tree is in the other still.
    let stores = Set(try StoreTree.allCases.flatMap { try trees[$0].stores() })
    let users = try UserFolders.users(of: layout)
    // Those who are logged in or out at this moment come last, and share one time to wait.
    let busy = Set(try users.filter { try isLocked($0, layout) })
    let deadline = ContinuousClock.now + LockTimeout.logout
    for user in users.filter({ !busy.contains($0) }) + users.filter(busy.contains) {
      attempt {
        // A logout at the same time would take us for somebody who keeps the user's vault.
        try locked(user, layout, until: deadline) {
          try remove(user, layout, stores: stores, into: &report)
        }
      }
    }
    attempt {
      let lock = try trees.lock(for: LockTimeout.logout)
      for tree in StoreTree.allCases.reversed() {
        for store in try trees[tree].stores().reversed() {
          attempt { try remove(store, from: trees[tree], into: &report) }
        }
      }
      lock.release()
    }
    if let first = errors.first, !report.hasRemoved { throw first }
    report.problems = errors.map { "\($0)" }
    report.distrusted = distrusted
    return report
  }

  private static func followers(of trees: OpenTrees) throws -> [Follower] {
    let table = try MountTable.current()
    var found: [MountNamespace.Keeper: Follower] = [:]
    for tree in StoreTree.allCases.map({ trees[$0] }) {
      let mounts = try TreeMounts(
        table, directory: tree.visible.path, baseID: try tree.visible.status().mountID)
      let stores = try tree.stores().flatMap { mounts.at($0) }
      for follower in try Followers.of(stores, base: mounts.base.mount) {
        found[follower.keeper] = follower
      }
    }
    return found.values.sorted { $0.description < $1.description }
  }

  /// A user's folders go, and nothing else: the homes stay, and may be in use.
  private static func remove(
    _ user: ObfuscatedUsername, _ layout: Layout, stores: Set<StoreName>,
    into report: inout ShutdownReport
  ) throws {
    let subtree = try UserSubtree(of: user, in: layout)
    let roots = stores.flatMap {
      ["/root/\($0.description)", "/root/.cache/\($0.description)"] as [FilePath]
    }
    let audit = try UnmountAudit(of: subtree, lazily: false) { mount in
      guard let root = subtree.relativeRoot(of: mount) else { return false }
      return roots.contains { root.isAtOrBelow($0) }
    }
    let removals = UserFolders.remove(
      user, from: layout, lazily: false, isOurs: audit.mayGo)
    report.removals += removals
    let rest = try audit.rest(besides: Set(removals.filter(\.isHeld).map(\.path)))
    report.detachedCopies += rest.detachedCopies
    report.holders += rest.holders + (try subtree.holdersThroughMounts())
  }

  private static func remove(
    _ store: StoreName, from tree: OpenTree, into report: inout ShutdownReport
  ) throws {
    let name = store.path
    let identity = try tree.underlying.root.status(of: name)?.identity
    guard let removal = tree.visible.clear(name, lazily: false, isOurs: { $0.identity == identity })
    else { return }
    report.removals.append(removal)
    if removal.isHeld {
      // By its users' folders, which are named already, or by somebody in the store itself.
      var search = HolderSearch { file, _, _ in file.identity == identity }
      report.holders += try search.processes()
      return
    }
    do {
      try tree.underlying.root.removeDirectory(name)
    } catch {
      report.removals.append(Removal(path: tree.visible.path(of: name), failed: error))
    }
  }
}
