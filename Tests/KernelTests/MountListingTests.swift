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

  /// Without what only the mount table says: a mount's own options, and source and options of its
  /// file system.
  private static func lines(_ text: [UInt8]) -> Set<String> {
    let lines = String(decoding: text, as: UTF8.self).split(separator: "\n")
    return Set(
      lines.map { line in
        let sides = line.split(separator: " - ", maxSplits: 1)
        let left = sides[0].split(separator: " ")
        let kind = sides[1].prefix { $0 != " " }
        return (left.prefix(5) + left.dropFirst(6) + [kind]).joined(separator: " ")
      })
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
        for _ in 1...1100 { try mountFilesystem("many", "/mnt", "tmpfs") }
        let before = try Self.mountinfo(proc, thread)
        try mountFilesystem("over", "/", "tmpfs")
        try check("setns", nil, linux_setns(inner.number, CLONE_NEWNS))
        let seen = try Self.mountinfo(proc, thread)
        #expect(Self.lines(seen).count == 1)
        try check("setns", nil, linux_setns(outer.number, CLONE_NEWNS))
        // Load the number; listmount is 458 everywhere; ENOSYS; allow: struct sock_filter.
        let filter: [UInt64] = [
          0x20, 0x15 | 1 << 24 | 458 << 32, 0x06 | 0x0005_0026 << 32, 0x06 | 0x7fff_0000 << 32,
        ]
        let canList = try MountListing(of: inner) != nil  // Linux 6.11
        if isFiltered { try SystemCallFilters.load(filter.withUnsafeBytes { Array($0) }) }
        if isFiltered, canList {
          #expect(throws: SystemError.self) {
            _ = try MountListing(of: inner)?.lines(missingIn: seen)
          }
          return
        }
        let listing = try MountListing(of: inner)
        let hidden = try listing?.lines(missingIn: seen) ?? []
        if listing == nil {
          #expect(hidden.isEmpty)
        } else {
          #expect(Self.lines(hidden) == Self.lines(before))
          #expect(try listing?.lines(missingIn: seen + hidden).isEmpty == true)
          #expect(try listing?.isGone() == false)
          try inner.close()
          for _ in 1...200 where try listing?.isGone() == false { usleep(10_000) }
          #expect(try listing?.isGone() == true)
        }
      }
    }
  }
}
