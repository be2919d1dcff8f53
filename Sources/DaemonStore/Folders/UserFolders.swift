import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// What became of a user's folder in one store.
package struct FolderReport: Equatable, Sendable {
  package enum Outcome: Equatable, Sendable {
    case mounted
    /// It was mounted before.
    case present
    /// Why the user has no folder in this store now.
    case failed(String)
  }

  package let store: StoreName
  package let tree: StoreTree
  /// `/run/daemon-store/D/H`.
  package let path: FilePath
  package internal(set) var outcome: Outcome
  /// What was not as the template has it, and was put right.
  package internal(set) var repairs: [String] = []
}

/// A user's folders in all stores, built but not shown: nobody sees anything of it before
/// ``attach()``, and a value that is dropped leaves nothing.
package struct PreparedFolders: ~Copyable {
  /// In the order of the names, each store in both trees.
  package private(set) var reports: [FolderReport] = []
  /// What was wrong with stores, and was put right.
  package let storeRepairs: [String]
  /// Templates that are none although their store is there; or all of them, if nobody knows them.
  package let rejected: [Refusal]

  private let user: ObfuscatedUsername
  private let layout: Layout
  private let trees: OpenTrees
  /// `…/H/mount/root` and `root/.cache`.
  private let root: Directory
  private let caches: Directory
  private var pending: [Pending] = []
  /// What no descriptor was left for: built when those before are shown.
  private var postponed: [(report: Int, template: Template)] = []

  private final class Pending {
    let report: Int
    var mount: DetachedMount?
    init(report: Int, mount: consuming DetachedMount) {
      self.report = report
      self.mount = consume mount
    }
  }

  /// Makes the sources in `root`, the directory `…/H/mount/root`, or gives them the template's
  /// owner and mode, and clones them. A store that is not in order is brought into order. One store
  /// that fails is one report; the others go on.
  package init(
    of user: ObfuscatedUsername, in root: borrowing Directory, layout: Layout,
    templates: Templates
  ) throws {
    let trees = try OpenTrees(making: layout)
    let (failures, repairs) = try Self.bringIntoOrder(trees, layout, templates)
    // From here on no lock is held but the user's: a login that stops or waits delays no other.
    let refused = try templates.rejected.filter { refusal in
      try templates.isUnknown
        || templates.rejectedNames.contains {
          try refusal.path.dropping(suffix: "/\($0.description)") != nil
            && trees[.data].hasStore($0)
        }
    }
    let data = try root.file(".", flags: LINUX_O_PATH | O_DIRECTORY)
    let cache = try root.directory(".cache", crossingMounts: false)
    self.root = Directory(owning: data, path: root.path)
    caches = consume cache
    self.trees = trees
    self.user = user
    self.layout = layout
    storeRepairs = repairs
    rejected = refused

    for template in templates.valid {
      for tree in StoreTree.allCases {
        // A store that failed is one problem.
        if failures[template.name] != nil && tree == .cache { continue }
        reports.append(
          FolderReport(
            store: template.name, tree: tree,
            path: layout.path(of: user, in: template.name, tree),
            outcome: .failed(failures[template.name] ?? "")))
        if failures[template.name] == nil { prepare(reports.count - 1, template) }
      }
    }
  }

  /// Brings the stores into order that are not: their templates appeared after boot, or they have
  /// drifted. Only then the lock of the stores is taken, and what is done under it does not touch
  /// the user's vault. Returns why it did not work, and what was repaired.
  private static func bringIntoOrder(
    _ trees: OpenTrees, _ layout: Layout, _ templates: Templates
  ) throws -> (failures: [StoreName: String], repairs: [String]) {
    let stores = try Startup.outOfOrder(trees, layout, templates)
    guard !stores.isEmpty else { return ([:], []) }
    var failures: [StoreName: String] = [:]
    var repairs: [String] = []
    let entries: [StartupReport.Entry]
    do {
      entries = try Startup.run(layout, templates: templates, only: stores).entries
    } catch {
      // Another process has the lock for too long, say. The other stores do not need it.
      for store in stores { failures[store] = "\(error)" }
      return (failures, [])
    }
    for entry in entries {
      if let problem = entry.problem {
        failures[entry.store] = failures[entry.store] ?? problem
      } else if case .repair(let done) = entry.step {
        repairs += done.map { "\(entry.path): \($0.description)" }
      }
    }
    return (failures, repairs)
  }

  private mutating func prepare(_ report: Int, _ template: Template) {
    let tree = reports[report].tree
    do {
      let source = try source(of: template, tree)
      reports[report].repairs = source.repairs
      guard try trees[tree].isFree(template.name, user, for: source.identity) else {
        reports[report].outcome = .present
        return
      }
      let mount = try DetachedMount(
        cloning: source.directory.descriptor, shown: source.directory.path)
      // Its attributes now: those that are set later do not reach the copies in jails. Private
      // takes it out of the group of `/home`; in the store it gets a group of its own.
      try mount.set(.data, propagation: .private)
      pending.append(Pending(report: report, mount: mount))
      reports[report].outcome = .mounted
    } catch {
      reports[report].outcome = .failed("\(error)")
      if (error as? SystemError)?.code == EMFILE { postponed.append((report, template)) }
    }
  }

  private func source(of template: Template, _ tree: StoreTree) throws -> OwnedDirectory {
    let name = template.name.path
    return switch tree {
    case .data:
      try OwnedDirectory(
        name, in: root, owner: template.owner, group: template.group, mode: template.permissions)
    case .cache:
      try OwnedDirectory(
        name, in: caches, owner: template.owner, group: template.group,
        mode: template.permissions)
    }
  }

  /// Shows what was built. What cannot be shown is reported, and leaves no directory behind.
  package mutating func attach() {
    while !pending.isEmpty {
      for entry in pending {
        guard let mount = entry.mount.take() else { continue }
        let report = reports[entry.report]
        do {
          try trees[report.tree].attach(mount, of: user, in: report.store)
        } catch {
          reports[entry.report].outcome = .failed("\(error)")
        }
      }
      pending = []
      let next = postponed
      postponed = []
      for (report, template) in next { prepare(report, template) }
    }
  }
}

