import Glibc

extension Directory {
  /// Gives the file `name` these contents and this mode: as a whole or not at all, and on the disk
  /// when this returns. A symbolic link there is replaced, not followed. One process at a time may
  /// do that to a file.
  public func replaceFile(
    _ name: String, with bytes: [UInt8], mode: mode_t
  ) throws(SystemError) {
    let temporary = ".\(name).new"
    do {
      try removeFile(temporary)  // of somebody who was killed
    } catch  where error.code == ENOENT {}
    do {
      try makeFile(temporary, bytes, mode: mode)
      try rename(temporary, to: name)
    } catch {
      _ = try? removeFile(temporary)  // the first error is the one that counts
      throw error
    }
    try sync()
  }

  private func makeFile(_ name: String, _ bytes: [UInt8], mode: mode_t) throws(SystemError) {
    let file = try file(name, flags: O_WRONLY | O_CREAT | O_EXCL, mode: mode)
    try check("chmod", path(of: name), fchmod(file.number, mode))
    try file.write(bytes, shown: path(of: name))
    try file.sync(shown: path(of: name))
    try file.close()
  }
}
