import DaemonStore
import Glibc
import DaemonStoreKernel

/// `/etc/skel`: what a new home begins with.
enum Skeleton {
  private static let fileLimit = 1 << 24
  private static let depthLimit = 16

  /// Makes the directory `name` with a copy of what is in `/etc/skel`: it appears as a whole, or not at
  /// all. Directories, files and symbolic links are copied, and nothing else.
  static func make(
    _ name: FilePath, in parent: borrowing Directory, _ owner: Owner, _ layout: Layout
  ) throws {
    let temporary: FilePath = ".\(name).new"
    if let old = try parent.existing(temporary) {
      _ = try old.removeContents()
      try parent.removeDirectory(temporary)
    }
    try parent.makeDirectory(temporary)
    let new = try parent.directory(temporary)
    if let source = try template(layout) { try copy(source, to: new, owner, depth: 0) }
    try new.set(owner: owner.user, group: owner.group, mode: 0o700)
    try parent.renameNew(temporary, to: name)
  }

  private static func template(_ layout: Layout) throws -> Directory? {
    do {
      return try Directory(opening: layout.root).trusted("etc/skel")
    } catch let error as SystemError where error.code == ENOENT {
      return nil
    }
  }

  private static func copy(
    _ source: borrowing Directory, to target: borrowing Directory, _ owner: Owner, depth: Int
  ) throws {
    guard depth < depthLimit else {
      throw Refusal(path: source.path, reason: "is too deep for a skeleton of a home")
    }
    for name in try source.names() {
      guard let status = try source.status(of: name) else { continue }
      switch status.mode & S_IFMT {
      case S_IFDIR:
        try target.makeDirectory(name)
        let inner = try target.directory(name)
        try copy(source.directory(name), to: inner, owner, depth: depth + 1)
        try inner.set(owner: owner.user, group: owner.group, mode: status.permissions)
      case S_IFREG: try copyFile(name, status.permissions, from: source, to: target, owner)
      case S_IFLNK:
        let link = try source.target(ofLink: name)
        try target.makeLink(name, to: link, owner: owner.user, group: owner.group)
      default: continue
      }
    }
  }

  private static func copyFile(
    _ name: FilePath, _ mode: mode_t, from source: borrowing Directory,
    to target: borrowing Directory, _ owner: Owner
  ) throws {
    let path = source.path(of: name)
    let old = try source.file(name, flags: O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    guard let bytes = try old.read(atMost: fileLimit, shown: path) else {
      throw Refusal(path: path, reason: "is larger than 16 MiB, too much for a skeleton of a home")
    }
    let new = try target.file(name, flags: O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
    try new.write(bytes, shown: target.path(of: name))
    let shown = target.path(of: name)
    try check("chown", shown, fchown(new.number, owner.user, owner.group))
    // Without set-id bits.
    try check("chmod", shown, fchmod(new.number, mode & 0o777))
    try new.close()
  }
}
