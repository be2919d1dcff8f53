import CDaemonStoreLinux
import Glibc

/// A change was made, but the kernel could not say that it is on the disk: a power cut may undo it.
package struct NotDurable: Error, CustomStringConvertible {
  package let cause: SystemError
  package init(_ cause: SystemError) { self.cause = cause }
  package var description: String {
    "\(cause); the change was made, but a power cut now may undo it: look at the disk"
  }
}

extension Directory {
  /// Gives the file `name` these contents and this mode: as a whole or not at all, and on the disk
  /// when this returns. A symbolic link there is replaced, not followed. One process at a time may
  /// do that to a file.
  ///
  /// The data of the file that was there is overwritten in place; see ``destroyFile(_:)``.
  ///
  /// - Throws: ``NotDurable`` when the file has the new contents, but the old may be on the disk.
  package func replaceFile(_ name: FilePath, with bytes: [UInt8], mode: mode_t) throws {
    let temporary: FilePath = ".\(name).new"
    try destroyFile(temporary)  // what an interrupted call left
    do {
      try makeFile(temporary, bytes, mode: mode)
      try replace(name, by: temporary)
    } catch {
      _ = try? removeFile(temporary)  // the first error is the one that counts
      throw error
    }
    try syncChange()
    do throws(SystemError) {
      try destroyFile(temporary)
    } catch {
      throw NotDurable(error)
    }
  }

  /// Gives `name` the file `temporary`, and `temporary` the old one if there was one: so the old data
  /// has a name until it is overwritten, also after a crash.
  private func replace(_ name: FilePath, by temporary: FilePath) throws(SystemError) {
    do {
      try exchange(temporary, with: name)
    } catch  where [ENOENT, EINVAL, ENOSYS].contains(error.code) {
      // No old file; or a file system that cannot exchange.
      try rename(temporary, to: name)
    }
  }

  /// Flushes the directory after a change that is made already.
  package func syncChange() throws(NotDurable) {
    do {
      try sync()
    } catch {
      throw NotDurable(error)
    }
  }

  /// Exchanges two names of this directory.
  package func exchange(_ name: FilePath, with other: FilePath) throws(SystemError) {
    try check(
      "rename", path(of: other),
      linux_exchange(
        descriptor.number, name.cString, descriptor.number, other.cString))
  }

  /// Overwrites the data of a file in place, and removes the file; nothing where there is none. The
  /// data is gone from the disk where the file system writes in place. A file with another name, a
  /// backup by hard links, is only removed.
  package func destroyFile(_ name: FilePath) throws(SystemError) {
    guard let status = try status(of: name) else { return }
    if status.mode & S_IFMT == S_IFREG { try overwriteFile(name) }
    try removeFile(name)
  }

  /// Overwrites the data of a file with zeros, in place and on the disk when this returns: only of a
  /// regular file with one name.
  package func overwriteFile(_ name: FilePath) throws(SystemError) {
    let file = try file(name, flags: O_WRONLY | O_NOFOLLOW | O_NONBLOCK)
    let status = try file.status(shown: path(of: name))
    guard status.mode & S_IFMT == S_IFREG, status.links == 1 else { return }
    let zeros = [UInt8](repeating: 0, count: 1 << 16)
    var rest = status.size
    while rest > 0 {
      let count = Int(min(rest, UInt64(zeros.count)))
      try file.write(Array(zeros[..<count]), shown: path(of: name))
      rest -= UInt64(count)
    }
    try file.sync(shown: path(of: name))
  }

  private func makeFile(_ name: FilePath, _ bytes: [UInt8], mode: mode_t) throws(SystemError) {
    let file = try file(name, flags: O_WRONLY | O_CREAT | O_EXCL, mode: mode)
    try check("chmod", path(of: name), fchmod(file.number, mode))
    try file.write(bytes, shown: path(of: name))
    try file.sync(shown: path(of: name))
    try file.close()
  }
}
