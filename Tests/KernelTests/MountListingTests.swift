import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// What a namespace keeps below a mount on its root, as its own mountinfo had it before.
@Suite(.needsRoot) struct MountListingTests {
  private static func mountinfo(_ proc: borrowing Directory, _ thread: String) throws -> [UInt8] {
    let path: FilePath = "\(thread)/mountinfo"
    return try proc.file(path, flags: O_RDONLY).read(atMost: .max, shown: path) ?? []
  }

  private static func mounts(_ text: [UInt8]) throws -> [Mount] {
    try MountTable(parsing: text, from: "mountinfo").mounts.sorted { $0.id < $1.id }
  }

  /// - Parameter isFiltered: under a filter that answers listmount with ENOSYS, as those of
  ///   containers do. Where the kernel numbers its namespaces, it has listmount: the answer is an
  ///   error and not "nothing is hidden".
  @Test(arguments: [false, true])
  func tellsWhatIsHidden(isFiltered: Bool) async {
    await #expect(processExitsWith: .success) { [isFiltered] in
      inMountNamespace {
        let proc = try Directory(opening: "/proc")
        let thread = try linkTarget(of: "/proc/thread-self").description
        let link = "\(thread)/ns/mnt"
        func namespace() throws -> Descriptor {
          Descriptor(
            owning: try check("open", link, openat(proc.descriptor.number, link, O_RDONLY)))
        }
        let outer = try namespace()
        try check("unshare", nil, linux_unshare(CLONE_NEWNS))
        let inner = try namespace()
        try makeDirectory("/mnt/a \\b")
        try mountFilesystem("one", "/mnt/a \\b", "tmpfs")
        try mountFilesystem("none", "/mnt/a \\b", nil, MS_SHARED)
        try makeDirectory("/mnt/a \\b/below")
        try bindMount("/mnt/a \\b/below", "/mnt/a \\b/below")
        try makeDirectory("/mnt/a \\b/overlay")
        try mountFilesystem(
          "layers", "/mnt/a \\b/overlay", "overlay", MS_NOSUID | MS_NODEV | MS_NOATIME,
          "lowerdir=/etc:/usr")
        for _ in 1...1100 { try mountFilesystem("many", "/mnt", "tmpfs") }
        let before = try Self.mountinfo(proc, thread)
        try mountFilesystem("over", "/", "tmpfs")
        try check("setns", nil, linux_setns(inner.number, CLONE_NEWNS))
        let seen = try Self.mountinfo(proc, thread)
        let known = Set(try Self.mounts(seen).map(\.id))
        #expect(known.count == 1)
        try check("setns", nil, linux_setns(outer.number, CLONE_NEWNS))
        // Load the number; listmount is 458 everywhere; ENOSYS; allow: struct sock_filter.
        let filter: [UInt64] = [
          0x20, 0x15 | 1 << 24 | 458 << 32, 0x06 | 0x0005_0026 << 32, 0x06 | 0x7fff_0000 << 32,
        ]
        let canList = try MountListing(of: inner) != nil  // Linux 6.11
        if isFiltered { try SystemCallFilters.load(filter.withUnsafeBytes { Array($0) }) }
        if isFiltered, canList {
          #expect(throws: SystemError.self) {
            _ = try MountListing(of: inner)?.mounts(except: known)
          }
          return
        }
        let listing = try MountListing(of: inner)
        let hidden = try listing?.mounts(except: known) ?? []
        if listing == nil {
          #expect(hidden.isEmpty)
        } else {
          let expected = try Self.mounts(before)
          #expect(hidden.sorted { $0.id < $1.id } == expected)
          #expect(try listing?.mounts(except: known.union(hidden.map(\.id))).isEmpty == true)
          #expect(try listing?.isGone() == false)
          try inner.close()
          for _ in 1...200 where try listing?.isGone() == false { usleep(10_000) }
          #expect(try listing?.isGone() == true)
        }
      }
    }
  }
}
