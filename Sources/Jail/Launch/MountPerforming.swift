import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

extension JailBuilder {
  /// The root that destinations are looked up in, opened anew each time: an earlier mount may have
  /// come on top of it. A new root that is missing is made; it stays behind.
  func openRoot() throws(SystemError) -> SharedDescriptor {
    let path = context.root.path ?? "/"
    let flags = LINUX_O_PATH | O_DIRECTORY
    if let root = try SharedDescriptor(opening: path, flags: flags) { return root }
    guard path.isAbsolute else {
      throw SystemError(operation: "open", path: path, code: ENOENT)
    }
    let host = SharedDescriptor(try Descriptor(followingLinks: "/" as FilePath, flags: flags))
    return try Destination(
      path, in: host, newRoot: nil, making: .init(isDirectory: true, owner: 0, group: 0)
    ).place
  }

  /// A mount point is made for the program's user, as in the reference.
  func missing(isDirectory: Bool) -> PathWalk.Missing {
    .init(isDirectory: isDirectory, owner: context.user, group: context.group)
  }

  /// One `-b` or `-k` in the new `/dev`: what is left to do when that is shown.
  func prepareInDevices(_ mount: JailMount) throws(JailError) {
    let devices = try devices.get()
    guard mount.isBind else { return devices.wait(for: .init(mount: mount, clone: nil)) }
    if let clone = try cloned(mount) {
      devices.wait(for: .init(mount: mount, clone: clone))
    }
  }

  /// One `-b` or `-k`.
  func perform(_ mount: JailMount) throws(JailError) {
    if mount.isBind {
      guard let clone = try cloned(mount) else { return }
      try mounting(mount) { () throws(SystemError) in
        let root = try openRoot()
        try attach(clone, mount.target, in: root, context.root.path, for: mount)
      }
    } else {
      try mounting(mount) { () throws(SystemError) in
        let root = try openRoot()
        try mountNew(mount, mount.target, in: root, context.root.path)
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
  private func cloned(_ mount: JailMount) throws(JailError) -> SharedDescriptor? {
    let source: SharedDescriptor
    do throws(SystemError) { source = try place(ofSource: mount) } catch {
      guard error.code == ENOENT, mount.isOptional else {
        throw JailError(
          "mount \(mount.source) on \(mount.target): \(error)"
            + (error.code == ENOENT ? hint(forMissing: mount) : ""),
          status: ExitStatus.mountFailed)
      }
      log.warning("\(mount.source) is missing: the jail has no \(mount.target)")
      return nil
    }
    do throws(SystemError) {
      let detached = try DetachedMount(
        cloning: source.descriptor, recursive: mount.isRecursive, shown: mount.source)
      try setAttributes(of: mount, on: detached)
      return SharedDescriptor(detached.intoDescriptor())
    } catch {
      let isPart = error.code == EINVAL && !mount.isRecursive && context.isInUserNamespace
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
    var propagation: Propagation? = context.copiesArePrivate ? .private : nil
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
    _ clone: SharedDescriptor, _ target: FilePath, in root: SharedDescriptor, _ newRoot: FilePath?,
    for mount: JailMount
  ) throws(SystemError) {
    let isDirectory = try clone.descriptor.status(shown: target).isDirectory
    let place = try destination(
      target, in: root, newRoot, making: missing(isDirectory: isDirectory), for: mount)
    try moveMount(clone.descriptor, on: place.descriptor, shown: place.shown)
  }

  /// Everything of `-k` that is not a bind. The working directory is elsewhere afterwards.
  func mountNew(
    _ mount: JailMount, _ target: FilePath, in root: SharedDescriptor, _ newRoot: FilePath?
  ) throws(SystemError) {
    guard case .filesystem(let type, let flags, let data) = mount.kind else { return }
    if mount.isChange {
      let place = try destination(target, in: root, newRoot, for: mount)
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
      let source = try self.place(ofSource: mount)
      let isDirectory =
        try source.descriptor.status(shown: mount.source).isDirectory
      let place = try destination(
        target, in: root, newRoot, making: missing(isDirectory: isDirectory), for: mount)
      return try moveMount(
        source.descriptor, on: place.descriptor, shown: place.shown)
    }
    if mount.source.isAbsolute { _ = try self.place(ofSource: mount) }
    let place = try destination(
      target, in: root, newRoot, making: missing(isDirectory: true), for: mount)
    try mountHere(mount.source, place, type, flags, data)
  }

  /// mount(2) wants a path, and `.` is the one that names a descriptor.
  private func mountHere(
    _ source: FilePath, _ place: Destination, _ type: RawArgument, _ flags: MountFlags,
    _ data: RawArgument
  ) throws(SystemError) {
    try changeDirectory(to: place.descriptor, shown: place.shown)
    try mountFilesystem(
      source, on: ".", type: FilePath(type), flags: UInt(flags.rawValue),
      data: FilePath(data), shown: place.shown)
  }

  /// What `MS_REMOUNT|MS_BIND` means: exactly these flags, and the access times as they were
  /// unless one is given.
  private func changeAttributes(
    _ flags: MountFlags, of place: Destination
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
