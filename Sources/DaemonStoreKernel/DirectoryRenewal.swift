import CDaemonStoreLinux
import Glibc

/// Puts a new directory in the place of one that another process keeps, with all that is in it and with the
/// same owner, mode and attributes. A process that has the old one, by a descriptor, as a working
/// directory or as the root of a mount, has an empty directory that no path leads to; what was mounted on it in other
/// namespaces is detached (rename(2), rmdir(2)).
///
/// In three steps, each of which a crash may leave half done: the old directory is sealed (root,
/// mode 0), so that no user makes anything in it; what is in it is moved to the new one; the two are
/// exchanged. ``finish(until:)`` completes what it finds.
package struct DirectoryRenewal: ~Copyable {
  /// The directory that paths begin at.
  private let base: Directory
  /// The name in `base` of the directory that the new one is made in.
  private let staging: FilePath
  /// Where old directories are removed: there they keep nothing of where they were.
  private let removalDirectory: Directory?

  private static let fresh: FilePath = "fresh"
  private static let target: FilePath = "target"

  /// - Parameter removalDirectory: on the same file system; nil to remove them in the staging directory.
  package init(
    in base: consuming Directory, staging: FilePath, removalDirectory: consuming Directory? = nil
  ) {
    self.base = base
    self.staging = staging
    self.removalDirectory = removalDirectory
  }

  /// Renews the directory at `path` below the base. Nothing of it may be mounted here, and no
  /// renewal may be unfinished: see ``finish(until:)``.
  ///
  /// - Throws: `ETIMEDOUT` at the deadline: part of the contents may be in the new directory then.
  package func renew(
    _ path: FilePath, until deadline: ContinuousClock.Instant? = nil
  ) throws(SystemError) {
    guard let name = path.components.last else { return }
    let parent = try parent(of: path)
    let old = try parent.rawDirectory(name)
    try base.makeDirectory(staging)
    let place = try base.directory(staging, crossingMounts: false)
    try check(
      "symlink", place.path(of: Self.target),
      symlinkat(path.cString, place.descriptor.number, Self.target.cString))
    try place.makeDirectory(Self.fresh)
    let new = try place.file(Self.fresh, flags: O_RDONLY | O_DIRECTORY)
    let readable = try old.file(".", flags: O_RDONLY | O_DIRECTORY)
    try check(
      "copy attributes of", path, linux_copy_attributes(readable.number, new.number))
    try old.set(owner: 0, group: 0, mode: 0)
    try complete(parent, name, place, until: deadline)
  }

  /// Completes a renewal that was interrupted; does nothing when there was none.
  ///
  /// - Returns: whether there was one.
  @discardableResult
  package func finish(
    until deadline: ContinuousClock.Instant? = nil
  ) throws(SystemError) -> Bool {
    try removeOldDirectories()
    guard try base.status(of: staging)?.isDirectory == true else { return false }
    let place = try base.directory(staging, crossingMounts: false)
    if let path = try target(in: place), try place.status(of: Self.fresh) != nil,
      let name = path.components.last
    {
      let parent = try parent(of: path)
      let old = try parent.rawDirectory(name).status()
      if old.owner == 0, old.permissions == 0 {
        try complete(parent, name, place, until: deadline)
        return true
      }
      // Not sealed yet, or exchanged already: the other one is empty.
    }
    try removeOld(place)
    return true
  }

  /// Moves the contents, exchanges the two, and removes the old one.
  private func complete(
    _ parent: borrowing Directory, _ name: FilePath, _ place: borrowing Directory,
    until deadline: ContinuousClock.Instant?
  ) throws(SystemError) {
    let old = try parent.rawDirectory(name)
    let new = try place.rawDirectory(Self.fresh)
    while true {
      let names = try old.unsortedNames(atMost: 4096)
      if names.isEmpty { break }
      if let deadline, ContinuousClock.now >= deadline {
        throw SystemError(operation: "empty", path: old.path, code: ETIMEDOUT)
      }
      for name in names {
        try check(
          "rename", old.path(of: name),
          linux_rename_new(
            old.descriptor.number, name.cString, new.descriptor.number, name.cString))
      }
    }
    guard try exchange(old, parent, name, place) else {
      try undo(old, new, place)
      throw SystemError(operation: "replace", path: parent.path(of: name), code: EAGAIN)
    }
    try removeOld(place)
  }

  /// Puts the new directory in the place of the old one. Another user who may rename in `parent` can
  /// have put something else there: that goes back, and the old one is looked for.
  ///
  /// - Returns: whether the two were exchanged.
  private func exchange(
    _ old: borrowing Directory, _ parent: borrowing Directory, _ name: FilePath,
    _ place: borrowing Directory
  ) throws(SystemError) -> Bool {
    let identity = try old.status().identity
    for _ in 0..<8 {
      guard let name = try Self.name(of: identity, in: parent, first: name) else { return false }
      func exchange() throws(SystemError) {
        try check(
          "rename", parent.path(of: name),
          linux_exchange(
            place.descriptor.number, Self.fresh.cString, parent.descriptor.number, name.cString))
      }
      do throws(SystemError) {
        try exchange()
      } catch {
        guard error.code == ENOENT else { throw error }
        continue
      }
      if try place.status(of: Self.fresh)?.identity == identity { return true }
      try exchange()
    }
    return false
  }

  /// The name that a directory has in `parent`: usually `first`.
  private static func name(
    of identity: FileIdentity, in parent: borrowing Directory, first: FilePath
  ) throws(SystemError) -> FilePath? {
    if try parent.status(of: first)?.identity == identity { return first }
    for name in try parent.names() where try parent.status(of: name)?.identity == identity {
      return name
    }
    return nil
  }

  /// Moves the contents back to the old directory, wherever that is now, and opens it again.
  private func undo(
    _ old: borrowing Directory, _ new: borrowing Directory, _ place: borrowing Directory
  ) throws(SystemError) {
    for name in try new.names() {
      try check(
        "rename", old.path(of: name),
        linux_rename_new(
          new.descriptor.number, name.cString, old.descriptor.number, name.cString))
    }
    let from = try new.file(".", flags: O_RDONLY | O_DIRECTORY)
    let to = try old.file(".", flags: O_RDONLY | O_DIRECTORY)
    try check("copy attributes of", old.path, linux_copy_attributes(from.number, to.number))
    guard try place.status(of: Self.fresh)?.identity == new.status().identity else { return }
    try removeOld(place)
  }

  /// Removes the directory that is called `fresh` by now, and the staging directory.
  private func removeOld(_ place: borrowing Directory) throws(SystemError) {
    if let status = try place.status(of: Self.fresh) {
      let name = Self.removalName(status)
      switch removalDirectory {
      case .some(let removalDirectory):
        do {
          try check(
            "rename", place.path(of: Self.fresh),
            linux_rename_new(
              place.descriptor.number, Self.fresh.cString, removalDirectory.descriptor.number,
              name.cString))
          try Self.remove(name, in: removalDirectory)
        } catch  where [EXDEV, EPERM].contains(error.code) {
          try place.removeDirectory(Self.fresh)
        }
      case .none: try place.removeDirectory(Self.fresh)
      }
    }
    if try place.status(of: Self.target) != nil { try place.removeFile(Self.target) }
    try base.removeDirectory(staging)
  }

  /// What the names of old directories begin with while they are removed.
  package static let removedPrefix: FilePath = ".removed-"
  private static func removalName(_ status: FileStatus) -> FilePath {
    "\(removedPrefix)\(status.identity.inode)"
  }

  /// Removes an old directory. What is not empty came here by another user's exchange, before a crash or
  /// in a version that did not look: it is kept, and stops nothing.
  private static func remove(
    _ name: FilePath, in removalDirectory: borrowing Directory
  ) throws(SystemError) {
    do throws(SystemError) {
      try removalDirectory.removeDirectory(name)
    } catch {
      guard [ENOTEMPTY, EEXIST, ENOTDIR].contains(error.code) else { throw error }
    }
  }

  /// Removes what a crash has left between two steps of ``removeOld(_:)``.
  private func removeOldDirectories() throws(SystemError) {
    switch removalDirectory {
    case .none: return
    case .some(let removalDirectory):
      for name in try removalDirectory.names()
      where name.dropping(prefix: Self.removedPrefix) != nil {
        try Self.remove(name, in: removalDirectory)
      }
    }
  }

  /// The path that a renewal was for.
  private func target(in place: borrowing Directory) throws(SystemError) -> FilePath? {
    guard try place.status(of: Self.target) != nil else { return nil }
    return try place.target(ofLink: Self.target)
  }

  private func parent(of path: FilePath) throws(SystemError) -> Directory {
    let above = path.components.dropLast()
    guard !above.isEmpty else { return try base.directory(".") }
    return try base.rawDirectory(below: above.reduce(FilePath("")) { $0.appending($1) })
  }
}
