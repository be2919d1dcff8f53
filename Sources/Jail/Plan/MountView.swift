import DaemonStoreKernel

/// A mount table that a plan is tried on: what the program would see, computed without mounting.
/// Pure; what paths lead to is told by who has looked.
struct MountView {
  private(set) var mounts: [MountInfo]
  /// Set aside by ``JailStep/gatherStores(_:rest:)``: no path leads to them until they are placed.
  private var stores: [MountInfo] = []
  private var userData: UserDataMounts?
  private var nextIdentifier: UInt64 = 1 << 40
  private var storeTrees: Set<UInt64> = []

  init(_ mounts: [MountInfo]) { self.mounts = mounts }

  /// The mount that shows `path`.
  func covering(_ path: [UInt8]) -> MountInfo? {
    var best: MountInfo?
    for mount in mounts where isPath(path, atOrBelow: mount.target) {
      if mount.target.count >= best?.target.count ?? 0 { best = mount }
    }
    return best
  }

  // MARK: Steps

  mutating func setPropagation(_ mode: Propagation) {
    for index in mounts.indices {
      mounts[index].propagation = Self.propagation(mounts[index].propagation, changedTo: mode)
    }
  }

  private static let shared = Array("shared".utf8)
  private static let slave = Array("slave".utf8)
  private static let unbindable = Array("unbindable".utf8)

  private static func propagation(_ old: [[UInt8]], changedTo mode: Propagation) -> [[UInt8]] {
    switch mode {
    case .private: []
    case .unbindable: [unbindable]
    case .shared: old.filter { $0 != unbindable && $0 != shared } + [shared]
    case .slave: old.contains { $0 == shared || $0 == slave } ? [slave] : []
    }
  }

  mutating func gatherStores(_ names: [FilePath], rest: Propagation) {
    setPropagation(.slave)
    let places = [StoreMounts.directory, StoreMounts.cacheDirectory].flatMap { directory in
      names.map { Array(directory.appending($0).bytes) }
    }
    let isStore = { (mount: MountInfo) in places.contains { isPath(mount.target, atOrBelow: $0) } }
    stores = mounts.filter(isStore)
    mounts.removeAll(where: isStore)
    if rest != .slave { setPropagation(rest) }
  }