extension OpenTree {
  /// Whether the store is set up: mounted, and of its own directory.
  func hasStore(_ store: StoreName) throws(SystemError) -> Bool {
    guard let status = try visible.status(of: store.path), status.isMountRoot else {
      return false
    }
    return try underlying.root.status(of: store.path)?.identity == status.identity
  }

  /// Whether nothing is mounted yet at `/run/daemon-store/D/H`; false when `source` is.
  func isFree(
    _ store: StoreName, _ user: ObfuscatedUsername, for source: FileIdentity
  ) throws -> Bool {
    let name: FilePath = "\(store)/\(user)"
    guard let status = try visible.status(of: name) else { return true }
    if status.isMountRoot {
      guard status.identity == source else {
        throw Refusal(
          path: visible.path(of: name), reason: "something else is mounted there; unmount it")
      }
      return false
    }
    guard status.isDirectory else {
      throw Refusal(
        path: visible.path(of: name), reason: "is \(status.kind), not a directory; remove it")
    }
    guard try visible.directory(name).names().isEmpty else {
      throw Refusal(
        path: visible.path(of: name),
        reason: "holds files that were written while nothing was mounted; move them away")
    }
    return true
  }

  /// The root of the store's mount. As long as it is open the store is not unmounted, and to one that
  /// was detached the kernel attaches nothing. So it is the store that was looked at, without a lock.
  private func open(_ store: StoreName) throws -> Directory {
    let reason = "is no store any more; run this again"
    guard try visible.status(of: store.path) != nil else {
      throw Refusal(path: visible.path(of: store.path), reason: reason)
    }
    let directory = try visible.directory(store.path)
    let status = try directory.status()
    // On bare `/run` no jail would follow.
    guard status.isMountRoot,
      try underlying.root.status(of: store.path)?.identity == status.identity
    else { throw Refusal(path: directory.path, reason: reason) }
    return directory
  }

  /// Makes the mount point and attaches the mount. The point can only be made underlying: a store
  /// is read-only, so that nobody writes where a user's folder is not mounted yet.
  func attach(
    _ mount: consuming DetachedMount, of user: ObfuscatedUsername, in store: StoreName
  ) throws {
    let directory = try open(store)
    let name: FilePath = "\(store)/\(user)"
    try underlying.root.makeDirectory(name, mode: 0)
    do {
      try mount.attach(on: user.path, in: directory)
    } catch {
      _ = try? underlying.root.removeDirectory(name)  // the first error is the one that counts
      throw error
    }
  }
}
