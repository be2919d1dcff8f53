import CDaemonStoreLinux
import Glibc

extension Directory {
  /// The names in this directory, sorted by their bytes.
  package func names() throws(SystemError) -> [FilePath] { try unsortedNames().sorted() }

  /// - Parameter limit: stop after so many; while others go on making files, a directory may not end.
  package func unsortedNames(atMost limit: Int = .max) throws(SystemError) -> [FilePath] {
    var names: [FilePath] = []
    guard limit > 0 else { return names }
    try forEachName { name in
      names.append(name)
      return names.count < limit
    }
    return names
  }

  /// Calls `body` with each name as it is read, until that returns false: some directories of `/proc` have
  /// a million.
  package func forEachName(
    _ body: (FilePath) throws(SystemError) -> Bool
  ) throws(SystemError) {
    let readable = try file(".", flags: O_RDONLY | O_DIRECTORY)
    guard let stream = fdopendir(readable.number) else {
      throw SystemError(operation: "opendir", path: path, code: errno)
    }
    _ = readable.release()  // the stream's now
    defer { closedir(stream) }
    while true {
      errno = 0
      guard let entry = readdir(stream) else { break }
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { FilePath(truncating: $0) }
      if name != "." && name != "..", try !body(name) { return }
    }
    guard errno == 0 else {
      throw SystemError(operation: "readdir", path: path, code: errno)
    }
  }

  /// Calls `body` with each file in this directory, at all depths but not in other mounts, and with
  /// its path from here. Neither descriptors nor the stack grow with the depth.
  ///
  /// - Returns: whether nothing was left out, as what lies too deep for a path is.
  package func forEachFile(_ body: (_ path: FilePath, _ file: FileStatus) -> Void) -> Bool {
    var isComplete = true
    var pending: [FilePath] = ["."]
    while let path = pending.popLast() {
      do throws(SystemError) {
        let directory = try rawDirectory(below: path)
        for name in try directory.unsortedNames() {
          let status: FileStatus
          do {
            status = try FileStatus(
              at: directory.descriptor.number, name, flags: 0, shown: nil)
          } catch  where error.code == ENOENT {
            continue
          }
          guard !status.isMountRoot else { continue }
          let inner = path == "." ? name : path.appending(name)
          body(inner, status)
          if status.isDirectory { pending.append(inner) }
        }
      } catch {
        if error.code != ENOENT { isComplete = false }
      }
    }
    return isComplete
  }

  func rawDirectory(below path: FilePath) throws(SystemError) -> Directory {
    var how = open_how()
    how.flags = UInt64(Self.flags | O_CLOEXEC)
    how.resolve = UInt64(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV)
    let file = try check("open", self.path, linux_openat2(descriptor.number, path.cString, &how))
    return Directory(Descriptor(owning: file), path: self.path)
  }

  /// Removes `name` and what is in it, as long as that is nothing but directories; the first file
  /// stops it (`ENOTEMPTY`).
  package func removeEmptyTree(_ name: FilePath) throws(SystemError) {
    guard let status = try status(of: name), status.isDirectory else { return }
    let child = try directory(name, crossingMounts: false)
    for inner in try child.names() { try child.removeEmptyTree(inner) }
    try removeDirectory(name)
  }

  /// Removes everything in this directory, also what is marked immutable or append-only. Nothing in
  /// another mount: a mount point stays. Directories of any depth: what lies deep is moved up first,
  /// so that neither descriptors nor the stack grow with it.
  ///
  /// Files that other processes make faster than they are removed are not waited for: then the last
  /// of what is returned is `ENOTEMPTY`.
  ///
  /// - Parameter emptyingFiles: truncate each file first, so that a process with the file open keeps
  ///   nothing. Only a file with no other name: a hard link elsewhere, a backup, keeps its contents.
  /// - Returns: what could not be removed, each once.
  package func removeContents(
    emptyingFiles empties: Bool = false
  ) throws(SystemError) -> [SystemError] {
    var errors: [SystemError] = []
    var kept: Set<FilePath> = []
    var moved = 0
    var effort = try removalEffort()
    while true {
      let names = try unsortedNames(atMost: max(effort + kept.count, 1)).filter {
        !kept.contains($0)
      }
      if names.isEmpty { return errors }
      for name in names {
        guard effort > 0 else {
          return errors + [SystemError(operation: "rmdir", path: path, code: ENOTEMPTY)]
        }
        effort -= 1
        let before = errors.count
        do throws(SystemError) {
          if try !remove(name, empties) { try empty(name, empties, &moved, &effort, &errors) }
        } catch {
          errors.append(error)
        }
        if errors.count > before { kept.insert(name) }
      }
    }
  }

