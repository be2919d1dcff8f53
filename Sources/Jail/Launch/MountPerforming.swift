import CLinux
import Glibc
import Kernel

extension JailBuilder {
  /// The root that destinations are looked up in, opened anew each time: an earlier mount may have
  /// come on top of it. A new root that is missing is made; it stays behind.
  func openRoot() throws(SystemError) -> Held {
    let path = configuration.root.path ?? "/"
    let flags = LINUX_O_PATH | O_DIRECTORY
    if let root = try Held(opening: path, flags: flags) { return root }
    guard path.hasPrefix("/") else {
      throw SystemError(operation: "open", path: path, code: ENOENT)
    }
    let host = try Descriptor(followingLinks: "/", flags: flags)
    let made = try Destination(
      path, in: host, rootPath: "/", making: .init(isDirectory: true, owner: 0, group: 0))
    return Held(made.intoDescriptor())
  }

  /// A mount point is made for the program's user, as in the reference.
  func missing(isDirectory: Bool) -> Destination.Missing {
    .init(
      isDirectory: isDirectory, owner: configuration.user?.number ?? 0,
      group: configuration.group?.number ?? 0)
  }

  /// One `-b` or `-k`.
  func perform(_ mount: JailMount) throws(JailError) {
    if devices != nil, mount.target.hasPrefix("/dev/") {
      // The new /dev is not there before all mounts are: what comes into it waits. What it shows
      // is opened now, in its turn.
      let clone = try mount.isBind ? cloned(mount) : nil
      if !mount.isBind || clone != nil {
        devices?.wait(for: DeviceDirectory.Waiting(mount: mount, clone: clone))
      }
      return
    }
    if mount.isBind {
      guard let clone = try cloned(mount) else { return }
      try mounting(mount) { () throws(SystemError) in
        let root = try openRoot()
        try attach(clone, mount.target, in: root.descriptor, configuration.root.path ?? "/")
      }
    } else {
      try mounting(mount) { () throws(SystemError) in
        let root = try openRoot()
        try mountNew(mount, mount.target, in: root.descriptor, configuration.root.path ?? "/")
      }
      try mounting(mount) { () throws(SystemError) in try returnToWorkingDirectory() }
    }
  }

  /// Names the mount in what goes wrong with it.
  @discardableResult
  func mounting<Value: ~Copyable>(
    _ mount: JailMount, _ body: () throws(SystemError) -> Value
  ) throws(JailError) -> Value {
    try step("mount \(mount.source) on \(mount.target)", status: ExitStatus.mountFailed, body)
  }

  /// A copy of the source with all its attributes, which no path shows yet; nil when the source is
  /// missing and may be.
  private func cloned(_ mount: JailMount) throws(JailError) -> Held? {
    let found = try mounting(mount) { () throws(SystemError) in
      if mount.isOptional { return try Held(opening: mount.source, flags: LINUX_O_PATH) }
      return Held(try Descriptor(followingLinks: mount.source))
    }
    guard let source = found else {
      log.warning("\(mount.source) is missing: the jail has no \(mount.target)")
      return nil
    }
    do throws(SystemError) {
      let detached = try DetachedMount(
        cloning: source.descriptor, recursive: mount.isRecursive, shown: mount.source)
      try setAttributes(of: mount, on: detached)
      return Held(detached.intoDescriptor())
    } catch {
      let isPart =
        error.code == EINVAL && !mount.isRecursive && configuration.namespaces.contains(.user)
      throw JailError(
        "mount \(mount.source) on \(mount.target): \(error)"
          + (isPart
            ? "; in a user namespace, what has mounts below it can only be bound with them: "
              + "-k \(mount.source),\(mount.target),none,MS_BIND|MS_REC" : ""),
        status: ExitStatus.mountFailed)
    }
  }

  private func setAttributes(
    of mount: JailMount, on clone: borrowing DetachedMount
  ) throws(SystemError) {
    var set: MountAttributes = []
    var clear: MountAttributes = []
    // A clone of a mount that is a slave would be one too.
    var propagation: Propagation? = configuration.propagation == .set(.private) ? .private : nil
    switch mount.kind {
    case .bind(let writable):
      if writable { clear = .readOnly } else { set = .readOnly }
    case .filesystem(_, let flags, _):
      set = flags.attributes
      if !set.isDisjoint(with: .accessTime) { clear = .accessTime }
      propagation = flags.propagationChange ?? propagation
    }
    if set.isEmpty, clear.isEmpty, propagation == nil { return }
    try clone.set(set, clear: clear, propagation: propagation, recursive: mount.isRecursive)
  }

  func attach(
    _ clone: Held, _ target: String, in root: borrowing Descriptor, _ rootPath: String
  ) throws(SystemError) {
    let isDirectory = try clone.descriptor.status(shown: target).isDirectory
    let place = try Destination(
      target, in: root, rootPath: rootPath, making: missing(isDirectory: isDirectory))
    try moveMount(clone.descriptor, on: place.descriptor, shown: place.shown)
  }

  /// Everything of `-k` that is not a bind. The working directory is elsewhere afterwards.
  func mountNew(
    _ mount: JailMount, _ target: String, in root: borrowing Descriptor, _ rootPath: String
  ) throws(SystemError) {
    guard case .filesystem(let type, let flags, let data) = mount.kind else { return }
    if mount.isChange {
      let place = try Destination(target, in: root, rootPath: rootPath)
      if flags.contains(.remount), flags.contains(.bind) {
        return try changeAttributes(flags, of: place)
      }
      if !flags.contains(.remount), let propagation = flags.propagationChange {
        return try setMountAttributes(
          place.descriptor, [], propagation: propagation, recursive: flags.contains(.recursive),
          shown: place.shown)
      }
      return try mountHere(mount.source, place, type, flags, data)
    }
    if flags.contains(.move) {
      let source = try Descriptor(followingLinks: mount.source)
      let isDirectory = try source.status(shown: mount.source).isDirectory
      let place = try Destination(
        target, in: root, rootPath: rootPath, making: missing(isDirectory: isDirectory))
      return try moveMount(source, on: place.descriptor, shown: place.shown)
    }
    if mount.source.hasPrefix("/") { _ = try Descriptor(followingLinks: mount.source) }
    let place = try Destination(
      target, in: root, rootPath: rootPath, making: missing(isDirectory: true))
    try mountHere(mount.source, place, type, flags, data)
  }

  /// mount(2) wants a path, and `.` is the one that names a descriptor.
  private func mountHere(
    _ source: String, _ place: borrowing Destination, _ type: String, _ flags: MountFlags,
    _ data: String
  ) throws(SystemError) {
    try changeDirectory(to: place.descriptor, shown: place.shown)
    try mountFilesystem(
      source, on: ".", type: type, flags: UInt(flags.rawValue), data: data, shown: place.shown)
  }

  /// What `MS_REMOUNT|MS_BIND` means: exactly these flags, and the access times as they were
  /// unless one is given.
  private func changeAttributes(
    _ flags: MountFlags, of place: borrowing Destination
  ) throws(SystemError) {
    let all: MountAttributes = [
      .readOnly, .noSetID, .noDevices, .noExecution, .noSymlinkFollow, .noDirectoryAccessTime,
    ]
    var clear = all.subtracting(flags.attributes)
    if !flags.attributes.isDisjoint(with: .accessTime) { clear.formUnion(.accessTime) }
    try setMountAttributes(
      place.descriptor, flags.attributes, clear: clear, shown: place.shown)
  }
}
