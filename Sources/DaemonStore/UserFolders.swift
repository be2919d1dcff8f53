import Glibc
import Kernel
import MountTable

/// What became of a user's folder in one store.
public struct FolderReport: Equatable, Sendable {
  public enum Outcome: Equatable, Sendable {
    case mounted
    /// It was mounted before.
    case present
    /// Why the user has no folder in this store now.
    case failed(String)
  }

  public let store: StoreName
  public let tree: StoreTree
  /// `/run/daemon-store/D/H`.
  public let path: String
  public internal(set) var outcome: Outcome
  /// What was not as the template has it, and was put right.
  public let repairs: [String]
}

/// A user's folders in all stores, built but not shown: nobody sees anything of it before
/// ``attach()``, and a value that is dropped leaves nothing.
public struct PreparedFolders: ~Copyable {
  /// In the order of the names, each store in both trees.
  public private(set) var reports: [FolderReport] = []
  /// What is wrong with templates, and so concerns no folder.
  public let rejected: [Refusal]

  private let user: ObfuscatedUsername
  private let trees: OpenTrees
  private let lock: FileLock
  private var pending: [Pending] = []

  private final class Pending {
    let report: Int
    var mount: DetachedMount?
    init(report: Int, mount: consuming DetachedMount) {
      self.report = report
      self.mount = consume mount
    }
  }

  /// Makes the sources in `root`, the directory `…/H/mount/root`, or gives them the template's
  /// owner and mode, and clones them. A store that is not set up is set up. One store that fails
  /// is one report; the others go on.
  public init(
    of user: ObfuscatedUsername, in root: borrowing Directory, layout: Layout,
    templates: Templates
  ) throws {
    let trees = try OpenTrees(making: layout)
    let failures = try Self.setUpMissing(trees, layout, templates)
    let caches = try root.directory(".cache", crossingMounts: false)
    lock = try trees.lock()
    self.trees = trees
    self.user = user
    rejected = templates.rejected

    for template in templates.valid {
      if let failure = failures[template.name] {
        add(template.name, .data, layout, .failed(failure))
        continue
      }
      prepare(template, .data, from: root, layout)
      prepare(template, .cache, from: caches, layout)
    }
  }

  /// Sets up the stores whose templates appeared after boot; returns why it did not work.
  private static func setUpMissing(
    _ trees: OpenTrees, _ layout: Layout, _ templates: Templates
  ) throws -> [StoreName: String] {
    var missing: Set<StoreName> = []
    for template in templates.valid {
      for tree in StoreTree.allCases where try !trees[tree].hasStore(template.name) {
        missing.insert(template.name)
      }
    }
    guard !missing.isEmpty else { return [:] }
    var failures: [StoreName: String] = [:]
    for entry in try Startup.run(layout, templates: templates, only: missing).entries {
      guard let problem = entry.problem else { continue }
      failures[entry.store] = failures[entry.store] ?? problem
    }
    return failures
  }

  private mutating func add(
    _ store: StoreName, _ tree: StoreTree, _ layout: Layout, _ outcome: FolderReport.Outcome,
    repairs: [String] = []
  ) {
    reports.append(
      FolderReport(
        store: store, tree: tree, path: layout.path(of: user, in: store, tree),
        outcome: outcome, repairs: repairs))
  }

  private mutating func prepare(
    _ template: Template, _ tree: StoreTree, from parent: borrowing Directory, _ layout: Layout
  ) {
    do {
      let source = try OwnedDirectory(
        template.name.description, in: parent, owner: template.owner, group: template.group,
        mode: template.permissions)
      // Again, under the lock: on bare `/run` no jail would follow.
      guard try trees[tree].hasStore(template.name) else {
        throw Refusal(
          path: layout.path(of: template.name, in: tree),
          reason: "is no store any more; run this again")
      }
      guard try trees[tree].isFree(template.name, user, for: source.identity) else {
        add(template.name, tree, layout, .present, repairs: source.repairs)
        return
      }
      let mount = try DetachedMount(
        cloning: source.directory.descriptor, shown: source.directory.path)
      // Its attributes now: those that are set later do not reach the copies in jails. Private
      // takes it out of the group of `/home`; in the store it gets a group of its own.
      try mount.set(.data, propagation: .private)
      pending.append(Pending(report: reports.count, mount: mount))
      add(template.name, tree, layout, .mounted, repairs: source.repairs)
    } catch {
      add(template.name, tree, layout, .failed("\(error)"))
    }
  }

  /// Shows what was built. What cannot be shown is reported, and leaves no directory behind.
  public mutating func attach() {
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
  }
}

extension OpenTree {
  /// Whether the store is set up: mounted, and of its own directory.
  func hasStore(_ store: StoreName) throws(SystemError) -> Bool {
    guard let status = try front.status(of: store.description), status.isMountRoot else {
      return false
    }
    return try backstage.root.status(of: store.description)?.identity == status.identity
  }

  /// Whether nothing is mounted yet at `/run/daemon-store/D/H`; false when `source` is.
  func isFree(
    _ store: StoreName, _ user: ObfuscatedUsername, for source: FileIdentity
  ) throws -> Bool {
    let name = "\(store)/\(user)"
    guard let status = try front.status(of: name) else { return true }
    if status.isMountRoot {
      guard status.identity == source else {
        throw Refusal(
          path: front.path(of: name), reason: "something else is mounted there; unmount it")
      }
      return false
    }
    guard status.isDirectory else {
      throw Refusal(
        path: front.path(of: name), reason: "is \(status.kind), not a directory; remove it")
    }
    guard try front.directory(name).names().isEmpty else {
      throw Refusal(
        path: front.path(of: name),
        reason: "holds files that were written while nothing was mounted; move them away")
    }
    return true
  }

  /// Makes the mount point and attaches the mount. The point can only be made backstage: a store
  /// is read-only, so that nobody writes where a user's folder is not mounted yet.
  func attach(
    _ mount: consuming DetachedMount, of user: ObfuscatedUsername, in store: StoreName
  ) throws(SystemError) {
    let name = "\(store)/\(user)"
    try backstage.root.makeDirectory(name, mode: 0)
    do {
      try mount.attach(on: name, in: front)
    } catch {
      _ = try? backstage.root.removeDirectory(name)  // the first error is the one that counts
      throw error
    }
  }
}
