import MountTable
import Testing

@testable import DaemonStore

/// What is said of the copies in other namespaces, from their tables alone.
@Suite struct NamespaceViewTests {
  private static let folder = "/run/daemon-store/alpha/user"

  private static func mount(
    _ id: Int, parent: Int = 1, at target: String = folder, peers: Int? = nil, master: Int? = nil
  ) -> Mount {
    Mount(id: id, parent: parent, root: "/user", target: target, peerGroup: peers, master: master)
  }

  private static func view(
    isOwn: Bool = false, _ mounts: [Mount], below: [Mount] = []
  ) -> NamespaceView {
    NamespaceView(
      namespace: MountNamespace(id: isOwn ? 1 : 2, process: ProcessName(1), thread: 1),
      isOwn: isOwn, mounts: mounts, below: below)
  }

  @Test func followersAreNoDetachedCopies() {
    let own = Self.view(isOwn: true, [Self.mount(10, peers: 7)])
    let slave = Self.view([Self.mount(20, master: 7)])
    let peer = Self.view([Self.mount(30, peers: 7)])
    let copy = Self.view([Self.mount(40), Self.mount(41, at: "/else", master: 8)])
    let covered = Self.view([Self.mount(50, master: 7)], below: [Self.mount(51, parent: 50)])
    let before = [own, slave, peer, copy, covered]
    #expect(
      NamespaceView.detached(from: before, to: []).map(\.paths)
        == [[Self.folder, "/else"], [Self.folder]])
    #expect(NamespaceView.detached(from: before, to: before).isEmpty, "nothing is gone")
    let left = Self.view([Self.mount(41, at: "/else", master: 8)])
    #expect(NamespaceView.detached(from: before, to: [left]).first?.paths == [Self.folder])
  }

  @Test func holdersAreWhatDoesNotFollowWhatIsHeld() {
    let held = [Removal(path: Self.folder, outcome: .held("busy"))]
    let own = Self.view(isOwn: true, [Self.mount(10, peers: 7)])
    let slave = Self.view([Self.mount(20, master: 7)])
    let copy = Self.view([Self.mount(40, at: "/keep")])
    let bound = Self.view(isOwn: true, [Self.mount(10, peers: 7), Self.mount(11, at: "/bound")])
    let covered = Self.view(
      isOwn: true, [Self.mount(10, peers: 7)], below: [Self.mount(12, parent: 10, at: "/b")])
    func holds(_ views: [NamespaceView], _ held: [Removal]) -> [Holder.Hold] {
      NamespaceView.holders(in: views, held: held).map(\.hold)
    }
    #expect(holds([own, slave], held).isEmpty, "goes with what is held here")
    #expect(holds([own, slave, copy], held) == [.mountNamespace("/keep")])
    #expect(holds([slave], []) == [.mountNamespace(Self.folder)])
    #expect(holds([bound], held) == [.mount("/bound", "the same data")])
    #expect(holds([covered], held) == [.mount("/b", "tmpfs")])
    #expect(holds([], []).isEmpty)
  }
}
