import DaemonStoreKernel
import Testing

@testable import DaemonStore

@Suite struct StoreRoleTests {
  /// The store has the group 7; a service's copy of it the group 31.
  private static let groups = PeerGroups([
    MountTable([mount(peerGroup: 7), mount(peerGroup: 31, master: 7)])
  ])

  private static func mount(
    root: FilePath = "/daemon-store/D", _ attributes: MountAttributes = StorePlan.attributes,
    peerGroup: Int? = nil, master: Int? = nil
  ) -> Mount {
    Mount(
      id: 1, parent: 0, root: root, target: "/D", attributes: attributes, peerGroup: peerGroup,
      master: master)
  }

  private static func role(_ mount: Mount, group: Int? = 7) -> StoreRole {
    StoreRole(of: mount, group: group, groups)
  }

  @Test func receivesFromTheStoreHoweverFarAway() {
    #expect(Self.role(Self.mount(peerGroup: 7)) == .peer)
    #expect(Self.role(Self.mount(master: 7)) == .follows)
    #expect(Self.role(Self.mount(peerGroup: 31, master: 7)) == .follows)
    #expect(Self.role(Self.mount(master: 31)) == .follows)
  }

  @Test func saysWhyNothingArrives() {
    #expect(Self.role(Self.mount()) == .privateCopy)
    #expect(Self.role(Self.mount(peerGroup: 9)) == .privateCopy, "in a group of its own")
    #expect(Self.role(Self.mount(master: 9)) == .stray(9))
    #expect(Self.role(Self.mount([])) == .bareDirectory)
    #expect(Self.role(Self.mount(root: "/daemon-store/D//deleted", master: 9)) == .formerStore)
  }

  @Test func nothingArrivesFromAStoreThatIsNotShared() {
    #expect(Self.role(Self.mount(), group: nil) == .privateCopy)
    #expect(Self.role(Self.mount(master: 7), group: nil) == .stray(7))
  }
}
