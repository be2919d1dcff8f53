import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

@Suite(.needsRoot) struct CurrentTableTests {
  @Test func showsTheCallersNamespace() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try makeDirectory("/mnt/with space\n")
        try mountFilesystem("so urce", "/mnt/with space\n", "tmpfs", MS_NOSUID | MS_RDONLY)
        try mountFilesystem("none", "/mnt/with space\n", nil, MS_SHARED)
        let expected = try mountTable()
        let mounts = try MountTable.current().mounts
        #expect(mounts.map(\.id) == expected.map { UInt64($0.id) })
        #expect(mounts.map(\.parent) == expected.map { UInt64($0.parent) })
        #expect(mounts.map(\.target.text) == expected.map(\.target))
        #expect(mounts.map(\.root.text) == expected.map(\.root))
        #expect(
          mounts.map { Set($0.attributes.optionWords) } == expected.map(\.options))
        #expect(mounts.map(\.peerGroup) == expected.map(\.peerGroup))
        #expect(mounts.map(\.source.text) == expected.map(\.source))
        let last = try #require(mounts.last)
        #expect(last.target == "/mnt/with space\n" && last.peerGroup != nil, "\(last)")
        #expect(last.attributes.isSuperset(of: [.readOnly, .noSetID]), "\(last)")
      }
    }
  }

  @Test func aProcessThatIsGoneIsAnError() throws {
    #expect(throws: MountTableError.self) { try MountTable.ofProcess("0") }
  }
}
