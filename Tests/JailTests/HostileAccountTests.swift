import DaemonStoreAccounts
import DaemonStoreKernel
import TestSupport
import Testing

/// Lines of passwd(5) and group(5) of an image: names are found by their bytes.
@Suite(.needsRoot) struct HostileAccountTests {
  @Test func namesOfAnImageAreBytes() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try makeDirectory("/mnt/root/etc")
        let names = HostileNames.names.filter { !$0.contains(UInt8(ascii: "\n")) }
        let lines = names.enumerated().flatMap { index, name in
          name + Array(":x:\(index + 100):0::/:/bin/sh\n".utf8)
        }
        try writeFile("/mnt/root/etc/passwd", lines)
        try writeFile("/mnt/root/etc/group", lines)
        let accounts = try AccountNames(root: "/mnt/root")
        for (index, bytes) in names.enumerated() {
          let name = FilePath(truncating: bytes)
          #expect(try accounts.user(named: name) == UInt32(index + 100), "\(name)")
          #expect(try accounts.group(named: name) == UInt32(index + 100), "\(name)")
          #expect(try accounts.name(ofUser: UInt32(index + 100)) == name)
          #expect(SystemUsers.isName(name) == false, "\(name)")
        }
        #expect(try accounts.user(named: "k") == nil)
      }
    }
  }

  @Test func namesOfTheSystemAreBytes() throws {
    for bytes in HostileNames.names {
      #expect(try Account.named(FilePath(truncating: bytes)) == nil, "\(bytes)")
      #expect(try Group.named(FilePath(truncating: [0x72, 0x6f, 0x6f, 0x74] + bytes)) == nil)
    }
    #expect(try Account.named("root")?.home == "/root")
  }
}
