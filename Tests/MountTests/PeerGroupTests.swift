import DaemonStoreKernel
import Testing

@Suite struct PeerGroupTests {
  private static func mount(_ peerGroup: Int?, _ master: Int?) -> Mount {
    Mount(id: 1, parent: 0, root: "/", target: "/", peerGroup: peerGroup, master: master)
  }

  @Test func whatHappensAboveHappensBelow() {
    let groups = PeerGroups([
      MountTable([Self.mount(1, nil)]), MountTable([Self.mount(2, 1), Self.mount(nil, 9)]),
      MountTable([Self.mount(3, 2)]),
    ])
    #expect(groups.sources(of: Self.mount(nil, nil)) == [])
    #expect(groups.sources(of: Self.mount(1, nil)) == [1])
    #expect(groups.sources(of: Self.mount(3, 2)) == [1, 2, 3])
    #expect(groups.sources(of: Self.mount(nil, 3)) == [1, 2, 3])
    #expect(groups.sources(of: Self.mount(nil, 8)) == [8], "of a group that nobody shows")
  }

  @Test func aCircleEnds() {
    let groups = PeerGroups([MountTable([Self.mount(1, 2), Self.mount(2, 1), Self.mount(3, 3)])])
    #expect(groups.sources(of: Self.mount(1, 2)) == [1, 2])
    #expect(groups.sources(of: Self.mount(3, 3)) == [3])
  }
}
