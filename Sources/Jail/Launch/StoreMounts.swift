import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// The daemon stores of a jail: slaves of the host's, in a tmpfs of their own, so that they alone
/// follow the host while the rest of the tree does as it likes.
///
/// A store is never a detached clone, which receives no mounts before Linux 6.15: a login would be
/// lost that happens while the jail starts. It is moved, or bound by mount(2).
final class StoreMounts {
  static let directory: FilePath = "/run/daemon-store"
  static let cacheDirectory: FilePath = "/run/daemon-store-cache"

  /// Where the rest of the tree waits meanwhile, and the second tmpfs; no store has such a name.
  private static let rest: FilePath = ".host"
  private static let cache: FilePath = ".cache"

  private let tree: SharedDescriptor
  private let cacheTree: SharedDescriptor
  private let host: SharedDescriptor
  /// The ids of the two mounts that the stores are in.
  let identifiers: Set<UInt64>

  /// That every store and its cache store are there to be shown, before anything is started.
  static func verify(_ names: [FilePath]) throws(JailError) {
    guard !names.isEmpty else { return }
    var table: [UInt64: Mount] = [:]
    for mount in try MountTable.ofThisThread().mounts { table[mount.id] = mount }
    for name in names {
      for directory in [directory, cacheDirectory] {
        let store = try open(name, in: directory)
        let id = try step("--daemon-store \(name)") { () throws(SystemError) in
          try store.descriptor.status(shown: "\(directory)/\(name)").mountID
        }
        if let problem = problem(with: table[id], at: "\(directory)/\(name)") {
          throw JailError("--daemon-store \(name): \(directory)/\(name): \(problem); \(hint)")
        }
      }
    }
  }

  private static let hint =
    "run `daemon-store startup`, with a template for it in /etc/daemon-store"

  /// What keeps a mount from being a store: another file system, one that can be written to, or one
  /// that no login would reach a jail from. nil where the table does not show it, as in a namespace
  /// without this `/proc`.
  private static func problem(with mount: Mount?, at path: FilePath) -> String? {
    guard let mount else { return nil }
    // The directory of the store, as its file system sees it: /run may be a part of another.
    guard let place = path.dropping(prefix: "/run"), mount.root.dropping(suffix: place) != nil
    else {
      return "something else is mounted there"
    }
    guard mount.attributes.contains(.readOnly) else { return "it can be written to" }
    return mount.peerGroup == nil && mount.master == nil
      ? "it is private, so that no login would arrive" : nil
  }

  private static func open(_ name: FilePath, in directory: FilePath) throws(JailError)
    -> SharedDescriptor
  {
    let path: FilePath = "\(directory)/\(name)"
    do {
      let store = try Descriptor(
        opening: path, flags: LINUX_O_PATH | O_DIRECTORY | O_NOFOLLOW)
      guard try store.status(shown: path).isMountRoot else {
        throw JailError("--daemon-store \(name): \(path): it is not a mount; \(hint)")
      }
      return SharedDescriptor(store)
    } catch let error as SystemError {
      let text = error.code == ENOENT ? "there is no such store; \(hint)" : "\(error)"
      throw JailError("--daemon-store \(name): \(path): \(text)")
    } catch let error as JailError {
      throw error
    } catch {
      throw JailError("--daemon-store \(name): \(path): \(error)")
    }
  }

