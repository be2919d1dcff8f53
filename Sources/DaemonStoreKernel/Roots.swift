import CDaemonStoreLinux
import Glibc

extension Descriptor {
  /// Opens what an administrator named, following symbolic links, as open(2) does.
  package init(followingLinks path: FilePath, flags: CInt = LINUX_O_PATH) throws(SystemError) {
    try self.init(opening: path, at: AT_FDCWD, flags: flags, resolve: 0, shown: path)
  }

  /// Opens what the user named, for reading to its end. Opening waits for nothing; reading a named
  /// pipe does, until there is a writer.
  package init(readingNamed path: FilePath) throws(SystemError) {
    let file = try Descriptor(followingLinks: path, flags: O_RDONLY | O_NONBLOCK | O_NOCTTY)
    let isPipe = try file.status(shown: path).mode & S_IFMT == S_IFIFO
    try check("fcntl", path, fcntl(file.number, F_SETFL, O_RDONLY))
    // Before its first writer a pipe seems to be at its end.
    if isPipe { _ = try waitUntilReadable([file.number]) }
    self.init(owning: file.release())
  }

  /// Opens the entry `name` of `directory` itself, also where it is a symbolic link.
  package init(
    entry name: FilePath, of directory: borrowing Descriptor, flags: CInt = LINUX_O_PATH,
    mode: mode_t = 0, shown: FilePath
  ) throws(SystemError) {
    try self.init(
      opening: name, at: directory.number, flags: flags | O_NOFOLLOW, mode: mode,
      resolve: 0, shown: shown)
  }

  /// Opens what the symbolic link `name` of `directory` leads to.
  package init(
    following name: FilePath, in directory: borrowing Descriptor, shown: FilePath
  ) throws(SystemError) {
    try self.init(
      opening: name, at: directory.number, flags: LINUX_O_PATH, resolve: 0, shown: shown)
  }

  /// The text of the symbolic link that is open here: readlinkat(2).
  package func linkText(shown: FilePath) throws(SystemError) -> FilePath {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = try check("readlink", shown, readlinkat(number, "", &buffer, buffer.count))
    guard let text = FilePath(buffer[..<count].map { UInt8(bitPattern: $0) }) else {
      throw SystemError(operation: "readlink", path: shown, code: EINVAL)
    }
    return text
  }

  /// Whether what is open here is on a `/proc`, whose links are not text.
  package func isOnProc() throws(SystemError) -> Bool {
    var type: UInt64 = 0
    try check("fstatfs", nil, linux_file_system_type(number, &type))
    return type == 0x9fa0  // PROC_SUPER_MAGIC
  }

  /// Opens `path` below the working directory or the root, without a symbolic link on the way.
  package init(withoutLinks path: FilePath, flags: CInt = LINUX_O_PATH) throws(SystemError) {
    try self.init(
      opening: path, at: AT_FDCWD, flags: flags,
      resolve: RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS, shown: path)
  }

  /// Opens `path` for the calls that take a directory and a name, as long as the kernel knows the
  /// way by heart: it asks no file system (`RESOLVE_CACHED`, Linux 5.12; else `EAGAIN`).
  package init(openingCached path: FilePath) throws(SystemError) {
    var attempts = 0
    while true {
      do {
        try self.init(
          opening: path, at: AT_FDCWD, flags: LINUX_O_PATH,
          resolve: RESOLVE_CACHED | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
          shown: path)
        return
      } catch  where error.code == EAGAIN && attempts < 20 {
        attempts += 1  // perhaps only because somebody mounted or renamed something meanwhile
        usleep(100)
      }
    }
  }
}

/// mount(2), as it is. A path that ends in the working directory (`.`) needs no second look-up.
package func mountFilesystem(
  _ source: FilePath, on target: FilePath, type: FilePath, flags: UInt, data: FilePath,
  shown: FilePath
) throws(SystemError) {
  try check(
    "mount", shown,
    Glibc.mount(source.cString, target.cString, type.cString, flags, data.cString))
}

/// Moves the mount whose root is open at `mount`, with all below it, on what is open at `target`:
/// move_mount(2). A mount that was detached is attached, and `mount` stays open on it.
package func moveMount(
  _ mount: borrowing Descriptor, on target: borrowing Descriptor, shown: FilePath
) throws(SystemError) {
  try check(
    "move_mount", shown,
    move_mount(
      mount.number, "", target.number, "",
      UInt32(MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)))
}

/// umount2(2) by path, without following a link in its last component.
package func unmount(_ path: FilePath, lazily: Bool) throws(SystemError) {
  try check(
    "umount", path, umount2(path.cString, CInt(UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0))))
}

/// chroot(2), and `/` as the working directory.
package func changeRoot(to path: FilePath) throws(SystemError) {
  try check("chroot", path, chroot(path.cString))
  try check("chdir", "/", chdir("/"))
}

/// Makes the directory the working directory: fchdir(2).
package func changeDirectory(
  to directory: borrowing Descriptor, shown: FilePath
) throws(SystemError) {
  try check("fchdir", shown, fchdir(directory.number))
}

extension DetachedMount {
  /// The root of the mount alone, for who moves it with ``moveMount(_:on:shown:)`` and goes on
  /// using it there.
  package consuming func intoDescriptor() -> Descriptor { root.intoDescriptor() }
}

extension Directory {
  /// What was opened elsewhere; it must be a directory.
  package init(owning descriptor: consuming Descriptor, path: FilePath) {
    self.init(descriptor, path: path)
  }

  package consuming func intoDescriptor() -> Descriptor { descriptor }
}
