import CDaemonStoreLinux
import Glibc

/// Lets this process open as many files as it may: a login has one open for each store. Programs
/// that it starts inherit that.
package func raiseDescriptorLimit() { linux_raise_descriptor_limit() }

/// Sets the limit back to what it was, for a program that takes the place of this one.
package func restoreDescriptorLimit() { linux_restore_descriptor_limit() }

/// An open file descriptor with one owner.
package struct Descriptor: ~Copyable, Sendable {
  /// Lent for one call: whoever borrows it neither stores nor closes it.
  package let number: CInt

  package init(owning number: CInt) { self.number = number }

  /// Opens `path`, refusing a symbolic link anywhere in it (openat2(2)); `O_CLOEXEC` is implied.
  package init(opening path: FilePath, flags: CInt, mode: mode_t = 0) throws(SystemError) {
    try self.init(
      opening: path, at: AT_FDCWD, flags: flags, mode: mode,
      resolve: RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS, shown: path)
  }

  /// openat2(2) with `resolve` as given; `shown` is what an error calls the place.
  init(
    opening path: FilePath, at directory: CInt, flags: CInt, mode: mode_t = 0,
    resolve: CInt, shown: FilePath
  ) throws(SystemError) {
    var how = open_how()
    how.flags = UInt64(flags | O_CLOEXEC)
    how.mode = UInt64(mode)
    how.resolve = UInt64(resolve)
    do {
      number = try check("open", shown, linux_openat2(directory, path.cString, &how))
    } catch  where error.code == ENOSYS {
      throw SystemError(operation: "openat2", path: shown, code: ENOSYS)
    }
  }

  deinit { _ = Glibc.close(number) }

  /// Closes now, with the error that `deinit` would swallow: for a file that was written to.
  package consuming func close() throws(SystemError) {
    let number = number
    discard self
    if Glibc.close(number) != 0 { throw SystemError(operation: "close", path: nil, code: errno) }
  }

  /// Gives the descriptor up: whoever asks closes it.
  package consuming func release() -> CInt {
    let number = number
    discard self
    return number
  }

  /// What is open here. An `O_PATH` descriptor will do.
  package func status(shown: FilePath? = nil) throws(SystemError) -> FileStatus {
    try FileStatus(at: number, "", flags: LINUX_AT_EMPTY_PATH, shown: shown)
  }

  /// The bytes up to the end of the file, at most `limit`; nil when there are more.
  package func read(atMost limit: Int, shown: FilePath) throws(SystemError) -> [UInt8]? {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = try check("read", shown, Glibc.read(number, &buffer, buffer.count))
      if count == 0 { return bytes }
      bytes += buffer[..<count]
      if bytes.count > limit { return nil }
    }
  }

  /// As many of `count` bytes at `offset` as there are: none where reading fails.
  package func bytes(at offset: UInt64, count: Int) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: count)
    let got = pread(number, &buffer, count, off_t(truncatingIfNeeded: offset))
    return Array(buffer.prefix(max(0, got)))
  }

  /// fsync(2): what was written is on the disk.
  package func sync(shown: FilePath) throws(SystemError) {
    try check("fsync", shown, fsync(number))
  }

  package func write(_ bytes: [UInt8], shown: FilePath) throws(SystemError) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let written = try check(
        "write", shown, rest.withUnsafeBytes { Glibc.write(number, $0.baseAddress, $0.count) })
      rest = rest.dropFirst(written)
    }
  }
}
