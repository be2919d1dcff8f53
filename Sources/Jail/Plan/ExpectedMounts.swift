import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// The mount table that a program would see: the one of now, with each step of a plan tried on it.
struct ExpectedMounts {
  private var view: MountView
  private let configuration: JailConfiguration
  private let context: JailContext

  var mounts: [Mount] { view.mounts }

  init(_ plan: JailPlan) throws(JailError) {
    configuration = plan.configuration
    context = plan.steps.context
    try StoreMounts.verify(configuration.daemonStores)
    if let file = configuration.mountNamespaceFile { try Self.enter(file) }
    view = MountView(try MountTable.ofThisThread().mounts)
    for setUpStep in plan.steps.setUp { try follow(setUpStep) }
  }

  private static func enter(_ file: FilePath) throws(JailError) {
    try step("-V \(file)") { () throws(SystemError) in
      let namespace = try Descriptor(followingLinks: file, flags: O_RDONLY)
      try NamespaceKinds.mount.enter(namespace, shown: file)
    }
  }

  /// Empty where there is no new root.
  private var root: FilePath { configuration.root.path.map { resolved($0) } ?? "" }

  /// Where a path leads to on the host now; itself where it leads nowhere.
  private func resolved(_ path: FilePath) -> FilePath {
    guard let real = realpath(path.cString, nil) else { return path }
    defer { free(real) }
    return FilePath(cString: real)
  }

  private mutating func follow(_ setUpStep: SetUpStep) throws(JailError) {
    switch setUpStep {
    case .mount(let step): try follow(step)
    case .namespace(.enterNetwork(let file)):
      try step("-e\(file)") { () throws(SystemError) in
        _ = try Descriptor(followingLinks: file, flags: O_RDONLY)
      }
    case .launch(.placeTerminal):
      let hasPlace = root.isEmpty ? access("/dev/pts", F_OK) == 0 : false
      if hasPlace || configuration.minimalDevices {
        view.add(
          "\(root)/dev/pts", type: "devpts", source: "devpts",
          attributes: [.noSetID, .noExecution])
      }
    // None of these changes a mount.
    case .namespace(.newSession), .namespace(.becomeMapped), .namespace(.unshare),
      .namespace(.setHostName), .namespace(.raiseLoopback), .namespace(.joinSessionKeyring),
      .launch(.openLibrary), .launch(.openTerminal), .launch(.inspectProgram), .privilege,
      .closeDescriptors, .prepareFileAccess, .setLimits:
      break
    }
  }

  private mutating func follow(_ mountStep: MountStep) throws(JailError) {
    switch mountStep {
    case .enterNamespace, .newNamespace, .buildProcesses, .buildDevices: break  // as the table is
    case .setPropagation(let mode): view.setPropagation(mode)
    case .gatherStores(let names, let rest): view.gatherStores(names, rest: rest)
    case .findUserData: view.findUserData()
    case .removeUserData: view.removeUserData()
    case .mount(let mount), .mountInDevices(let mount): try follow(mount)
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
      try refuseIfShared("\(root)/dev", isRemoved: root.isEmpty)
      view.placeDevices(root: root, inUserNamespace: context.isInUserNamespace)
    case .changeRoot(let path):
      try step("-C \(path)") { () throws(SystemError) in
        _ = try Descriptor(followingLinks: path, flags: LINUX_O_PATH | O_DIRECTORY)
      }
      view.setRoot(root)
    case .pivotRoot: view.setRoot(root)
    case .mountTemporaryDirectory:
      view.add(
        "/tmp", type: "tmpfs", source: "none", attributes: [.home, .noExecution])
    case .placeProcesses:
      let place: FilePath = "\(root)/proc"
      try refuseIfShared(place, isRemoved: !context.isInUserNamespace)
      if !context.isInUserNamespace { view.unmount(place) }
      view.add(
        place, type: "proc", source: "proc", attributes: [.readOnly, .home, .noExecution])
    }
  }

  private mutating func follow(_ mount: JailMount) throws(JailError) {
    let target: FilePath = mount.target == "/" && !root.isEmpty ? root : "\(root)\(mount.target)"
    let source = resolved(mount.source)
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
          target, type: FilePath(type), source: mount.source,
          attributes: MountAttributes().changed(setting: flags.attributes, clearing: time))
      }
    }
  }

  /// As the mount itself does: `-K`, and a mount of the caller's namespace would be covered.
  private func refuseIfShared(_ place: FilePath, isRemoved: Bool) throws(JailError) {
    guard context.sharesMounts else { return }
    let top = view.covering(place)
    let covered = isRemoved && top?.target == place ? place.parent.flatMap(view.covering) : top
    if let covered, covered.peerGroup != nil {
      throw JailError(JailConfiguration.sharedMountText(covered.target.description))
    }
  }

  private var clonePropagation: Propagation? {
    context.copiesArePrivate ? .private : nil
  }

  /// Whether the source will be there at its turn: it is there now, and no earlier mount hides it.
  private func exists(_ mount: JailMount, _ source: FilePath) throws(JailError) -> Bool {
    let isHidden =
      view.covering(source).map { MountView.isNew($0) && $0.target != source } ?? false
    if access(mount.source.cString, F_OK) == 0, !isHidden { return true }
    if mount.isOptional { return false }
    throw JailError(
      "mount \(mount.source) on \(mount.target)",
      SystemError(operation: "open", path: mount.source, code: ENOENT),
      status: ExitStatus.mountFailed)
  }
}
