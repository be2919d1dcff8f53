import Glibc
import DaemonStoreKernel

/// One tree of stores, `/run/daemon-store` or its cache store, held open for changing it.
final class OpenTree {
  let tree: StoreTree
  /// As everybody sees it: with the stores mounted in it.
  let visible: Directory
  /// The same directory without anything mounted in it, and writable: a mount of its own that no
  /// path shows. Here the mount points are made that lie in a read-only store.
  let underlying: DetachedMount

  /// Opens the tree, which must be there.
  ///
  /// - Parameter isForRemoval: whether it does not matter who else can write it.
  init(opening tree: StoreTree, of layout: Layout, isForRemoval: Bool = false) throws {
    let root = try Directory(opening: layout.root)
    let visible =
      isForRemoval
      ? try root.directory("run/\(tree.name)") : try root.trusted("run/\(tree.name)")
    let underlying = try DetachedMount(cloning: visible.descriptor, shown: visible.path)
    // Private: what happens here is nobody's business, and what happens there is not ours.
    try underlying.set(propagation: .private)
    self.tree = tree
    self.visible = visible
    self.underlying = underlying
  }

  /// Opens the tree, made if need be, as is `/run`: root 0755.
  convenience init(making tree: StoreTree, of layout: Layout) throws {
    let root = try Directory(opening: layout.root)
    // An image may have none yet.
    if try root.status(of: "run") == nil, try root.makeDirectory("run") {
      try root.directory("run").set(owner: 0, group: 0, mode: 0o755)
    }
    let run = try root.trusted("run")
    if try run.makeDirectory(tree.name) {
      try run.directory(tree.name, crossingMounts: false).set(owner: 0, group: 0, mode: 0o755)
    }
    try self.init(opening: tree, of: layout)
  }
}

/// Both trees of stores, and the lock that a process holds while it changes stores.
struct OpenTrees {
  let data: OpenTree
  private let cache: OpenTree

  init(making layout: Layout) throws {
    data = try OpenTree(making: .data, of: layout)
    cache = try OpenTree(making: .cache, of: layout)
  }

  /// For taking something away. nil when there are none: no startup yet, or a shutdown before.
  init?(existingIn layout: Layout) throws {
    do {
      data = try OpenTree(opening: .data, of: layout, isForRemoval: true)
      cache = try OpenTree(opening: .cache, of: layout, isForRemoval: true)
    } catch let error as SystemError where error.code == ENOENT {
      return nil
    }
  }

  subscript(tree: StoreTree) -> OpenTree {
    switch tree {
    case .data: data
    case .cache: cache
    }
  }

  /// Waits until no other process changes stores, which takes milliseconds. The folders of users in
  /// them come and go without this lock.
  func lock(for timeout: Duration) throws -> FileLock {
    try FileLock.take(
      ".lock", in: data.visible, until: .now + timeout, for: "changing stores")
  }
}

/// What a mount table shows of one tree of stores.
struct TreeMounts {
  let base: StoreBase
  /// By the name of the store.
  private var stores: [StoreName: (at: [Mount], below: [FilePath])] = [:]

  /// - Parameter baseID: the id of the mount that the directory of the tree is on.
  init(_ table: MountTable, directory: FilePath, baseID: UInt64) throws {
    guard let mount = table.mounts.first(where: { $0.id == baseID }) else {
      throw Refusal(path: directory, reason: missingMount)
    }
    base = StoreBase(mount: mount)
    let prefix: FilePath = "\(directory)/"
    for mount in table.mounts {
      guard let path = mount.target.dropping(prefix: prefix) else { continue }
      let first = path.bytes.prefix { $0 != UInt8(ascii: "/") }
      guard let name = StoreName(first) else { continue }
      if first.count == path.bytes.count {
        stores[name, default: ([], [])].at.append(mount)
      } else {
        stores[name, default: ([], [])].below.append(mount.target)
      }
    }
  }

  func at(_ name: StoreName) -> [Mount] { stores[name]?.at ?? [] }
  func below(_ name: StoreName) -> [FilePath] { stores[name]?.below ?? [] }
}

/// The mount that a directory is on is not in the mount table: it is being changed under us.
let missingMount = "its mount is not in the mount table; run this again"
