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

  /// The mounts of the namespace but those whose id, that of mountinfo, is in `known`. This process must
  /// be in another namespace.
  ///
  /// - Parameter goesOn: asked before each mount; `ETIMEDOUT` when it says no.
  package func mounts(
    except known: Set<UInt64>, while goesOn: () -> Bool = { true }
  ) throws(SystemError) -> [Mount] {
    guard let ids = try all() else { return [] }
    var missing: [Mount] = []
    for id in ids.below {
      guard goesOn() else {
        throw SystemError(operation: "listmount", path: nil, code: ETIMEDOUT)
      }
      guard let (status, strings) = try details(of: id), !known.contains(UInt64(status.id_old))
      else { continue }
      missing.append(Mount(status, strings))
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
}

extension Mount {
  /// - Parameter strings: what the offsets in `status` lead into.
  init(_ status: linux_mount_status, _ strings: [UInt8]) {
    func text(_ offset: UInt32) -> FilePath {
      FilePath(truncating: strings.dropFirst(Int(offset)))
    }
    // STATMOUNT_…: what the kernel has given of it, in later versions than 6.8.
    func given(_ mask: UInt64, _ offset: UInt32) -> FilePath {
      status.mask & mask == 0 ? "" : text(offset)
    }
    let point = given(0x10, status.point)
    let type = text(status.type)
    let subtype = given(0x100, status.subtype)
    self.init(
      id: UInt64(status.id_old), parent: UInt64(status.parent_old),
      device: linux_makedev(status.major, status.minor), root: text(status.root),
      target: point.isEmpty ? "/" : point,
      attributes: MountAttributes(rawValue: status.attributes),
      fileSystem: subtype.isEmpty ? type : "\(type).\(subtype)",
      source: given(0x200, status.source),
      peerGroup: status.peer_group == 0 ? nil : Int(truncatingIfNeeded: status.peer_group),
      master: status.master == 0 ? nil : Int(truncatingIfNeeded: status.master),
      isUnbindable: status.propagation & UInt64(MS_UNBINDABLE) != 0
    ) { Array(given(0x80, status.options).bytes) }
  }
}
