import CDaemonStoreLinux
import Glibc

/// One file on one file system: what stays the same however many mounts show it.
package struct FileIdentity: Hashable, Sendable {
  /// As in `st_dev`. On btrfs this is the subvolume's, and not the one that mountinfo shows.
  package let device: UInt64
  package let inode: UInt64

  package init(device: UInt64, inode: UInt64) {
    self.device = device
    self.inode = inode
  }
}

/// What statx(2) says of a file.
package struct FileStatus: Equatable, Sendable {
  package let identity: FileIdentity
  package let owner: uid_t
  package let group: gid_t
  /// Type and permissions, as in `st_mode`.
  package let mode: mode_t
  package let size: UInt64
  /// The names that it has; 0 when it was removed.
  package let links: UInt32
  /// The id of the mount that shows it, as in the first field of mountinfo (Linux 5.8).
  package let mountID: UInt64
  /// Whether it is the root of that mount: whether something is mounted here (Linux 5.8).
  package let isMountRoot: Bool
  /// Whether fscrypt encrypts it (Linux 5.0).
  package let isEncrypted: Bool

  init(
    at directory: CInt, _ path: FilePath, flags: CInt, followingLinks: Bool = false,
    shown: FilePath?
  ) throws(SystemError) {
    var raw = CDaemonStoreLinux.statx()
    let flags = flags | (followingLinks ? 0 : AT_SYMLINK_NOFOLLOW)
    try check("statx", shown, linux_statx(directory, path.cString, flags, &raw))
    self.init(raw)
  }

  /// The file system and the mount of the file that a link leads to, where the file system says no
  /// more: everything else is 0.
  init(leastAt directory: CInt, _ path: FilePath, shown: FilePath) throws(SystemError) {
    var raw = CDaemonStoreLinux.statx()
    try check("statx", shown, linux_statx_least(directory, path.cString, &raw))
    raw.stx_ino = 0
    raw.stx_mode = 0
    self.init(raw)
  }

  private init(_ raw: CDaemonStoreLinux.statx) {
    identity = FileIdentity(
      device: linux_makedev(raw.stx_dev_major, raw.stx_dev_minor), inode: raw.stx_ino)
    owner = raw.stx_uid
    group = raw.stx_gid
    mode = mode_t(raw.stx_mode)
    size = raw.stx_size
    links = raw.stx_nlink
    mountID = raw.stx_mnt_id
    isMountRoot = raw.stx_attributes & UInt64(STATX_ATTR_MOUNT_ROOT) != 0
    isEncrypted = raw.stx_attributes & UInt64(STATX_ATTR_ENCRYPTED) != 0
  }

  /// The id of what is mounted on `path`, itself if it is a symbolic link; nil when nothing is, or
  /// there is no such path. Since Linux 6.8 no later mount has the same id.
  package static func mountID(at path: FilePath) throws(SystemError) -> UInt64? {
    var id: UInt64 = 0
    do {
      return try check("statx", path, linux_mount_at(path.cString, &id)) == 1 ? id : nil
    } catch  where error.code == ENOENT {
      return nil
    }
  }

  /// The effective user of a process, by the owner of its directory in `/proc`.
  package static func owner(ofProcess process: pid_t) throws(SystemError) -> uid_t {
    try FileStatus(at: AT_FDCWD, "/proc/\(process)", flags: 0, shown: nil).owner
  }

  package var isDirectory: Bool { mode & S_IFMT == S_IFDIR }

  /// The low twelve bits: permissions, set-id, sticky.
  package var permissions: mode_t { mode & 0o7777 }

  /// In words, for an error: `a symbolic link`.
  package var kind: String {
    switch mode & S_IFMT {
    case S_IFDIR: "a directory"
    case S_IFREG: "a file"
    case S_IFLNK: "a symbolic link"
    case S_IFSOCK: "a socket"
    case S_IFIFO: "a named pipe"
    default: "a device"
    }
  }
}