  /// Makes the tree a slave of the host's, takes the stores out of it into a tmpfs that becomes
  /// the root, and gives the rest, which is below that now, its own propagation.
  ///
  /// The tree is then the root directory of this process again, but not of its namespace: no path
  /// leads to the stores, and no copy of the tree takes them along, until they are placed.
  init(gathering names: [FilePath], rest: Propagation, builder: JailBuilder) throws(JailError) {
    try step("make all mounts slaves") { () throws(SystemError) in
      try Propagation.slave.set(on: "/", recursive: true)
    }
    var pairs: [(name: FilePath, store: SharedDescriptor, cache: SharedDescriptor)] = []
    for name in names {
      pairs.append(
        (
          name, try Self.open(name, in: Self.directory),
          try Self.open(name, in: Self.cacheDirectory)
        ))
    }
    let mask = umask(0)
    defer { umask(mask) }
    (tree, cacheTree, host, identifiers) = try step("--daemon-store") {
      () throws(SystemError) -> (SharedDescriptor, SharedDescriptor, SharedDescriptor, Set<UInt64>)
      in
      let flags = LINUX_O_PATH | O_DIRECTORY
      let host = try Descriptor(followingLinks: "/", flags: flags)
      let tree = try Self.newTree(names + [Self.rest, Self.cache])
      let cacheTree = try Self.newTree(names)
      // On top of the root, where it hides nothing: a look-up starts below it.
      try moveMount(tree.root.descriptor, on: host, shown: "/")
      let place = try tree.root.directory(Self.cache)
      try moveMount(cacheTree.root.descriptor, on: place.descriptor, shown: place.path)
      for pair in pairs {
        let store = try tree.root.directory(pair.name)
        let cache = try cacheTree.root.directory(pair.name)
        for (mount, place, directory) in [
          (pair.store, SharedDescriptor(store.intoDescriptor()), Self.directory),
          (pair.cache, SharedDescriptor(cache.intoDescriptor()), Self.cacheDirectory),
        ] {
          let shown: FilePath = "\(directory)/\(pair.name)"
          if builder.context.isInUserNamespace {
            try Self.bind(mount.descriptor, on: place.descriptor, shown: shown)
          } else {
            try moveMount(mount.descriptor, on: place.descriptor, shown: shown)
          }
        }
      }
      try changeDirectory(to: tree.root.descriptor, shown: "/")
      try pivotRoot(putOld: Self.rest)
      if rest != .slave { try rest.set(on: Self.rest, recursive: true) }
      try changeDirectory(to: host, shown: "/")
      try check("chroot", "/", chroot("."))
      try builder.returnToWorkingDirectory()
      let identifiers: Set = [
        try tree.root.status().mountID, try cacheTree.root.status().mountID,
      ]
      return (
        SharedDescriptor(tree.intoDescriptor()), SharedDescriptor(cacheTree.intoDescriptor()),
        SharedDescriptor(host), identifiers
      )
    }
  }

  /// In a user namespace the host's mounts cannot be moved. mount(2) clones and attaches under one
  /// lock, so that nothing can arrive in between; the copy is a slave as what it copies is.
  private static func bind(
    _ source: borrowing Descriptor, on target: borrowing Descriptor, shown: FilePath
  ) throws(SystemError) {
    try changeDirectory(to: target, shown: shown)
    try mountFilesystem(
      "/proc/self/fd/\(source.number)", on: ".", type: "none", flags: UInt(MS_BIND | MS_REC),
      data: "", shown: shown)
  }

  private static func newTree(_ names: [FilePath]) throws(SystemError) -> DetachedMount {
    let tree = try DetachedMount(
      newFilesystem: "tmpfs", source: "daemon-store", options: [("mode", "755"), ("size", "64k")],
      attributes: .data)
    for name in names { try tree.root.makeDirectory(name, mode: 0o755) }
    return tree
  }

  /// Makes the tree the root again, and moves the stores to where the program looks for them.
  func place(in newRoot: FilePath?, builder: JailBuilder) throws(JailError) {
    try step("--daemon-store") { () throws(SystemError) in
      try changeDirectory(to: tree.descriptor, shown: "/")
      try check("chroot", "/", chroot("."))
      try changeDirectory(to: host.descriptor, shown: "/")
      try pivotRoot(putOld: ".")
      try check("chroot", "/", chroot("."))
      try builder.returnToWorkingDirectory()
      for (mount, directory) in [(cacheTree, Self.cacheDirectory), (tree, Self.directory)] {
        let root = try builder.openRoot()
        let place = try Destination(
          directory, in: root, newRoot: newRoot,
          making: .init(isDirectory: true, owner: 0, group: 0))
        try moveMount(mount.descriptor, on: place.descriptor, shown: directory)
      }
      for name in [Self.rest, Self.cache] {
        try check("rmdir", name, unlinkat(tree.descriptor.number, name.cString, AT_REMOVEDIR))
      }
      for mount in [tree, cacheTree] {
        try setMountAttributes(mount.descriptor, .readOnly, shown: Self.directory)
      }
    }
  }
}
