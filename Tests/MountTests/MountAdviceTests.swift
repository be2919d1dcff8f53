import DaemonStoreKernel
import Glibc
import MountAdvice
import TestSupport
import Testing

@Suite(.needsRoot) struct MountAdviceTests {
  private static let fstab: FilePath = "/mnt/fstab"

  private static func advice() throws -> MountAdvice {
    guard let advice = MountAdvice() else { throw Problem("libmount is missing") }
    return advice
  }

  @Test(arguments: [
    ("UUID=1\t/home ext4 defaults 0 2", "UUID=1"),
    ("/dev/sda1 / ext4 defaults\nLABEL=h /home/ ext4 defaults", "LABEL=h"),
    (#"/dev/a\040b /\150ome ext4 defaults"#, "/dev/a b"),
    ("/dev/old /home ext4 rw\n/dev/new /home ext4 rw", "/dev/new"),
    ("not a line\n/dev/sda2 /home ext4", "/dev/sda2"),
    ("#/dev/sda2 /home ext4", nil), ("/dev/sda2 /homes ext4", nil), ("/home /mnt none bind", nil),
    ("/dev/sda2 /home\u{301} ext4", nil), ("", nil),
  ])
  func findsTheLineOfFstab(text: String, source: String?) async {
    await #expect(processExitsWith: .success) { [text, source] in
      inMountNamespace {
        try writeFile("/mnt/fstab", text)
        let advice = try Self.advice()
        let entry = try advice.entry(for: "/home", in: Self.fstab)
        #expect(entry?.source.description == source)
        #expect(entry == nil || entry?.fileSystem == "ext4")
      }
    }
  }

  @Test func saysWhatIsMissing() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let advice = try Self.advice()
        let error = #expect(throws: SystemError.self) {
          _ = try advice.entry(for: "/home", in: "/mnt/none")
        }
        #expect(error?.code == ENOENT && error?.path == "/mnt/none")
      }
    }
  }

  @Test func namesTheDeviceOfAMount() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try makeDirectory("/mnt/a b")
        try mountFilesystem("so urce", "/mnt/a b", "tmpfs")
        let mount = try #require(try MountTable.current().mounts.last)
        #expect(try MountAdvice()?.device(of: mount) == nil, "a tmpfs is on no device")
        let root = try #require(
          try MountTable.current().mounts.first { $0.source.dropping(prefix: "/dev/") != nil })
        let device = try #require(try MountAdvice()?.device(of: root))
        #expect(exists(device.description), "\(device)")
      }
    }
  }
}
