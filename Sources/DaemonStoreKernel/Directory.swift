import CDaemonStoreLinux
import Glibc

/// A directory that is held open. What is done in it is done by name from here, so nobody who
/// renames or replaces part of its path can lead it elsewhere. `path` is only for messages.
package struct Directory: ~Copyable, Sendable {
  /// `O_PATH`: for the calls that take a directory and a name.
  package let descriptor: Descriptor
  package let path: FilePath

  init(_ descriptor: consuming Descriptor, path: FilePath) {
    self.descriptor = descriptor
    self.path = path
  }

  static let flags = LINUX_O_PATH | O_DIRECTORY | O_NOFOLLOW

  /// Opens an absolute path without symbolic links in it.
  package init(opening path: FilePath) throws(SystemError) {
    self.init(try Descriptor(opening: path, flags: Self.flags), path: path)
  }

  /// Opens what the user named, following symbolic links: only for a path from the command line.
  package init(followingLinks path: FilePath) throws(SystemError) {
    let descriptor = try Descriptor(
      opening: path, at: AT_FDCWD, flags: LINUX_O_PATH | O_DIRECTORY, resolve: 0, shown: path)
    let path = try linkTarget(of: "/proc/self/fd/\(descriptor.number)")
    self.init(descriptor, path: path)
  }

  /// The path of `name` in here, for messages.
  package func path(of name: FilePath) -> FilePath { path.appending(name) }

  /// Opens the directory `name`, which may have several components, beneath this one and without
  /// a symbolic link in it. With `crossingMounts` false, a mount point on the way is refused
  /// (`EXDEV`): what is opened is then on the very mount that this directory is on.
  package func directory(
    _ name: FilePath, crossingMounts: Bool = true
  ) throws(SystemError) -> Directory {
    Directory(
      try file(name, flags: Self.flags, crossingMounts: crossingMounts), path: path(of: name))
  }

  /// Opens or creates a file beneath this directory, by the same rules.
  package func file(
    _ name: FilePath, flags: CInt, mode: mode_t = 0, crossingMounts: Bool = true
  ) throws(SystemError) -> Descriptor {
    try Descriptor(
      opening: name, at: descriptor.number, flags: flags, mode: mode,
      resolve: RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
        | (crossingMounts ? 0 : RESOLVE_NO_XDEV),
      shown: path(of: name))
  }

  package func status() throws(SystemError) -> FileStatus { try descriptor.status(shown: path) }

  /// What `name` is, itself if it is a symbolic link; nil when there is nothing. Shows the root
  /// of what is mounted there, if something is.
  package func status(of name: FilePath) throws(SystemError) -> FileStatus? {
    do {
      return try FileStatus(at: descriptor.number, name, flags: 0, shown: path(of: name))
    } catch  where error.code == ENOENT {
      return nil
    }
  }

  /// The file that the magic link `name` leads to; nil when there is none. A file system that does
  /// not answer, as FUSE does not to other users, is known by its device and mount alone.
  package func status(behind name: FilePath) throws(SystemError) -> FileStatus? {
    do {
      return try FileStatus(
        at: descriptor.number, name, flags: 0, followingLinks: true, shown: path(of: name))
    } catch {
      guard ![ENOENT, ESRCH].contains(error.code) else { return nil }
      let least = try? FileStatus(leastAt: descriptor.number, name, shown: path(of: name))
      guard let least else { throw error }  // the first error is the one that counts
      return least
    }
  }

  /// The same of a path of several names, none of them a symbolic link.
  package func status(below path: FilePath) throws(SystemError) -> FileStatus? {
    var how = open_how()
    how.flags = UInt64(LINUX_O_PATH | O_NOFOLLOW | O_CLOEXEC)
    how.resolve = UInt64(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    do {
      let shown = self.path(of: path)
      let file = Descriptor(
        owning: try check("open", shown, linux_openat2(descriptor.number, path.cString, &how)))
      return try file.status(shown: shown)
    } catch  where error.code == ENOENT {
      return nil
    }
  }

  /// Creates `name`; false when there is something already, whatever it is.
  @discardableResult
  package func makeDirectory(_ name: FilePath, mode: mode_t = 0o700) throws(SystemError) -> Bool {
    do {
      try check("mkdir", path(of: name), mkdirat(descriptor.number, name.cString, mode))
      return true
    } catch  where error.code == EEXIST {
      return false
    }
  }

  /// Removes an empty directory; false when there is none. A mount on it in another mount
  /// namespace is detached by that (rmdir(2) since Linux 3.18); one in this namespace refuses it.
  @discardableResult
  package func removeDirectory(_ name: FilePath) throws(SystemError) -> Bool {
    do {
      try check("rmdir", path(of: name), unlinkat(descriptor.number, name.cString, AT_REMOVEDIR))
      return true
    } catch  where error.code == ENOENT {
      return false
    }
  }

  /// Removes the directory that something was mounted on. On a file system that became read-only it
  /// stays: empty and without a mount, it shows nothing.
  package func removeMountPoint(_ name: FilePath) throws(SystemError) {
    do {
      try removeDirectory(name)
    } catch {
      guard error.code == EROFS else { throw error }
      // rmdir(2) says so of a name that does not exist, too.
      guard let status = try status(of: name) else { return }
      guard status.isDirectory, !status.isMountRoot, try isEmptyDirectory(name) else { throw error }
    }
  }

  private func isEmptyDirectory(_ name: FilePath) throws(SystemError) -> Bool {
    try directory(name).names().isEmpty
  }

  /// Renames a file within this directory; `EEXIST` when the new name is taken.
  package func renameNew(_ old: FilePath, to new: FilePath) throws(SystemError) {
    try check(
      "rename", path(of: new),
      linux_rename_new(descriptor.number, old.cString, descriptor.number, new.cString))
  }

  /// Renames within this directory; what has the new name is replaced, a directory only if it is
  /// empty (rename(2)).
  package func rename(_ old: FilePath, to new: FilePath) throws(SystemError) {
    try check(
      "rename", path(of: new),
      renameat(descriptor.number, old.cString, descriptor.number, new.cString))
  }

  package func removeFile(_ name: FilePath) throws(SystemError) {
    try check("unlink", path(of: name), unlinkat(descriptor.number, name.cString, 0))
  }

  /// Sets the owner of this directory itself, then its mode, in the order that keeps set-id bits.
  package func set(owner: uid_t, group: gid_t, mode: mode_t) throws(SystemError) {
    try check(
      "chown", path, fchownat(descriptor.number, "", owner, group, LINUX_AT_EMPTY_PATH))
    // "." and not the descriptor: fchmod(2) refuses an O_PATH one.
    try check("chmod", path, fchmodat(descriptor.number, ".", mode, 0))
  }

  /// Flushes the directory itself: after a rename, that the new name is on the disk.
  package func sync() throws(SystemError) {
    let readable = try file(".", flags: O_RDONLY | O_DIRECTORY)
    try check("fsync", path, fsync(readable.number))
  }
}

/// readlink(2), of any length.
package func linkTarget(of path: FilePath) throws(SystemError) -> FilePath {
  var capacity = 256
  while true {
    var buffer = [CChar](repeating: 0, count: capacity)
    let count = try check("readlink", path, readlink(path.cString, &buffer, capacity))
    if count < capacity {
      return FilePath(truncating: buffer[..<count].lazy.map(UInt8.init(bitPattern:)))
    }
    capacity *= 2
  }
}

/// The directory that this program was started from; nil where `/proc` does not show it.
package func programDirectory() -> FilePath? {
  guard let program = try? linkTarget(of: "/proc/self/exe"), program.isAbsolute,
    let name = program.components.last
  else { return nil }
  return program.dropping(suffix: "/\(name)")
}

/// The path of another name of this program, which is a link beside its file; nil where `/proc` does
/// not show that.
package func programPath(called name: String) -> FilePath? {
  programDirectory().map { "\($0)/\(name)" }
}

/// The whole of a small file of the kernel's own (`/proc`, `/sys`), which may be a magic link away.
package func kernelFile(_ path: FilePath) throws(SystemError) -> [UInt8] {
  let descriptor = Descriptor(
    owning: try check("open", path, Glibc.open(path.cString, O_RDONLY | O_CLOEXEC)))
  return try descriptor.read(atMost: .max, shown: path) ?? []
}

extension Directory {
  /// What the symbolic link `name` leads to, as bytes; at most a path's length.
  package func target(ofLink name: FilePath) throws(SystemError) -> FilePath {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
    let count = try check(
      "readlink", path(of: name),
      readlinkat(descriptor.number, name.cString, &buffer, buffer.count - 1))
    return FilePath(truncating: buffer[..<count].lazy.map { UInt8(bitPattern: $0) })
  }

  /// The beginning of what the symbolic link `name` leads to, as far as there is room.
  ///
  /// - Returns: the number of bytes.
  package func target(
    ofLink name: FilePath, into buffer: inout [CChar]
  ) throws(SystemError) -> Int {
    try check(
      "readlink", path(of: name),
      readlinkat(descriptor.number, name.cString, &buffer, buffer.count))
  }

  /// Makes a symbolic link.
  package func makeLink(
    _ name: FilePath, to target: FilePath, owner: uid_t, group: gid_t
  ) throws(SystemError) {
    try check("symlink", path(of: name), symlinkat(target.cString, descriptor.number, name.cString))
    try check(
      "chown", path(of: name),
      fchownat(descriptor.number, name.cString, owner, group, AT_SYMLINK_NOFOLLOW))
  }
}
