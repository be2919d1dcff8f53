import Glibc

/// The next contents of a file, which appear as a whole or not at all: they are written beside it,
/// and then take its place, with its mode and owner. What is no regular file, a device or a pipe,
/// stays what it is and is written to.
package final class FileReplacement {
  private let file: Descriptor
  private let target: FilePath
  /// nil where the place itself is written to.
  private let temporary: FilePath?
  private var isDone = false

  /// Opens what ``commit(_:)`` needs, so that little is left that could fail then. A symbolic link
  /// is followed.
  package init(of path: FilePath) throws(SystemError) {
    var status = stat()
    let exists = stat(path.cString, &status) == 0
    guard !exists || status.st_mode & S_IFMT == S_IFREG else {
      target = path
      temporary = nil
      file = Descriptor(
        owning: try check("open", path, open(path.cString, O_WRONLY | O_CLOEXEC)))
      return
    }
    var real = path
    if exists, let pointer = realpath(path.cString, nil) {
      real = FilePath(cString: pointer)
      free(pointer)
    }
    let other: FilePath = "\(real).new-\(getpid())"
    file = Descriptor(
      owning: try check(
        "open", path, open(other.cString, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)))
    target = real
    temporary = other
    if exists {
      // Somebody else's file becomes ours: its mode counts all the more.
      _ = fchown(file.number, status.st_uid, status.st_gid)
      try check("chmod", path, fchmod(file.number, status.st_mode & 0o7777))
    }
  }

  deinit { if let temporary, !isDone { unlink(temporary.cString) } }

  /// Writes all of it and puts it in its place.
  package func commit(_ bytes: [UInt8]) throws(SystemError) {
    try file.write(bytes, shown: target)
    if let temporary {
      try check("rename", target, rename(temporary.cString, target.cString))
    }
    isDone = true
  }
}