  mutating func placeStores(root: [UInt8]) {
    for directory in [StoreMounts.directory, StoreMounts.cacheDirectory] {
      let options = "ro,nosuid,nodev,noexec,relatime,nosymfollow"
      storeTrees.insert(
        add(root + Array(directory.bytes), type: "tmpfs", source: "daemon-store", options: options))
    }
    for var store in stores {
      store.target = root + store.target
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
          && targets.contains { isPath(mount.target, atOrBelow: $0) })
    }
  }

  /// A copy of what `source` shows, on `target`.
  mutating func bind(
    _ source: [UInt8], on target: [UInt8], recursive: Bool, set: MountAttributes,
    clear: MountAttributes, propagation: Propagation?
  ) {
    guard let shown = covering(source) else { return }
    var copies: [MountInfo] = []
    var copy = shown
    copy.root = Self.join(shown.root, source.dropFirst(Self.length(shown.target)))
    copy.target = target
    copies.append(copy)
    if recursive {
      for mount in mounts
      where isPath(mount.target, atOrBelow: source) && mount.target.count > source.count {
        var copy = mount
        copy.target = Self.join(target, mount.target.dropFirst(Self.length(source)))
        copies.append(copy)
      }
    }
    for var copy in copies {
      copy.options = Self.options(copy.options, set: set, clear: clear)
      if let propagation {
        copy.propagation = Self.propagation(copy.propagation, changedTo: propagation)
      }
      copy.id = identifier()
      copy.parent = covering(copy.target)?.id ?? 0
      mounts.append(copy)
    }
  }

  /// Makes `path` the root of a mount; what is mounted below it stays in sight as it is.
  mutating func bindOnItself(_ path: [UInt8]) {
    guard !mounts.contains(where: { $0.target == path }), var copy = covering(path) else { return }
    copy.root = Self.join(copy.root, path.dropFirst(Self.length(copy.target)))
    copy.target = path
    copy.id = identifier()
    mounts.insert(copy, at: 0)
  }

  /// A new file system.
  @discardableResult
  mutating func add(
    _ target: [UInt8], type: [UInt8], source: [UInt8], options: [UInt8]
  ) -> UInt64 {
    let id = identifier()
    mounts.append(
      MountInfo(
        id: id, parent: covering(target)?.id ?? 0, device: Array("new:\(id)".utf8),
        root: [UInt8(ascii: "/")], target: target, options: options, propagation: [], type: type,
        source: source))
    return id
  }

  /// The same, in the words of this program.
  @discardableResult
  mutating func add(
    _ target: [UInt8], type: String, source: String, options: String
  ) -> UInt64 {
    add(
      target, type: Array(type.utf8), source: Array(source.utf8), options: Array(options.utf8))
  }

  /// Changes the mount that is on top at `target`.
  mutating func change(
    _ target: [UInt8], set: MountAttributes, clear: MountAttributes, propagation: Propagation?,
    recursive: Bool
  ) {
    guard let top = mounts.lastIndex(where: { $0.target == target }) else { return }
    for index in mounts.indices
    where index == top || (recursive && isPath(mounts[index].target, atOrBelow: target)) {
      mounts[index].options = Self.options(mounts[index].options, set: set, clear: clear)
      if let propagation {
        mounts[index].propagation = Self.propagation(
          mounts[index].propagation, changedTo: propagation)
      }
    }
  }

  mutating func move(_ source: [UInt8], to target: [UInt8]) {
    for index in mounts.indices where isPath(mounts[index].target, atOrBelow: source) {
      mounts[index].target = Self.join(
        target, mounts[index].target.dropFirst(Self.length(source)))
    }
  }

  /// The minimal `/dev`, with what was mounted into it before it was in sight. In a user namespace
  /// it comes on top of the old one, and the devices in it are the host's.
  mutating func placeDevices(root: [UInt8], inUserNamespace: Bool) {
    let place = root + Array("/dev".utf8)
    if inUserNamespace {
      for node in DeviceDirectory.nodes {
        bind(
          Array("/dev/\(node.name)".utf8), on: place + Array("/\(node.name)".utf8),
          recursive: false, set: [], clear: .readOnly, propagation: nil)
      }
    }
    let inside = mounts.filter {
      $0.id > 1 << 40 && $0.target != place && isPath($0.target, atOrBelow: place)
    }
    mounts.removeAll { mount in inside.contains { $0.id == mount.id } }
    if root.isEmpty, !inUserNamespace { unmount(place) }
    add(
      place, type: "tmpfs", source: "minijail-devfs", options: "rw,nosuid,noexec,relatime")
    mounts += inside
  }

  /// What is on `target`, and all below it.
  mutating func unmount(_ target: [UInt8]) {
    mounts.removeAll { isPath($0.target, atOrBelow: target) }
  }

  /// Only what is below `path` is left in sight.
  mutating func setRoot(_ path: [UInt8]) {
    // What a later mount at the place covers is not below the new root.
    if let top = mounts.lastIndex(where: { $0.target == path }) {
      mounts.removeFirst(top)
    }
    mounts = mounts.filter { isPath($0.target, atOrBelow: path) }.map { mount in
      var mount = mount
      mount.target = Self.join([UInt8(ascii: "/")], mount.target.dropFirst(Self.length(path)))
      return mount
    }
  }

  // MARK: Texts

  private mutating func identifier() -> UInt64 {
    nextIdentifier += 1
    return nextIdentifier
  }

  private static func length(_ path: [UInt8]) -> Int {
    path == [UInt8(ascii: "/")] ? 0 : path.count
  }

  private static func join(_ directory: [UInt8], _ rest: ArraySlice<UInt8>) -> [UInt8] {
    let slash = UInt8(ascii: "/")
    let tail = rest.drop { $0 == slash }
    if tail.isEmpty { return directory }
    return (directory.last == slash ? directory.dropLast() : directory) + [slash] + tail
  }

  /// The options of a mount, in the kernel's order.
  static func options(
    _ old: [UInt8], set: MountAttributes, clear: MountAttributes
  ) -> [UInt8] {
    let order: [(String, MountAttributes)] = [
      ("nosuid", .noSetID), ("nodev", .noDevices), ("noexec", .noExecution),
      ("noatime", .noAccessTime), ("nodiratime", .noDirectoryAccessTime), ("relatime", []),
      ("nosymfollow", .noSymlinkFollow),
    ]
    let words = old.split(separator: UInt8(ascii: ","))
    let wasReadOnly = words.first?.elementsEqual("ro".utf8) == true
    let isReadOnly =
      set.contains(.readOnly) || (wasReadOnly && !clear.contains(.readOnly))
    let changesTime = !set.isDisjoint(with: .accessTime)
    var result = [isReadOnly ? "ro" : "rw"]
    for (name, attribute) in order {
      let isTime = name == "noatime" || name == "relatime"
      let stays =
        words.contains { $0.elementsEqual(name.utf8) }
        && (attribute.isEmpty || clear.isDisjoint(with: attribute))
        && !(isTime && changesTime)
      if stays || (!attribute.isEmpty && set.contains(attribute)) { result.append(name) }
    }
    return Array(result.joined(separator: ",").utf8)
  }
}