  /// Removes everything in an encrypted directory whose key is not there, where nothing can be moved
  /// or emptied, and that nobody else works in. Of any depth.
  ///
  /// - Throws: for the first that could not be removed; the rest is there still.
  package func removeLockedContents() throws(SystemError) {
    var current = try directory(".")
    var depth = 0
    while true {
      let names = try current.unsortedNames(atMost: 1_000)
      if let inner = try current.firstNotRemoved(of: names) {
        current = try current.rawDirectory(inner)
        depth += 1
      } else if names.isEmpty {
        if depth == 0 { return }
        current = try current.rawDirectory("..")
        depth -= 1
      }
    }
  }

  /// Removes them, up to a directory that is not empty.
  private func firstNotRemoved(of names: [FilePath]) throws(SystemError) -> FilePath? {
    for name in names where try !remove(name, false) { return name }
    return nil
  }

  /// So many attempts suffice for what the file system holds now: one for a file; for a directory
  /// that lies deep one to remove it there, one to move it, and two here.
  private func removalEffort() throws(SystemError) -> Int {
    var space = statvfs()
    try check("statvfs", path, fstatvfs(descriptor.number, &space))
    // Some do not count their files, and hard links are more names than files.
    guard space.f_files > space.f_ffree else { return 1_000_000 }
    return Int(clamping: min(space.f_files - space.f_ffree, 1 << 48)) * 4 + 10_000
  }

  /// Removes what is in the directory `name`, or moves it here.
  private func empty(
    _ name: FilePath, _ empties: Bool, _ moved: inout Int, _ effort: inout Int,
    _ errors: inout [SystemError]
  ) throws(SystemError) {
    let child = try rawDirectory(name)
    for inner in try child.unsortedNames(atMost: max(effort, 1)) where effort > 0 {
      effort -= 1
      do throws(SystemError) {
        if try child.remove(inner, empties) { continue }
        repeat {
          moved += 1
          effort -= 1
        } while try !moveUp(inner, from: child, as: ".removed-\(moved)") && effort > 0
      } catch {
        errors.append(error)
      }
    }
  }

  func rawDirectory(_ name: FilePath) throws(SystemError) -> Directory {
    let shown = path(of: name)
    return Directory(
      Descriptor(
        owning: try check(
          "open", shown, openat(descriptor.number, name.cString, Self.flags | O_CLOEXEC))),
      path: shown)
  }

  /// Removes a file or an empty directory; false for a directory that is not empty.
  private func remove(_ name: FilePath, _ empties: Bool) throws(SystemError) -> Bool {
    if empties { truncate(name) }
    var code = unlink(name)
    if code == EPERM {
      _ = linux_clear_protection(descriptor.number, ".")
      // Another name of the file keeps the mark: it may be a backup outside.
      let mark = linux_clear_protection(descriptor.number, name.cString)
      defer { linux_restore_protection(mark) }
      if empties { truncate(name) }
      code = unlink(name)
    }
    if code == 0 { return true }
    guard code == ENOTEMPTY || code == EEXIST else {
      throw SystemError(operation: "unlink", path: path(of: name), code: code)
    }
    return false
  }

  /// Removes a file or an empty directory. Returns 0, or the error of the call that fits the type.
  private func unlink(_ name: FilePath) -> CInt {
    guard unlinkat(descriptor.number, name.cString, 0) != 0 else { return 0 }
    let code = errno
    // A directory is refused with EISDIR, or with EPERM as POSIX has it.
    guard code == EISDIR || code == EPERM else { return code }
    guard unlinkat(descriptor.number, name.cString, AT_REMOVEDIR) != 0 else { return 0 }
    return errno == ENOTDIR ? code : errno
  }

  /// Empties a regular file that has no other name. One that cannot be emptied is removed all the
  /// same.
  private func truncate(_ name: FilePath) {
    let flags = O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
    var status = stat()
    guard fstatat(descriptor.number, name.cString, &status, AT_SYMLINK_NOFOLLOW) == 0,
      status.st_mode & S_IFMT == S_IFREG, status.st_nlink == 1
    else { return }
    let file = openat(descriptor.number, name.cString, flags)
    guard file >= 0 else { return }
    defer { close(file) }
    // Asked again: the name may lead to another file by now.
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_nlink == 1
    else { return }
    _ = ftruncate(file, 0)
  }

  /// Moves a directory of `child` here; false when the new name is taken.
  private func moveUp(
    _ name: FilePath, from child: borrowing Directory, as new: FilePath
  ) throws(SystemError) -> Bool {
    do {
      do {
        try rename(name, from: child, as: new)
      } catch  where error.code == EPERM {
        // The moved directory changes, too: its `..`.
        _ = linux_clear_protection(descriptor.number, ".")
        _ = linux_clear_protection(child.descriptor.number, ".")
        _ = linux_clear_protection(child.descriptor.number, name.cString)
        try rename(name, from: child, as: new)
      }
      return true
    } catch  where error.code == EEXIST {
      return false
    }
  }

  private func rename(
    _ name: FilePath, from child: borrowing Directory, as new: FilePath
  ) throws(SystemError) {
    try check(
      "rename", child.path(of: name),
      linux_rename_new(child.descriptor.number, name.cString, descriptor.number, new.cString))
  }
}
