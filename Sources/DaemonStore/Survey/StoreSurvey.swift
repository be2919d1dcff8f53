import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// What is seen of the stores of this machine at one moment: from the templates, and from the mount
/// tables of all namespaces.
package struct StoreSurvey: Sendable {
  package let templates: Templates
  /// In the order of the names, each store in both trees.
  package let stores: [SurveyedStore]
  /// Those that cannot be looked into, and may have any store.
  package let closed: [MountNamespace.Keeper]
  /// Those of which nobody can tell which namespace they are in.
  package let hidden: [ProcessName]
  /// That of other mount namespaces not all was seen.
  let unseen: [Finding]

  /// - Parameter isThorough: whether namespaces count that have the directories around a store and
  ///   not the store. It takes longer: more mount tables are parsed.
  package init(of layout: Layout, isThorough: Bool = false) throws {
    let templates = try Templates.read(layout)
    let uses = StoreUses(layout)
    var plans: [(tree: StoreTree, plan: TreePlan)] = []
    for tree in StoreTree.allCases {
      guard let visible = try Startup.existing(tree, layout) else { continue }
      let plan = try Startup.plan(
        tree, layout, visible, underlying: visible, templates, only: nil, uses)
      plans.append((tree, plan))
    }
    let bases: [FilePath] = plans.map(\.plan.base.mount.device).map {
      " \(linux_major($0)):\(linux_minor($0)) "
    }
    let unknowns = Unknowns()
    let namespaces = try MountNamespace.all(
      containing: ["/daemon-store"] + (isThorough ? bases : []), unknowns)
    let tables = try MountTables(namespaces, isThorough: isThorough, unknowns)
    var stores: [SurveyedStore] = []
    for template in templates.valid {
      for tree in StoreTree.allCases where !plans.contains(where: { $0.tree == tree }) {
        stores.append(SurveyedStore(missing: template, tree, layout))
      }
    }
    for (tree, plan) in plans {
      let base = SeenBase(plan.base, layout.directory(of: tree), tables)
      for planned in plan.stores {
        let template = templates.valid.first { $0.name == planned.store }
        stores.append(SurveyedStore(planned, tree, template, base, tables))
      }
    }
    self.templates = templates
    self.stores = stores.sorted {
      ($0.name, $0.tree == .data ? 0 : 1) < ($1.name, $1.tree == .data ? 0 : 1)
    }
    closed = namespaces.filter { $0.table == nil }.map { $0.keeper }
    hidden = try Processes.hidden()
    unseen = unknowns.findings
  }
}

/// A store in one tree.
package struct SurveyedStore: Sendable {
  package let name: StoreName
  package let tree: StoreTree
  /// `/run/daemon-store/D`.
  package let path: FilePath
  /// nil for a store that has none any more.
  package let template: Template?
  /// What a startup would do.
  package let step: StoreStep
  let place: StorePlace
  /// What the directory of the store belongs to; nil where there is none.
  package let directory: FileStatus?
  /// nil where it is not mounted, or not shared.
  package let peerGroup: Int?
  /// Whether it is in the peer group of the mount around it.
  let isInForeignGroup: Bool
  /// Those who are mounted in it here.
  package let users: [ObfuscatedUsername]
  /// How other mount namespaces have it, each once.
  package let views: [StoreView]

  package var isMounted: Bool { !place.mounts.isEmpty }

  /// Whether it is as it should be.
  package var isHealthy: Bool { step == .keep }

  init(missing template: Template, _ tree: StoreTree, _ layout: Layout) {
    name = template.name
    self.tree = tree
    path = layout.path(of: template.name, in: tree)
    self.template = template
    step = .create
    place = StorePlace(path: path, entry: .absent, mounts: [], below: [])
    directory = nil
    peerGroup = nil
    isInForeignGroup = false
    users = []
    views = []
  }

  fileprivate init(
    _ planned: PlannedStore, _ tree: StoreTree, _ template: Template?, _ base: SeenBase,
    _ tables: MountTables
  ) {
    name = planned.store
    self.tree = tree
    path = planned.place.path
    self.template = template
    step = planned.step
    place = planned.place
    if case .directory(let status) = place.entry { directory = status } else { directory = nil }
    peerGroup = place.mounts.last?.peerGroup
    isInForeignGroup = peerGroup != nil && peerGroup == base.base.mount.peerGroup
    let folders = tables.folders(in: place)
    users = folders.keys.sorted()
    views = base.views(of: name, at: place, tables, owner: template?.owner, folders: folders)
  }
}

