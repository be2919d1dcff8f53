import DaemonStoreKernel

/// A mount table that a plan is tried on: what the program would see, computed without mounting.
/// Pure; what paths lead to is told by who has looked.
struct MountView {
  private(set) var mounts: [Mount]
  /// Set aside by ``MountStep/gatherStores(_:rest:)``: no path leads to them until they are placed.
  private var stores: [Mount] = []
  private var userData: UserDataMounts?
  private var nextIdentifier: UInt64 = 1 << 40
  private var storeTrees: Set<UInt64> = []

  init(_ mounts: [Mount]) { self.mounts = mounts }

  /// The mount that shows `path`.
  func covering(_ path: FilePath) -> Mount? {
    var best: Mount?
    for mount in mounts where path.isAtOrBelow(mount.target) {
      if mount.target.cString.count >= best?.target.cString.count ?? 0 { best = mount }
    }
    return best
  }

  // MARK: Steps

  mutating func setPropagation(_ mode: Propagation) {
    for index in mounts.indices {
      Self.changePropagation(of: &mounts[index], to: mode)
    }
  }

  /// A peer group of which nothing is known but that it is one: the kernel's begin with 1.
  static let newGroup = 0

  private static func changePropagation(of mount: inout Mount, to mode: Propagation) {
    switch mode {
    case .private: (mount.peerGroup, mount.master, mount.isUnbindable) = (nil, nil, false)
    case .unbindable: (mount.peerGroup, mount.master, mount.isUnbindable) = (nil, nil, true)
    case .shared: (mount.peerGroup, mount.isUnbindable) = (mount.peerGroup ?? newGroup, false)
    case .slave:
      if let group = mount.peerGroup { (mount.peerGroup, mount.master) = (nil, group) }
    }
  }

  mutating func gatherStores(_ names: [FilePath], rest: Propagation) {
    setPropagation(.slave)
    let places = [StoreMounts.directory, StoreMounts.cacheDirectory].flatMap { directory in
      names.map { directory.appending($0) }
    }
    let isStore = { (mount: Mount) in places.contains { mount.target.isAtOrBelow($0) } }
    stores = mounts.filter(isStore)
    mounts.removeAll(where: isStore)
    if rest != .slave { setPropagation(rest) }
  }

  /// - Parameter root: empty where there is no new root; so in all that follow.
  mutating func placeStores(root: FilePath) {
    for directory in [StoreMounts.directory, StoreMounts.cacheDirectory] {
      storeTrees.insert(
        add(
          "\(root)\(directory)", type: "tmpfs", source: "daemon-store",
          attributes: [.readOnly, .data]))
    }
    for var store in stores {
      store.target = "\(root)\(store.target)"
      store.parent = storeTrees.first ?? store.parent
      mounts.append(store)
    }
  }

  mutating func findUserData() { userData = UserDataMounts(mounts) }

  mutating func removeUserData() {
    guard let userData else { return }
    let gone = Set(userData.mounts(in: mounts, keeping: storeTrees).map(\.id))
    let targets = mounts.filter { gone.contains($0.id) }.map(\.target)
    let kept = userData.mounts(in: mounts, keeping: [])
      .filter { !gone.contains($0.id) }.map(\.id)
    mounts.removeAll { mount in
      gone.contains(mount.id)
        || (!kept.contains(mount.id) && !storeTrees.contains(mount.id)
          && targets.contains { mount.target.isAtOrBelow($0) })
    }
  }

  /// A copy of what `source` shows, on `target`.
  mutating func bind(
    _ source: FilePath, on target: FilePath, recursive: Bool, set: MountAttributes,
    clear: MountAttributes, propagation: Propagation?
  ) {
    guard let shown = covering(source) else { return }
    var copies: [Mount] = []
    var copy = shown
    copy.root = source.moved(from: shown.target, to: shown.root)
    copy.target = target
    copies.append(copy)
    if recursive {
      for mount in mounts
      where mount.target.isAtOrBelow(source) && mount.target != source {
        var copy = mount
        copy.target = mount.target.moved(from: source, to: target)
        copies.append(copy)
      }
    }
    for var copy in copies {
      copy.attributes = copy.attributes.changed(setting: set, clearing: clear)
      if let propagation { Self.changePropagation(of: &copy, to: propagation) }
      copy.id = identifier()
      copy.parent = covering(copy.target)?.id ?? 0
      mounts.append(copy)
    }
  }

