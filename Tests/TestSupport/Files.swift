import Glibc
import DaemonStoreKernel

/// What went wrong in a test's own preparations.
package struct Problem: Error, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

/// The whole of a file, as text.
package func readFile(_ path: String) throws -> String {
  let file = try check("open", path, open(path, O_RDONLY | O_CLOEXEC))
  defer { close(file) }
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 1 << 16)
  while true {
    let count = try check("read", path, read(file, &buffer, buffer.count))
    if count == 0 { return String(decoding: bytes, as: UTF8.self) }
    bytes += buffer[..<count]
  }
}

/// Writes a file anew.
package func writeFile(
  _ path: String, _ bytes: [UInt8], mode: mode_t = 0o644
) throws {
  let file = try check("open", path, open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode))
  defer { close(file) }
  var rest = bytes[...]
  while !rest.isEmpty {
    let count = try check(
      "write", path, rest.withUnsafeBytes { write(file, $0.baseAddress, $0.count) })
    rest = rest.dropFirst(count)
  }
  try check("chmod", path, fchmod(file, mode))
}

package func writeFile(_ path: String, _ text: String, mode: mode_t = 0o644) throws {
  try writeFile(path, Array(text.utf8), mode: mode)
}

/// Makes a directory with exactly this owner and mode, and those above it that are missing.
package func makeDirectory(
  _ path: String, owner: uid_t = 0, group: gid_t = 0, mode: mode_t = 0o755
) throws {
  let above = path.split(separator: "/").dropLast()
  for count in above.indices {
    let parent = "/" + above[...count].joined(separator: "/")
    if mkdir(parent, 0o755) != 0 && errno != EEXIST {
      throw SystemError(operation: "mkdir", path: parent, code: errno)
    }
  }
  try check("mkdir", path, mkdir(path, 0o700))
  try setOwner(path, owner, group)
  try check("chmod", path, chmod(path, mode))
}

package func setOwner(_ path: String, _ owner: uid_t, _ group: gid_t) throws {
  try check("chown", path, lchown(path, owner, group))
}

package func setMode(_ path: String, _ mode: mode_t) throws {
  try check("chmod", path, chmod(path, mode))
}

package func makeLink(_ path: String, to target: String) throws {
  try check("symlink", path, symlink(target, path))
}

package func remove(_ path: String) throws {
  try check("remove", path, Glibc.remove(path))
}

/// Owner, group and mode, as `5:60 2770`; `nothing` when there is nothing, `link` for a link.
package func attributes(_ path: String) -> String {
  var status = stat()
  guard lstat(path, &status) == 0 else {
    return errno == ENOENT ? "nothing" : String(cString: strerror(errno))
  }
  let kind =
    switch status.st_mode & S_IFMT {
    case S_IFDIR: ""
    case S_IFLNK: "link "
    default: "file "
    }
  return "\(kind)\(status.st_uid):\(status.st_gid) "
    + String(status.st_mode & 0o7777, radix: 8)
}

package func exists(_ path: String) -> Bool {
  var status = stat()
  return lstat(path, &status) == 0
}

/// The names in a directory, sorted, without hidden ones.
package func names(in path: String) throws -> [String] {
  guard let stream = opendir(path) else {
    throw SystemError(operation: "opendir", path: path, code: errno)
  }
  defer { closedir(stream) }
  var names: [String] = []
  while let entry = readdir(stream) {
    let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    if !name.hasPrefix(".") { names.append(name) }
  }
  return names.sorted()
}

/// `mount(2)`.
package func mountFilesystem(
  _ source: String, _ target: String, _ type: String? = nil, _ flags: Int = 0,
  _ options: String? = nil
) throws {
  try check("mount", target, mount(source, target, type, UInt(flags), options))
}

package func bindMount(_ source: String, _ target: String, recursively: Bool = false) throws {
  try mountFilesystem(source, target, nil, MS_BIND | (recursively ? MS_REC : 0))
}

package func unmountFilesystem(_ target: String, lazily: Bool = false) throws {
  try check("umount", target, umount2(target, lazily ? CInt(MNT_DETACH) : 0))
}

/// Whether `condition` comes true before the deadline.
package func eventually(
  within seconds: Double = 20, _ condition: () throws -> Bool
) rethrows -> Bool {
  let deadline = ContinuousClock.now + .seconds(seconds)
  while true {
    if try condition() { return true }
    if ContinuousClock.now > deadline { return false }
    usleep(2_000)
  }
}
