import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

@Suite(.needsRoot) struct DetachedMountTests {
  @Test func attachesWithItsAttributesAndAGroupOfItsOwn() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try mountFilesystem("none", "/mnt", nil, MS_SHARED)
        try makeDirectory("/mnt/source")
        try makeDirectory("/mnt/target")
        let before = try mountTable()
        let mnt = try Directory(opening: "/mnt")
        let source = try mnt.directory("source")
        let mount = try DetachedMount(cloning: source.descriptor, shown: source.path)
        try mount.set([.readOnly, .data], propagation: .private)
        try mount.set(propagation: .shared)
        #expect(try mountTable() == before, "nobody sees it yet")
        try mount.attach(on: "target", in: mnt)
        let lines = try mountTable().at("/mnt/target")
        let line = try #require(lines.first)
        let parent = try #require(before.at("/mnt").first)
        #expect(lines.count == 1 && line.root == "/source", "\(lines)")
        #expect(
          line.options.isSuperset(of: ["ro", "nosuid", "nodev", "noexec", "nosymfollow"]),
          "\(line)")
        #expect(line.peerGroup != nil && line.peerGroup != parent.peerGroup, "\(line)")
      }
    }
  }

  @Test func dissolvesWhenItIsDropped() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let before = try mountTable()
        let memory = try DetachedMount(
          newFilesystem: "tmpfs", source: "test", options: [("size", "1M"), ("mode", "0711")],
          attributes: .home)
        try memory.root.makeDirectory("inside")
        _ = consume memory
        #expect(try mountTable() == before)
      }
    }
  }

  @Test func newFilesystemHasItsOptions() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try makeDirectory("/mnt/target")
        let memory = try DetachedMount(
          newFilesystem: "tmpfs", source: "test", options: [("mode", "0711")], attributes: .home)
        try memory.attach(on: "target", in: try Directory(opening: "/mnt"))
        let line = try #require(try mountTable().at("/mnt/target").first)
        #expect(line.type == "tmpfs" && line.source == "test", "\(line)")
        #expect(line.options.isSuperset(of: ["nosuid", "nodev"]), "\(line)")
        #expect(attributes("/mnt/target") == "0:0 711")
        #expect(throws: SystemError.self) {
          _ = try DetachedMount(newFilesystem: "nothing", source: "x", options: [])
        }
      }
    }
  }
}