  /// Makes `path` the root of a mount; what is mounted below it stays in sight as it is.
  mutating func bindOnItself(_ path: FilePath) {
    guard !mounts.contains(where: { $0.target == path }), var copy = covering(path) else { return }
    copy.root = path.moved(from: copy.target, to: copy.root)
    copy.target = path
    copy.id = identifier()
    mounts.insert(copy, at: 0)
  }

  /// A new file system.
  @discardableResult
  mutating func add(
    _ target: FilePath, type: FilePath, source: FilePath, attributes: MountAttributes
  ) -> UInt64 {
    let id = identifier()
    mounts.append(
      Mount(
        id: id, parent: covering(target)?.id ?? 0, device: Self.newDevices + id, root: "/",
        target: target, attributes: attributes, fileSystem: type, source: source))
    return id
  }

  /// The kernel has no device of these numbers.
  private static let newDevices: UInt64 = 1 << 63

  /// Whether the file system is one that a step makes.
  static func isNew(_ mount: Mount) -> Bool { mount.device >= newDevices }

  /// Changes the mount that is on top at `target`.
  mutating func change(
    _ target: FilePath, set: MountAttributes, clear: MountAttributes, propagation: Propagation?,
    recursive: Bool
  ) {
    guard let top = mounts.lastIndex(where: { $0.target == target }) else { return }
    for index in mounts.indices
    where index == top || (recursive && mounts[index].target.isAtOrBelow(target)) {
      mounts[index].attributes = mounts[index].attributes.changed(setting: set, clearing: clear)
      if let propagation { Self.changePropagation(of: &mounts[index], to: propagation) }
    }
  }

  mutating func move(_ source: FilePath, to target: FilePath) {
    for index in mounts.indices where mounts[index].target.isAtOrBelow(source) {
      mounts[index].target = mounts[index].target.moved(from: source, to: target)
    }
  }

  /// The minimal `/dev`, with what was mounted into it before it was in sight. In a user namespace
  /// it comes on top of the old one, and the devices in it are the host's.
  mutating func placeDevices(root: FilePath, inUserNamespace: Bool) {
    let place: FilePath = "\(root)/dev"
    if inUserNamespace {
      for node in DeviceDirectory.nodes {
        bind(
          "/dev/\(node.name)", on: "\(place)/\(node.name)", recursive: false, set: [],
          clear: .readOnly, propagation: nil)
      }
    }
    let inside = mounts.filter {
      $0.id > 1 << 40 && $0.target != place && $0.target.isAtOrBelow(place)
    }
    mounts.removeAll { mount in inside.contains { $0.id == mount.id } }
    if root.isEmpty, !inUserNamespace { unmount(place) }
    add(
      place, type: "tmpfs", source: "minijail-devfs", attributes: [.noSetID, .noExecution])
    mounts += inside
  }

  /// What is on `target`, and all below it.
  mutating func unmount(_ target: FilePath) {
    mounts.removeAll { $0.target.isAtOrBelow(target) }
  }

  /// Only what is below `path` is left in sight.
  mutating func setRoot(_ path: FilePath) {
    // What a later mount at the place covers is not below the new root.
    if let top = mounts.lastIndex(where: { $0.target == path }) {
      mounts.removeFirst(top)
    }
    mounts = mounts.filter { $0.target.isAtOrBelow(path) }.map { mount in
      var mount = mount
      mount.target = mount.target.moved(from: path, to: "/")
      return mount
    }
  }

  private mutating func identifier() -> UInt64 {
    nextIdentifier += 1
    return nextIdentifier
  }
}
