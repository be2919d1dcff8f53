import CLinux
import Glibc
import Kernel

/// The mount table that a program would see: the one of now, with each step of a plan tried on it.
struct ExpectedMounts {
  private var view: MountView
  private let configuration: JailConfiguration

  var mounts: [MountInfo] { view.mounts }

  init(_ plan: JailPlan) throws(JailError) {
    configuration = plan.configuration
    try StoreMounts.verify(configuration.daemonStores)
    if let file = configuration.mountNamespaceFile { try Self.enter(file) }
    let table = try step("read the mount table") { () throws(SystemError) in
      try kernelFile("/proc/thread-self/mountinfo")
    }
    guard var mounts = MountInfo.table(table) else {
      throw JailError("/proc/self/mountinfo: a line of it has an unknown form")
    }
    for index in mounts.indices {
      // Which peer group is of no interest, and differs from run to run.
      mounts[index].propagation = Self.kinds(mounts[index].propagation)
    }
    view = MountView(mounts)
    for jailStep in plan.steps { try follow(jailStep) }
  }

  private static func enter(_ file: String) throws(JailError) {
    try step("-V \(file)") { () throws(SystemError) in
      let namespace = try Descriptor(followingLinks: file, flags: O_RDONLY)
      try NamespaceKinds.mount.enter(namespace, shown: file)
    }
  }

  private static func kinds(_ tags: [String]) -> [String] {
    var kinds: [String] = []
    for tag in tags {
      let name = tag.prefix { $0 != ":" }
      let kind = name == "master" ? "slave" : String(name)
      if kind != "propagate_from" { kinds.append(kind) }
    }
    return kinds
  }

  private var root: [UInt8] { configuration.root.path.map { Array(resolved($0).utf8) } ?? [] }

  /// Where a path leads to on the host now; itself where it leads nowhere.
  private func resolved(_ path: String) -> String {
    guard let real = realpath(path, nil) else { return path }
    defer { free(real) }
    return String(cString: real)
  }

  private mutating func follow(_ jailStep: JailStep) throws(JailError) {
    switch jailStep {
    case .setPropagation(let mode): view.setPropagation(mode)
    case .gatherStores(let names, let rest): view.gatherStores(names, rest: rest)
    case .findUserData: view.findUserData()
    case .removeUserData: view.removeUserData()
    case .enterNetwork(let file):
      try step("-e\(file)") { () throws(SystemError) in
        _ = try Descriptor(followingLinks: file, flags: O_RDONLY)
      }
    case .mount(let mount): try follow(mount)
    case .makeMountPoint(let path):
      // A mount makes a root that is missing.
      if configuration.mounts.isEmpty {
        try step("-P \(path)") { () throws(SystemError) in
          _ = try Descriptor(followingLinks: path, flags: LINUX_O_PATH | O_DIRECTORY)
        }
      }
      view.bindOnItself(root)
    case .placeStores: view.placeStores(root: root)
    case .placeDevices:
      view.placeDevices(
        root: root, inUserNamespace: configuration.namespaces.contains(.user))
    case .changeRoot(let path):
      try step("-C \(path)") { () throws(SystemError) in
        _ = try Descriptor(followingLinks: path, flags: LINUX_O_PATH | O_DIRECTORY)
      }
      view.setRoot(root)
    case .pivotRoot: view.setRoot(root)
    case .mountTemporaryDirectory:
      view.add(
        Array("/tmp".utf8), type: "tmpfs", source: "none",
        options: "rw,nosuid,nodev,noexec,relatime")
    case .placeProcesses:
      if !configuration.namespaces.contains(.user) { view.unmount(Array("/proc".utf8)) }
      view.add(
        Array("/proc".utf8), type: "proc", source: "proc",
        options: "ro,nosuid,nodev,noexec,relatime")
    default: break
    }
  }

  private mutating func follow(_ mount: JailMount) throws(JailError) {
    let target = root + Array((mount.target == "/" && !root.isEmpty ? "" : mount.target).utf8)
    let source = Array(resolved(mount.source).utf8)
    switch mount.kind {
    case .bind(let writable):
      guard try exists(mount, source) else { return }
      view.bind(
        source, on: target, recursive: false, set: writable ? [] : .readOnly,
        clear: writable ? .readOnly : [], propagation: clonePropagation)
    case .filesystem(let type, let flags, _):
      let time: MountAttributes = flags.attributes.isDisjoint(with: .accessTime) ? [] : .accessTime
      if mount.isBind {
        guard try exists(mount, source) else { return }
        view.bind(
          source, on: target, recursive: mount.isRecursive, set: flags.attributes, clear: time,
          propagation: flags.propagationChange ?? clonePropagation)
      } else if mount.isChange {
        let isRemount = flags.contains(.remount)
        let cleared = MountAttributes.data.union(.readOnly).subtracting(flags.attributes)
        view.change(
          target, set: isRemount ? flags.attributes : [],
          clear: isRemount ? cleared.union(time) : [],
          propagation: isRemount ? nil : flags.propagationChange,
          recursive: flags.contains(.recursive) && !isRemount)
      } else if flags.contains(.move) {
        view.move(source, to: target)
      } else {
        view.add(
          target, type: type, source: mount.source,
          options: MountView.options("rw,relatime", set: flags.attributes, clear: time))
      }
    }
  }

  private var clonePropagation: Propagation? {
    configuration.propagation == .set(.private) ? .private : nil
  }

  /// Whether the source will be there at its turn: it is there now, and no earlier mount hides it.
  private func exists(_ mount: JailMount, _ source: [UInt8]) throws(JailError) -> Bool {
    let isHidden =
      view.covering(source).map { $0.device.starts(with: "new:".utf8) && $0.target != source }
      ?? false
    if access(mount.source, F_OK) == 0, !isHidden { return true }
    if mount.isOptional { return false }
    throw JailError(
      "mount \(mount.source) on \(mount.target)",
      SystemError(operation: "open", path: mount.source, code: ENOENT),
      status: ExitStatus.mountFailed)
  }
}
