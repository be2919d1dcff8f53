import Glibc
import DaemonStoreKernel

/// What `daemon-store startup` did, or with a dry run would do.
package struct StartupReport: Equatable, Sendable {
  package struct Entry: Equatable, Sendable {
    package let store: StoreName
    package let tree: StoreTree
    package let path: FilePath
    package let step: StoreStep
    /// Why `step` could not be carried out; nil when it was.
    package let failure: String?

    /// Why the store is not as it should be, in one line; nil when it is.
    package var problem: String? {
      if let failure { return failure }
      return switch step {
      case .refuse(let reason), .retain(let reason): "\(path): \(reason)"
      case .keep, .create, .repair, .remove: nil
      }
    }
  }

  /// In the order of the names, each store in both trees.
  package internal(set) var entries: [Entry] = []
  package let rejected: [Refusal]
  /// Whether there is no `/etc/daemon-store`: no stores, and nothing wrong.
  package let hasNoTemplates: Bool

  /// The stores that are not as they should be, each with the reason in one line.
  package var problems: [String] {
    rejected.map(\.description) + entries.compactMap(\.problem)
  }
}

/// Turns each template into a shared mount, and brings into order what is not. Repeating it changes
/// nothing, and keeps the peer groups that running jails follow.
package enum Startup {
  /// - Parameters:
  ///   - only: the stores to set up, when a login finds them missing; nothing is removed then.
  ///   - dryRun: find out the steps, and take none.
  /// - Throws: what stops all stores: an unreadable mount table, a `/run` that others can write.
  package static func run(
    _ layout: Layout, templates: Templates, only: Set<StoreName>? = nil, dryRun: Bool = false
  ) throws -> StartupReport {
    var report = StartupReport(
      rejected: templates.rejected, hasNoTemplates: templates.isMissing)
    let uses = StoreUses(layout)
    if dryRun {
      for tree in StoreTree.allCases {
        guard let visible = try existing(tree, layout) else {
          report.entries += templates.valid.map {
            entry($0.name, tree, layout, .create)
          }
          continue
        }
        let plan = try plan(tree, layout, visible, underlying: visible, templates, only: only, uses)
        report.entries += plan.stores.map { entry($0.store, tree, layout, $0.step) }
      }
    } else {
      // Where there is no template yet, the store of the first one has a place then.
      let trees = try OpenTrees(making: layout)
      let lock = try trees.lock(for: LockTimeout.boot)
      // All is decided before anything is done: a store goes from both trees, or from none.
      let plans = try StoreTree.allCases.map { tree in
        try plan(
          tree, layout, trees[tree].visible, underlying: trees[tree].underlying.root, templates,
          only: only, uses)
      }
      var kept: Set<StoreName> = []
      for (tree, plan) in zip(StoreTree.allCases, plans) {
        carryOut(plan.stores, in: trees[tree], layout, templates, &kept, into: &report)
      }
      lock.release()
    }
    report.entries.sort { $0.store < $1.store }  // stable: data before cache
    return report
  }

  static func existing(_ tree: StoreTree, _ layout: Layout) throws -> Directory? {
    do {
      return try Directory(opening: layout.root).trusted("run/\(tree.name)")
    } catch let error as SystemError where error.code == ENOENT {
      return nil
    }
  }

  private static func entry(
    _ store: StoreName, _ tree: StoreTree, _ layout: Layout, _ step: StoreStep,
    failure: String? = nil
  ) -> StartupReport.Entry {
    StartupReport.Entry(
      store: store, tree: tree, path: layout.path(of: store, in: tree), step: step,
      failure: failure)
  }

  /// What is found in one tree, and what is to be done.
  static func plan(
    _ tree: StoreTree, _ layout: Layout, _ visible: borrowing Directory,
    underlying: borrowing Directory, _ templates: Templates, only: Set<StoreName>?,
    _ uses: StoreUses
  ) throws -> TreePlan {
    let mounts = try TreeMounts(
      .current(), directory: visible.path, baseID: try visible.status().mountID)
    let groups = Dictionary(
      uniqueKeysWithValues: templates.valid.map { ($0.name, $0.group) })
    let there = Set(try underlying.names().compactMap { StoreName($0) })
    let wanted = (only ?? there.union(groups.keys)).filter { !templates.leaves($0) }
    let stores = try wanted.sorted().map { store in
      let place = StorePlace(
        path: layout.path(of: store, in: tree), entry: try entry(at: store, in: underlying),
        mounts: mounts.at(store), below: mounts.below(store))
      let step = try StorePlan.step(for: place, group: groups[store], base: mounts.base) {
        try uses.use(of: store, among: wanted.filter { groups[$0] == nil })
      }
      return PlannedStore(store: store, place: place, step: step)
    }
    return TreePlan(base: mounts.base, stores: stores)
  }

  /// The stores of the templates that are not as they should be, in one tree or the other.
  static func outOfOrder(
    _ trees: OpenTrees, _ layout: Layout, _ templates: Templates
  ) throws -> Set<StoreName> {
    var stores: Set<StoreName> = []
    for tree in StoreTree.allCases {
      let plan = try plan(
        tree, layout, trees[tree].visible, underlying: trees[tree].underlying.root, templates,
        only: Set(templates.valid.map(\.name)), StoreUses(layout))
      for planned in plan.stores where planned.step != .keep { stores.insert(planned.store) }
    }
    return stores
  }

  private static func entry(
    at store: StoreName, in underlying: borrowing Directory
  ) throws(SystemError) -> StorePlace.Entry {
    guard let status = try underlying.status(of: store.path) else { return .absent }
    return status.isDirectory ? .directory(status) : .other(status.kind)
  }

  private static func carryOut(
    _ planned: [PlannedStore], in open: OpenTree, _ layout: Layout,
    _ templates: Templates, _ kept: inout Set<StoreName>, into report: inout StartupReport
  ) {
    let groups = Dictionary(
      uniqueKeysWithValues: templates.valid.map { ($0.name, $0.group) })
    for (store, step) in planned.map({ ($0.store, $0.step) }) {
      var failure: String?
      do {
        guard step != .remove || !kept.contains(store) else {
          throw Refusal(
            path: layout.path(of: store, in: open.tree),
            reason: "stays as long as its cache store does")
        }
        try take(step, store, group: groups[store], in: open)
      } catch {
        failure = "\(error)"
        kept.insert(store)
      }
      report.entries.append(entry(store, open.tree, layout, step, failure: failure))
    }
  }

  private static func take(
    _ step: StoreStep, _ store: StoreName, group: gid_t?, in open: OpenTree
  ) throws(SystemError) {
    let name = store.path
    switch (step, group) {
    case (.create, let group?):
      try open.underlying.root.makeDirectory(name)
      try own(name, group, in: open)
      try self.mount(name, in: open)
    case (.repair(let repairs), let group?):
      try own(name, group, in: open)
      let store = try open.visible.directory(name)
      let regroup = repairs.contains(.foreignGroup)
      try setMountAttributes(
        store.descriptor, StorePlan.attributes, propagation: regroup ? .private : nil,
        shown: store.path)
      if regroup || repairs.contains(.unshared) {
        try setMountAttributes(store.descriptor, [], propagation: .shared, shown: store.path)
      }
    case (.remove, _):
      let isMounted = try open.visible.status(of: name)?.isMountRoot == true
      if isMounted { try open.visible.unmount(name) }
      do {
        // Those of logins that were killed: nothing is mounted on them.
        for user in try open.users(in: store) {
          try open.underlying.root.removeDirectory("\(name)/\(user)")
        }
        try open.underlying.root.removeDirectory(name)
      } catch {
        if isMounted { _ = try? self.mount(name, in: open) }  // the first error is what counts
        throw error
      }
    case (.keep, _), (.retain, _), (.refuse, _), (.create, nil), (.repair, nil): break
    }
  }

  private static func mount(_ name: FilePath, in open: OpenTree) throws(SystemError) {
    let source = try open.visible.directory(name, crossingMounts: false)
    let mount = try DetachedMount(cloning: source.descriptor, shown: source.path)
    // The clone is a peer of `/run` where that is shared: out of that group, into a new one.
    try mount.set(StorePlan.attributes, propagation: .private)
    try mount.set(propagation: .shared)
    try mount.attach(on: name, in: open.visible)
  }

  private static func own(
    _ name: FilePath, _ group: gid_t, in open: OpenTree
  ) throws(SystemError) {
    try open.underlying.root.directory(name).set(
      owner: 0, group: group, mode: StorePlan.permissions)
  }
}
