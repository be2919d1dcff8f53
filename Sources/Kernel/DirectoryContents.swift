import CLinux
import Glibc

/// A name in a directory, as the bytes that it is: any but `/` and zero.
private struct RawName {
  /// Ends in a zero byte.
  let bytes: [CChar]
  var text: String {
    String(decoding: bytes.dropLast().lazy.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}

extension Directory {
  /// The names in this directory, sorted by their bytes. A name that is not UTF-8 comes with
  /// replacement characters, so it never equals a real one.
  public func names() throws(SystemError) -> [String] {
    var names: [String] = []
    for name in try rawNames() { names.append(name.text) }
    return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  private func rawNames() throws(SystemError) -> [RawName] {
    let readable = try file(".", flags: O_RDONLY | O_DIRECTORY)
    guard let stream = fdopendir(readable.number) else {
      throw SystemError(operation: "opendir", path: path, code: errno)
    }
    _ = readable.release()  // the stream's now
    defer { closedir(stream) }
    var names: [RawName] = []
    while true {
      errno = 0
      guard let entry = readdir(stream) else { break }
      let bytes = withUnsafeBytes(of: &entry.pointee.d_name) { name in
        name.prefix { $0 != 0 }.map { CChar(bitPattern: $0) }
      }
      if bytes != [46] && bytes != [46, 46] { names.append(RawName(bytes: bytes + [0])) }
    }
    guard errno == 0 else { throw SystemError(operation: "readdir", path: path, code: errno) }
    return names
  }

  /// Removes `name` and what is in it, as long as that is nothing but directories; the first file
  /// stops it (`ENOTEMPTY`).
  public func removeEmptyTree(_ name: String) throws(SystemError) {
    guard let status = try status(of: name), status.isDirectory else { return }
    let child = try directory(name, crossingMounts: false)
    for inner in try child.names() { try child.removeEmptyTree(inner) }
    try removeDirectory(name)
  }

  /// Removes everything in this directory. Nothing in another mount: a mount point in it is an
  /// error of `EBUSY`. Directories of any depth: what lies deep is moved up first, so that neither
  /// descriptors nor the stack grow with it.
  public func removeContents() throws(SystemError) {
    var moved = 0
    while true {
      let names = try rawNames()
      if names.isEmpty { return }
      for name in names where try !remove(name) {
        let shown = path(of: name.text)
        let child = Directory(
          Descriptor(
            owning: try check(
              "open", shown, openat(descriptor.number, name.bytes, Self.flags | O_CLOEXEC))),
          path: shown)
        for inner in try child.rawNames() where try !child.remove(inner) {
          repeat {
            moved += 1
          } while try !moveUp(inner, from: child, as: ".removed-\(moved)")
        }
      }
    }
  }

  /// Removes a file or an empty directory; false for a directory that is not empty.
  private func remove(_ name: RawName) throws(SystemError) -> Bool {
    if unlinkat(descriptor.number, name.bytes, 0) == 0 { return true }
    if unlinkat(descriptor.number, name.bytes, AT_REMOVEDIR) == 0 { return true }
    guard errno == ENOTEMPTY || errno == EEXIST else {
      throw SystemError(operation: "unlink", path: path(of: name.text), code: errno)
    }
    return false
  }

  /// Moves a directory of `child` here; false when the new name is taken.
  private func moveUp(
    _ name: RawName, from child: borrowing Directory, as new: String
  ) throws(SystemError) -> Bool {
    do {
      try check(
        "rename", child.path(of: name.text),
        linux_rename_new(child.descriptor.number, name.bytes, descriptor.number, new))
      return true
    } catch  where error.code == EEXIST {
      return false
    }
  }
}
