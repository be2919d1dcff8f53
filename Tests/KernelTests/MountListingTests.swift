import CLinux
import Glibc
import Kernel
import TestSupport
import Testing

/// What a namespace keeps below a mount on its root, as its own mountinfo had it before.
@Suite(.needsRoot) struct MountListingTests {
  private static func mountinfo(_ proc: borrowing Directory, _ thread: String) throws -> [UInt8] {
    let path = "\(thread)/mountinfo"
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

  /// - Parameter isOld: as a kernel before Linux 6.8 has it.
  @Test(arguments: [false, true])
  func tellsWhatIsHidden(isOld: Bool) async {
    await #expect(processExitsWith: .success) { [isOld] in
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
        if isOld { try SystemCallFilters.load(filter.withUnsafeBytes { Array($0) }) }
        let listing = MountListing(of: inner)
        let hidden = try listing?.lines(missingIn: seen) ?? []
        // Not before Linux 6.11.
        if isOld || listing == nil {
          #expect(hidden.isEmpty)
        } else {
          #expect(Self.lines(hidden) == Self.lines(before))
          #expect(try listing?.lines(missingIn: seen + hidden).isEmpty == true)
          #expect(listing?.isGone == false)
          try inner.close()
          for _ in 1...200 where listing?.isGone == false { usleep(10_000) }
          #expect(listing?.isGone == true)
        }
      }
    }
  }
}