/// All mount tables, made ready to be asked for many stores.
private struct MountTables {
  let own: MountTable
  let others: [(namespace: MountNamespace, mounts: NamespaceMounts)]
  /// Our own mounts by what they are mounted in.
  private let children: [UInt64: [Mount]]
  let groups: PeerGroups
  let isThorough: Bool
  /// Of each namespace the users who run something in it, each with one process.
  private let owners: [UInt64: [uid_t: pid_t]]

  init(_ namespaces: [MountNamespace], isThorough: Bool, _ unknowns: Unknowns) throws {
    own = try MountTable.current()
    children = Dictionary(grouping: own.mounts, by: \.parent)
    others = namespaces.compactMap { namespace in
      guard !namespace.isOwn, let table = namespace.table, !table.mounts.isEmpty else { return nil }
      return (namespace, NamespaceMounts(table))
    }
    groups = PeerGroups(namespaces.lazy.compactMap(\.table))
    self.isThorough = isThorough
    owners = isThorough ? try NamespaceUsers.all(unknowns) : [:]
  }

  /// The users' folders that are mounted at the place of a store.
  func folders(in place: StorePlace) -> [ObfuscatedUsername: Mount] {
    guard let store = place.mounts.last else { return [:] }
    let prefix: FilePath = "\(place.path)/"
    let folders = (children[store.id] ?? []).compactMap { mount -> (ObfuscatedUsername, Mount)? in
      guard
        let user = mount.target.dropping(prefix: prefix).flatMap({ ObfuscatedUsername($0.bytes) })
      else { return nil }
      return (user, mount)
    }
    return Dictionary(folders) { _, last in last }
  }

  func daemon(of owner: uid_t?, in namespace: MountNamespace) -> ProcessName? {
    guard let owner, owner != 0, let id = namespace.id else { return nil }
    return owners[id]?[owner].map { ProcessName($0) }
  }
}

/// The mount that a tree of stores is on, and how others have it.
private struct SeenBase {
  let base: StoreBase
  /// Of each other namespace: the path of the tree's directory in it, if it shows that, and whether
  /// it got there by a bind.
  let directories: [(path: FilePath, isOwnBind: Bool)?]

  init(_ base: StoreBase, _ directory: FilePath, _ tables: MountTables) {
    self.base = base
    let device = base.mount.device
    let root = base.root(of: "\(directory)")
    let parent = tables.own.mounts.first { $0.id == base.mount.parent }
    let place = parent.map {
      (root: StoreBase(mount: $0).root(of: base.mount.target), device: $0.device)
    }
    directories = tables.others.map { other in
      guard tables.isThorough, let around = other.mounts.around(root, on: device) else {
        return nil
      }
      // Where nothing is around the mount, a copy of it has nothing around it.
      let isInherited =
        place.map { other.mounts.isInherited(around.mount, at: $0.root, on: $0.device) }
        ?? (around.mount.target == base.mount.target)
      return (around.path, !isInherited)
    }
  }

  func views(
    of store: StoreName, at place: StorePlace, _ tables: MountTables, owner: uid_t?,
    folders: [ObfuscatedUsername: Mount]
  ) -> [StoreView] {
    let device = base.mount.device
    let root = base.root(of: "\(place.path)")
    return zip(tables.others, directories).compactMap { other, directory in
      // What was bound for its own sake counts more, and then what is on top.
      let candidates = other.mounts.mounts(of: root, on: device).map {
        (mount: $0, isOwnBind: !other.mounts.isInherited($0, at: root, on: device))
      }
      let daemon = tables.daemon(of: owner, in: other.namespace)
      if let chosen = candidates.last(where: \.isOwnBind) ?? candidates.last {
        return StoreView(
          keeper: other.namespace.keeper,
          role: StoreRole(
            of: chosen.mount, group: place.mounts.last?.peerGroup, tables.groups),
          isOwnBind: chosen.isOwnBind, path: chosen.mount.target,
          users: other.mounts.shown(folders, in: chosen.mount), daemon: daemon)
      }
      // A store that is mounted later may arrive by way of the mount around it.
      guard !place.mounts.isEmpty else { return nil }
      return directory.map {
        StoreView(
          keeper: other.namespace.keeper, role: .bareDirectory, isOwnBind: $0.isOwnBind,
          path: "\($0.path)/\(store)",
          users: [], daemon: daemon)
      }
    }
  }
}
