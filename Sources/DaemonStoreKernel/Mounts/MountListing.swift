import CDaemonStoreLinux
import Glibc

/// The mounts of another mount namespace as the kernel keeps them: listmount(2) and statmount(2) with
/// the id of a namespace, Linux 6.11. mountinfo leaves out what is not below the root directory that it
/// is read from, and a mount on `/` of a namespace hides all the others from whoever enters.
package struct MountListing: Sendable {
  /// The id of the namespace, which no other one gets.
  package let space: UInt64

  package init(space: UInt64) { self.space = space }

  /// nil where the kernel does not know these calls (`ENOTTY`). Where it does, an error of theirs is
  /// an error, `ENOSYS` too: a filter of system calls gives that.
  package init?(of namespace: borrowing Descriptor) throws(SystemError) {
    var space: UInt64 = 0
    do {
      try check("NS_GET_MNTNS_ID", nil, linux_mount_namespace_id(namespace.number, &space))
    } catch  where error.code == ENOTTY {
      return nil
    }
    self.space = space
  }

  /// Whether the namespace has come to its end, with all its mounts.
  package func isGone() throws(SystemError) -> Bool {
    try below(linux_mount_root, limit: 1).isEmpty
  }

  /// Lines of mountinfo for the mounts that are missing in `text`, which is the mountinfo of the
  /// namespace. This process must be in another one.
  package func lines(missingIn text: [UInt8]) throws(SystemError) -> [UInt8] {
    guard let ids = try all() else { return [] }
    // Each is looked for: a count of the lines may be right by chance, as the owner of the namespace
    // unmounts one between the two looks.
    let lines = text.split(separator: UInt8(ascii: "\n"))
    let known = Set(lines.map { Array($0.prefix { $0 != UInt8(ascii: " ") }) })
    var missing: [UInt8] = []
    for id in ids.below {
      guard let (status, strings) = try details(of: id),
        !known.contains(Array("\(status.id_old)".utf8))
      else { continue }
      missing += line(status, strings)
    }
    return missing
  }

  /// The root of the namespace, and all that is mounted below it; nil when nothing is, or when the
  /// namespace is gone.
  private func all() throws(SystemError) -> (root: UInt64, below: [UInt64])? {
    guard var root = try below(linux_mount_root, limit: 1).first else { return nil }
    while let parent = try status(of: root)?.parent, parent != root { root = parent }
    return (root, try below(root, limit: .max))
  }

  /// What is mounted below a mount; nothing when that is gone.
  private func below(_ parent: UInt64, limit: Int) throws(SystemError) -> [UInt64] {
    var found: [UInt64] = []
    var ids = [UInt64](repeating: 0, count: min(limit, 4096))
    while found.count < limit {
      let count: Int
      do {
        count = try check(
          "listmount", nil, linux_listmount(space, parent, found.last ?? 0, &ids, ids.count))
      } catch  where error.code == ENOENT {
        break
      }
      found += ids.prefix(count)
      guard count == ids.count else { break }
    }
    return found
  }

  private func status(of id: UInt64) throws(SystemError) -> linux_mount_status? {
    try details(of: id)?.status
  }

  /// nil when the mount is gone.
  private func details(
    of id: UInt64
  ) throws(SystemError) -> (status: linux_mount_status, strings: [UInt8])? {
    var size = 4096
    while true {
      var buffer = [UInt8](repeating: 0, count: size)
      if linux_statmount(space, id, &buffer, size) == 0 {
        let status = buffer.withUnsafeBytes { $0.loadUnaligned(as: linux_mount_status.self) }
        return (status, Array(buffer.dropFirst(Int(LINUX_MOUNT_STRINGS))))
      }
      switch errno {
      case ENOENT: return nil
      case EINTR: continue
      case EOVERFLOW where size < 1 << 24: size *= 4
      default: throw SystemError(operation: "statmount", path: nil, code: errno)
      }
    }
  }

  private func line(_ status: linux_mount_status, _ strings: [UInt8]) -> [UInt8] {
    func string(_ offset: UInt32) -> ArraySlice<UInt8> {
      strings.dropFirst(Int(offset)).prefix { $0 != 0 }
    }
    // Bits of enum statmount_mask: what was not given is not there.
    let hasPoint = status.mask & 0x10 != 0 && !string(status.point).isEmpty
    let options = status.mask & 0x80 != 0 ? string(status.options) : []
    var line = Array("\(status.id_old) \(status.parent_old) \(status.major):\(status.minor) ".utf8)
    line += Self.quoted(string(status.root)) + [UInt8(ascii: " ")]
    line += (hasPoint ? Self.quoted(string(status.point)) : [UInt8(ascii: "/")])
    line += " rw".utf8
    if status.peer_group != 0 { line += " shared:\(status.peer_group)".utf8 }
    if status.master != 0 { line += " master:\(status.master)".utf8 }
    line += " - ".utf8 + Self.quoted(string(status.type)) + " none ".utf8
    line += options.isEmpty ? Array("rw".utf8) : Array(options)
    line.append(UInt8(ascii: "\n"))
    return line
  }

  /// As mountinfo has it, and statmount(2) has not.
  private static func quoted(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    bytes.flatMap { byte -> [UInt8] in
      guard " \t\n\\".utf8.contains(byte) else { return [byte] }
      return [UInt8(ascii: "\\")] + [byte >> 6, byte >> 3 & 7, byte & 7].map { $0 + 0x30 }
    }
  }
}
