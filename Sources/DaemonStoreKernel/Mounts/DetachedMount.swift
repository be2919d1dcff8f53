import CDaemonStoreLinux
import Glibc

/// How mounts and unmounts spread between a mount and its peers: mount_namespaces(7), "Shared
/// subtrees".
public enum Propagation: String, Sendable, CaseIterable {
  /// Sends to its peer group and receives from it.
  case shared
  /// Receives from its master, and sends nothing.
  case slave
  /// Neither sends nor receives.
  case `private`
  /// As private, and cannot be the source of a bind mount.
  case unbindable

  var flag: Int {
    switch self {
    case .shared: MS_SHARED
    case .slave: MS_SLAVE
    case .private: MS_PRIVATE
    case .unbindable: MS_UNBINDABLE
    }
  }

  /// Sets it on the mount at `path`, and with `recursive` on all below.
  package func set(on path: FilePath, recursive: Bool) throws(SystemError) {
    try check(
      "mount", "\(path) (make it \(rawValue))",
      mount(nil, path.cString, nil, UInt(flag | (recursive ? MS_REC : 0)), nil))
  }
}

/// A mount that no path shows yet; the kernel dissolves one that is never attached.
package struct DetachedMount: ~Copyable {
  /// The root of the mount. What is done here is seen by nobody until it is attached.
  package let root: Directory

  /// A copy of the mount that `source` is on, from `source` down; with `recursive`, of all mounts
  /// below it too. It is a peer of the original until told otherwise.
  package init(
    cloning source: borrowing Descriptor, recursive: Bool = false, shown: FilePath
  ) throws(SystemError) {
    let flags =
      CInt(OPEN_TREE_CLONE) | O_CLOEXEC | LINUX_AT_EMPTY_PATH
      | (recursive ? LINUX_AT_RECURSIVE : 0)
    root = Directory(
      Descriptor(
        owning: try check("open_tree", shown, open_tree(source.number, "", UInt32(flags)))),
      path: shown)
  }

  /// A new file system: fsopen(2), fsconfig(2), fsmount(2).
  package init(
    newFilesystem type: FilePath, source: FilePath, options: [(String, FilePath)],
    attributes: MountAttributes = []
  ) throws(SystemError) {
    let context = Descriptor(
      owning: try check("fsopen", type, fsopen(type.cString, UInt32(FSOPEN_CLOEXEC))))
    for (key, value) in [("source", source)] + options {
      try check(
        "fsconfig", "\(type) \(key)=\(value)",
        fsconfig(context.number, UInt32(FSCONFIG_SET_STRING.rawValue), key, value.cString, 0))
    }
    try check(
      "fsconfig", type,
      fsconfig(context.number, UInt32(FSCONFIG_CMD_CREATE.rawValue), nil, nil, 0))
    root = Directory(
      Descriptor(
        owning: try check(
          "fsmount", type,
          fsmount(context.number, UInt32(FSMOUNT_CLOEXEC), UInt32(attributes.rawValue)))),
      path: type)
  }

  /// Sets and clears attributes and, if given, the propagation, in one step: mount_setattr(2).
  package func set(
    _ set: MountAttributes = [], clear: MountAttributes = [], propagation: Propagation? = nil,
    recursive: Bool = false
  ) throws(SystemError) {
    try setMountAttributes(
      root.descriptor, set, clear: clear, propagation: propagation, recursive: recursive,
      shown: root.path)
  }

  /// Shows the mount on `name` in `directory`, a directory or a file that exists. Nothing is
  /// mounted under an earlier one: a second mount at the place comes on top.
  package consuming func attach(
    on name: FilePath, in directory: borrowing Directory
  ) throws(SystemError) {
    try check(
      "move_mount", directory.path(of: name),
      move_mount(
        root.descriptor.number, "", directory.descriptor.number, name.cString,
        UInt32(MOVE_MOUNT_F_EMPTY_PATH)))
  }

  /// Shows the mount on what is open at `target`.
  package consuming func attach(
    on target: borrowing Descriptor, shown: FilePath
  ) throws(SystemError) {
    try check(
      "move_mount", shown,
      move_mount(
        root.descriptor.number, "", target.number, "",
        UInt32(MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)))
  }
}

/// mount_setattr(2) on the mount whose root is open at `mount`.
package func setMountAttributes(
  _ mount: borrowing Descriptor, _ set: MountAttributes, clear: MountAttributes = [],
  propagation: Propagation? = nil, recursive: Bool = false, shown: FilePath
) throws(SystemError) {
  var attributes = mount_attr()
  attributes.attr_set = set.rawValue
  attributes.attr_clr = clear.rawValue
  attributes.propagation = UInt64(propagation?.flag ?? 0)
  let flags = LINUX_AT_EMPTY_PATH | (recursive ? LINUX_AT_RECURSIVE : 0)
  try check(
    "mount_setattr", shown,
    mount_setattr(
      mount.number, "", UInt32(flags), &attributes, MemoryLayout<mount_attr>.size))
}

extension Directory {
  /// umount2(2) of what is mounted on `name` in here, without following a symbolic link. There is
  /// no form of it that takes a descriptor, so this directory is the working directory meanwhile, and
  /// `/` afterwards: no `/proc` is needed.
  package func unmount(_ name: FilePath, lazily: Bool = false) throws(SystemError) {
    try changeDirectory(to: descriptor, shown: path)
    defer { _ = chdir("/") }
    try check(
      "umount", path(of: name),
      umount2(name.cString, CInt(UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0))))
  }
}
