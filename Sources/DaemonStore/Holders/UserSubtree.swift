import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// What belongs to one user, however many mounts show parts of it: the vault `…/H/mount`, and what
/// is mounted at the places of the user's, which is the same unless the vault was moved, removed or
/// unmounted the vault meanwhile.
package final class UserSubtree {
  package let user: ObfuscatedUsername
  /// When a search for processes ends, whatever it has not looked at: nil for never.
  package var deadline: ContinuousClock.Instant?
  /// `/home/.shadow/H/mount`.
  let vaultPath: FilePath
  private let parts: [VaultPart]
  /// Of every mount that was found to show part of it.
  private var mountIDs: Set<UInt64> = []
  /// The directories below the vault that these mounts show: a descriptor on a mount keeps the
  /// directory that is its root, too.
  private var mountRoots: [UInt64: FilePath] = [:]
  /// The namespaces that have shown it, but for our own.
  private var namespaceIDs: Set<UInt64> = []
  /// Whom the files of the user's home belong to.
  let owner: uid_t?
  /// What the path of a file of it names, wherever it is seen.
  private let names: [FilePath]
  /// The file systems of all mounts that any namespace shows, by the ids of the mounts: read when
  /// they are first asked for, which is after the unmount.
  private var devices: [UInt64: UInt64]?
  /// What could not be inspected in the search for mounts.
  let unknownMounts = Unknowns()
  /// The same of processes.
  private let unknownFiles = Unknowns()
  /// nil where the owner of the home is not known: then no user is a stranger.
  private let residents: Residents?

  /// Empty for a user who has no vault and no mount.
  ///
  /// - Parameter mountsAlone: whether only mounts are looked for: else the vault is held open, to
  ///   look for files of it, and a logout meanwhile finds that.
  /// - Parameter recordedOwner: the user whom the home belongs to, where the vault is locked and does
  ///   not show it.
  package init(
    of user: ObfuscatedUsername, in layout: Layout, mountsAlone: Bool = false,
    recordedOwner: uid_t? = nil
  ) throws {
    let table = try MountTable.current()
    var parts: [VaultPart] = []
    let path: FilePath = "\(layout.shadow)/\(user)/mount"
    // A vault that was moved or removed is known by what its mounts show.
    var owner: uid_t?
    var stores: [(name: FilePath, user: uid_t)] = []
    switch try Self.existing(path) {
    case .none: break
    case .some(let vault):
      parts.append(
        try VaultPart(
          vault: vault, of: user, in: layout, table: table, keepsOpen: !mountsAlone))
      owner = try vault.status(of: "user")?.owner ?? recordedOwner
      stores = try Self.stores(in: vault)
      // A locked vault does not show its folders: the templates say whose they are.
      stores += try Templates.read(layout).valid.map { ($0.name.path, $0.owner) }
    }
    residents = owner.map { Residents(owner: $0, stores: stores) }
    let isOpen = !parts.isEmpty
    let shown = table.mounts.compactMap { ShownPart($0, of: user, in: layout) }
    for part in shown where !parts.contains(where: { part.isOf($0) }) {
      // Of several places, no one but a login shows the parts of one directory.
      let isConfirmed = shown.contains { $0.isBeside(part) }
      guard !isOpen || isConfirmed || part.isConventional(for: user) else { continue }
      parts.append(VaultPart(root: part.vault, mount: part.mount))
    }
    self.user = user
    vaultPath = path
    self.parts = parts
    names = [user.path]
    self.owner = owner
  }

  /// Opens a directory; nil when there is none.
  private static func existing(_ path: FilePath) throws(SystemError) -> Directory? {
    do {
      return try Directory(opening: path)
    } catch  where [ENOENT, ENOTDIR].contains(error.code) {
      return nil
    }
  }

  /// Whose the folders in a vault are. Of a locked one the names of the folders are not known, and
  /// not needed.
  private static func stores(
    in vault: borrowing Directory
  ) throws(SystemError) -> [(name: FilePath, user: uid_t)] {
    var owners: [(name: FilePath, user: uid_t)] = []
    for place: FilePath in ["root", "root/.cache"] {
      let folders: Directory
      do {
        folders = try vault.directory(place)
      } catch  where [ENOENT, ENOTDIR, ENOKEY].contains(error.code) {
        continue
      }
      for name in try folders.names() {
        if let status = try folders.status(of: name) { owners.append((name, status.owner)) }
      }
    }
    return owners
  }

  /// The folders in one store alone. Each is held open as long as this is: for a search.
  init(of user: ObfuscatedUsername, in store: StoreName, _ layout: Layout) throws {
    let table = try MountTable.current()
    var parts: [VaultPart] = []
    for tree in StoreTree.allCases {
      let path = layout.path(of: user, in: store, tree)
      // Of a user who is logged out what lies on the disk, if it can be read there.
      let vault: FilePath =
        "\(layout.shadow)/\(user)/mount/root/\(tree == .data ? "" : ".cache/" as FilePath)\(store)"
      let isMounted = try FileStatus.mountID(at: path) != nil
      let place = try isMounted && !Self.isSame(vault, as: path, layout) ? path : vault
      switch try Self.existing(place) {
      case .none: continue
      case .some(let folder):
        parts.append(try VaultPart(vault: folder, of: user, in: layout, table: table))
      }
    }
    residents = nil
    self.user = user
    vaultPath = "\(layout.shadow)/\(user)/mount"
    self.parts = parts
    names = [user.path, store.path]
    owner = nil
  }

  /// Whether a folder is shown at its place in the vault, too, which is on no mount of the user's.
  private static func isSame(
    _ vault: FilePath, as folder: FilePath, _ layout: Layout
  ) throws(SystemError) -> Bool {
    guard let shadow = try existing("\(layout.shadow)")?.status(),
      let shown = try existing(folder)?.status()
    else { return false }
    do {
      let status = try existing(vault)?.status()
      return status?.identity == shown.identity && status?.mountID == shadow.mountID
    } catch {
      return false  // it is locked, or in disorder: so it is not the same
    }
  }

  /// One of these is in the mount table of every namespace that shows part of it.
  var needles: [FilePath] {
    parts.isEmpty ? [] : parts.map { $0.needle(of: user) } + [" - overlay "]
  }

  /// Every mount namespace, with its mounts of it; this one first.
  ///
  /// - Parameter isWanted: which of the mounts count.
  func views(_ isWanted: (Mount) -> Bool = { _ in true }) throws -> [NamespaceView] {
    guard !parts.isEmpty else { return [] }
    return views(
      in: try MountNamespace.all(
        containing: needles, unknownMounts, for: owner, until: deadline), isWanted)
  }

  /// Those of `namespaces`, which were looked at for the needles.
  func views(
    in namespaces: [MountNamespace], _ isWanted: (Mount) -> Bool = { _ in true }
  ) -> [NamespaceView] {
    let groups = PeerGroups(namespaces.lazy.compactMap(\.table))
    var views: [NamespaceView] = []
    var ownOverlays: Set<UInt64> = []
    for namespace in namespaces {
      guard let table = namespace.table else {
        views.append(NamespaceView(closed: namespace.keeper, id: namespace.id))
        continue
      }
      let view = NamespaceView(
        keeper: namespace.keeper, id: namespace.id, isOwn: namespace.isOwn, table: table,
        groups: groups, listing: namespace.listing, owner: namespace.owner,
        isUsers: { shows($0) && isWanted($0) },
        isUsersOverlay: { mount in
          let isUnclear =
            mount.layers.contains { !$0.isAbsolute } && !ownOverlays.contains(mount.device)
            && namespace.id.map(namespaceIDs.contains) == true
          // A stranger may call a layer as he likes, and then a name is no proof.
          let isNameProof = namespace.owner.map(isStranger) != true
          return isUnclear
            || mount.layers.contains { isNameProof && isNamed(in: $0) || isPart($0, in: table) }
        })
      if namespace.isOwn { ownOverlays = Set(table.mounts.map(\.device)) }
      if let id = namespace.id, !namespace.isOwn, !view.shown.isEmpty { namespaceIDs.insert(id) }
      mountIDs.formUnion(view.shown.map { $0.mount.id })
      for shown in view.shown {
        guard withoutDeletion(shown.mount.root) == shown.mount.root,
          let root = relativeRoot(of: shown.mount)?.dropping(prefix: "/"), !root.isEmpty
        else { continue }
        mountRoots[shown.mount.id] = root
      }
      views.append(view)
    }
    return views
  }

  /// A search for the processes that use it, which adds to `pins` the directories that strangers
  /// keep.
  func search(_ pins: DirectoryPins?, strictly: Bool) -> HolderSearch {
    HolderSearch(
      for: contains, mayBeOn: mayBeOn,
      doubts: HolderSearch.Doubts(
        isSuspect: { [self] in strictly || isSuspect($0) },
        mayBind: { [self] in isSuspect($0) || isStoreOwners($0) }, isUsers: isUsers,
        isDetached: isDetachedNow),
      pins: pins, unknowns: unknownFiles,
      watched: { [parts] device, type, handle throws(SystemError) in
        for part in parts {
          if let file = try part.open(handle, type, on: device) { return file }
        }
        return nil
      }, keeping: descriptors, until: deadline)
  }

  /// What a search for files of it needs: none of these is in the vault.
  var descriptors: [CInt] { parts.compactMap(\.descriptor) }

  /// The roots of the mounts have been replaced: what a mount keeps now is empty.
  package func forgetMountRoots() { mountRoots = [:] }

  /// A collection of the directories that strangers keep; nil where strangers cannot be told.
  func pins() -> DirectoryPins? {
    residents.map {
      DirectoryPins($0, locate: place) { [self] file in mountRoots[file.mountID] }
    }
  }

  /// The path of a file of it below the vault; nil where the file system does not say.
  func relativePath(
    of file: FileStatus, _ link: FilePath, in process: borrowing Directory
  ) -> FilePath? {
    for part in parts {
      if let path = part.relativePath(of: file, link, in: process, unknownFiles) { return path }
    }
    return nil
  }

  /// Whether a user is a stranger to the vault.
  func isStranger(_ user: uid_t) -> Bool { residents?.contains(user) == false }

  /// Where a directory that is part of it is; nil where the file system does not say.
  private func place(
    of file: FileStatus, _ link: FilePath, in process: borrowing Directory
  ) -> DirectoryPins.Place? {
    for part in parts {
      if let place = part.place(of: file, link, in: process, unknownFiles) { return place }
    }
    return nil
  }

  /// Whether `mount` shows part of it, and not the file system around it.
  func shows(_ mount: Mount) -> Bool {
    parts.contains { $0.shows(device: mount.device, mount.root) }
  }

  /// The mounts of directories that an earlier logout has emptied and removed, in all namespaces.
  func removedPins() throws -> [(keeper: MountNamespace.Keeper, user: uid_t, path: FilePath)] {
    try MountNamespace.all(
      containing: [DirectoryRenewal.removedPrefix], unknownMounts, for: owner, until: deadline
    ).flatMap { namespace in
      (namespace.table?.mounts ?? []).filter { mount in parts.contains { $0.isRemovedPin(mount) } }
        .map { (namespace.keeper, namespace.owner ?? 0, $0.target) }
    }
  }

  /// The path of a mount's root below the vault: `/root/D`; nil when it shows something else.
  func relativeRoot(of mount: Mount) -> FilePath? {
    let root = withoutDeletion(mount.root)
    return parts.first { $0.mountDevice == mount.device && root.isAtOrBelow($0.root) }
      .flatMap { root.dropping(prefix: $0.root) }
  }

  /// Whether a path names the user, and the store if it is of one alone.
  func isNamed(in path: FilePath) -> Bool {
    let components = path.bytes.split(separator: UInt8(ascii: "/"))
    return names.allSatisfy { name in components.contains { $0.elementsEqual(name.bytes) } }
  }

  /// Whether a path in the namespace of `table` leads to part of it.
  private func isPart(_ path: FilePath, in table: MountTable) -> Bool {
    let around = table.mounts.filter { path.isAtOrBelow($0.target) }
    guard let longest = around.map(\.target.cString.count).max(),
      let mount = around.last(where: { $0.target.cString.count == longest })
    else { return false }
    return parts.contains {
      $0.shows(device: mount.device, StoreBase(mount: mount).root(of: path))
    }
  }

  /// Whether the file behind a magic link of `/proc` is part of it: the file, not its path, since
  /// a path says nothing about a mount that is detached or in another namespace.
  func contains(_ file: FileStatus, _ link: FilePath, in process: borrowing Directory) -> Bool {
    for part in parts {
      if let verdict = part.contains(
        file, link, in: process, deviceOfMount: device, unknownFiles)
      {
        if verdict { return true }
        continue
      }
      // The file system will not say. The mount may, and else the path; of a mount that is shown
      // nowhere any more, the names that the vault has for its files.
      if mountIDs.contains(file.mountID) { return true }
      if isNamed(in: target(of: link, process) ?? "") { return true }
      if isDetached(file), part.lists(file) { return true }
    }
    return false
  }

  /// Whether the file behind a link is part of it, and on one of the mounts that were found. The
  /// number alone may be another mount's by now.
  func containsThroughMount(
    _ file: FileStatus, _ link: FilePath, in process: borrowing Directory
  ) -> Bool {
    mountIDs.contains(file.mountID) && contains(file, link, in: process)
  }

  /// Whether a process may have been sent a file of it unseen: it runs as the user, or in a
  /// namespace that has shown it.
  func isSuspect(_ process: borrowing Directory) -> Bool {
    let link = target(of: "ns/mnt", process)
    if let id = link.flatMap({ NamespaceLink.id(in: $0) }), namespaceIDs.contains(id) {
      return true
    }
    return isUsers(process)
  }

  /// Where a link of `/proc` leads to; nil when it is gone, or could not be read.
  private func target(of link: FilePath, _ process: borrowing Directory) -> FilePath? {
    do throws(SystemError) {
      return try linkTarget(of: process.path(of: link))
    } catch {
      unknownFiles.add(error, about: process.path)
      return nil
    }
  }

  /// Whether a process runs as the owner of a folder in the vault.
  private func isStoreOwners(_ process: borrowing Directory) -> Bool {
    user(of: process).map { residents?.contains($0) == true } ?? false
  }

  /// Whether a process runs as the user.
  func isUsers(_ task: borrowing Directory) -> Bool { owner != nil && user(of: task) == owner }

  /// The user whom a process runs as; nil for root, and where that cannot be known.
  private func user(of process: borrowing Directory) -> uid_t? {
    do throws(SystemError) {
      let user = try process.status().owner
      return user == 0 ? nil : user
    } catch {
      unknownFiles.add(error, about: process.path)
      return nil
    }
  }

  /// Whether a file is on a mount that no namespace shows, when all are looked at again.
  func isDetachedNow(_ file: FileStatus) -> Bool {
    if isDetached(file) { devices = nil }
    return isDetached(file)
  }

  /// Whether a file is on a mount that no namespace shows.
  func isDetached(_ file: FileStatus) -> Bool { device(of: file.mountID) == nil }

  private func device(of mountID: UInt64) -> UInt64? {
    if devices == nil {
      do {
        devices = try MountNamespace.allDevices(unknownFiles)
      } catch {
        unknownFiles.add(error)
        devices = [:]
      }
    }
    return devices?[mountID]
  }

  /// Whether everything with this `st_dev` is part of it.
  func isWholeDevice(_ device: UInt64) -> Bool {
    parts.contains { $0.isWhole && $0.device == device }
  }

  /// Whether a walk through it finds the file.
  func lists(_ file: FileIdentity) -> Bool { parts.contains { $0.lists(file) } }

  /// Whether files with this `st_dev` can be part of it.
  func isOnDevice(_ device: UInt64) -> Bool { parts.contains { $0.isOnDevice(device) } }

  /// The same, as far as the device tells: nil for perhaps.
  func mayBeOn(_ device: UInt64) -> Bool? {
    if isWholeDevice(device) { return true }
    return isOnDevice(device) ? nil : false
  }
}
