import DaemonStoreKernel
import Testing

@testable import DaemonStore

/// What is concluded from the views before and after an unmount. A jail has its own paths, so a
/// copy is compared by what it is mounted on.
@Suite struct NamespaceViewTests {
  /// On the host: the store `D`, of group 7 and on device 1, and in it the user's folder.
  private static let store = Mount(
    id: 10, parent: 1, device: 1, root: "/daemon-store/D", target: "/run/daemon-store/D",
    peerGroup: 7)
  private static let folder = Mount(
    id: 11, parent: 10, device: 2, root: "/H/mount/root/D", target: "/run/daemon-store/D/H",
    peerGroup: 8)
  /// The store in a namespace that others are made from.
  private static let between = [
    Mount(
      id: 30, parent: 3, device: 1, root: "/daemon-store/D", target: "/run/daemon-store/D",
      peerGroup: 31, master: 7)
  ]
  private let host = view([store, folder], isOwn: true)

  private static func view(_ mounts: [Mount], isOwn: Bool = false) -> NamespaceView {
    NamespaceView(
      keeper: .file(isOwn ? "host" : "jail"), isOwn: isOwn, table: MountTable(mounts),
      groups: PeerGroups([MountTable(between)]), isUsers: { $0.device == 2 })
  }

  /// A jail with the store at another path, as a slave or as a private copy.
  private static func jail(
    master: Int?, folder target: FilePath = "/jail/H", below: [Mount] = []
  ) -> NamespaceView {
    view(
      [
        Mount(
          id: 20, parent: 2, device: 1, root: "/daemon-store/D", target: "/jail", master: master),
        Mount(
          id: 21, parent: target == "/jail/H" ? 20 : 22, device: 2, root: "/H/mount/root/D",
          target: target, master: 8),
        Mount(id: 22, parent: 2, device: 3, root: "/", target: "/elsewhere"),
      ] + below)
  }

  @Test(arguments: [7, 31]) func aFollowerGoesAlongAndIsNotNamed(master: Int) {
    #expect(NamespaceView.detached(from: [host, Self.jail(master: master)], to: []) == [])
  }

  @Test func aPrivateCopyThatIsGoneWasDetached() {
    let gone = NamespaceView.detached(from: [host, Self.jail(master: nil)], to: [])
    #expect(gone == [DetachedCopies(keeper: .file("jail"), paths: ["/jail/H"])])
  }

  @Test func aFollowerThatWasCoveredWasDetached() {
    let cover = Mount(id: 23, parent: 21, device: 4, root: "/", target: "/jail/H/sub")
    let gone = NamespaceView.detached(
      from: [host, Self.jail(master: 7, below: [cover])], to: [])
    #expect(gone.map(\.paths) == [["/jail/H"]])
  }

  @Test func aCopyThatIsStillThereWasNotDetached() {
    let jail = Self.jail(master: nil, folder: "/elsewhere/H")
    #expect(NamespaceView.detached(from: [host, jail], to: [jail]) == [])
  }

  /// Nothing that nobody can look at any more counts as gone, but for a namespace that has ended.
  @Test(arguments: [true, false])
  func aNamespaceThatIsLostShowsWhatItDid(isAlive: Bool) {
    let jail = Self.jail(master: nil)
    let closed = NamespaceView(closed: .file("jail"))
    let cases = [([NamespaceView](), isAlive), ([closed], true), ([Self.view([])], false)]
    for (others, isKept) in cases {
      let after = NamespaceView.completed([host] + others, with: [host, jail]) { _ in isAlive }
      let holders = NamespaceView.holders(in: after, besides: [Self.folder.target])
      let copies = NamespaceView.detached(from: [host, jail], to: after)
      #expect(copies.isEmpty == isKept && !after.contains(where: \.isClosed))
      // It was mounted where the host's own is: once that is gone, it counts.
      #expect(holders.isEmpty)
      let rest = NamespaceView.holders(in: after, besides: [])
      #expect(rest.contains { $0.hold == .mountNamespace("/jail/H") } == isKept)
    }
  }

  @Test func whoWasClosedBeforeStaysSo() {
    let closed = NamespaceView(closed: .file("jail"))
    let after = NamespaceView.completed([host, closed], with: [host, closed]) { _ in true }
    #expect(NamespaceView.holders(in: after, besides: [Self.folder.target]).count == 1)
  }

  @Test func copiesAtTheHeldPlaceAreNoHolders() {
    let views = [host, Self.jail(master: 7), Self.jail(master: nil)]
    #expect(NamespaceView.holders(in: views, besides: ["/run/daemon-store/D/H"]) == [])
  }

  @Test func aCopyElsewhereIsAHolder() {
    // A slave of the folder's group all the same: an unmount does not reach it.
    let jail = Self.jail(master: 7, folder: "/elsewhere/H")
    let holder = Holder(keeper: .file("jail"), hold: .mountNamespace("/elsewhere/H"))
    #expect(NamespaceView.holders(in: [jail], besides: []) == [holder])
    #expect(
      NamespaceView.holders(in: [host, jail], besides: ["/run/daemon-store/D/H"]) == [holder])
  }

  @Test func whatIsMountedOnAHeldOneIsAHolder() {
    let cover = Mount(
      id: 12, parent: 11, device: 4, root: "/", target: "/run/daemon-store/D/H/sub",
      fileSystem: "ext4")
    let views = [Self.view([Self.store, Self.folder, cover], isOwn: true)]
    #expect(
      NamespaceView.holders(in: views, besides: ["/run/daemon-store/D/H"])
        == [Holder(keeper: nil, hold: .mount("/run/daemon-store/D/H/sub", "ext4"))])
  }

  @Test func anotherMountHereIsAHolder() {
    let other = Mount(id: 13, parent: 1, device: 2, root: "/H/mount/root/D", target: "/mnt")
    let views = [Self.view([other], isOwn: true)]
    #expect(
      NamespaceView.holders(in: views, besides: [])
        == [Holder(keeper: nil, hold: .mount("/mnt", "the same data"))])
  }

  @Test func oneThatCannotBeLookedIntoIsNotTakenForEmpty() {
    let closed = NamespaceView(closed: .file("/f", in: .file("/g")))
    let holder = Holder(keeper: .file("/f", in: .file("/g")), hold: .closedNamespace)
    #expect(NamespaceView.holders(in: [host, closed], besides: []).contains(holder))
    #expect(
      holder.description
        == "whoever mounted it on /f in the mount namespace of whoever mounted it on /g: perhaps "
        + "a mount namespace that cannot be looked into")
  }
}
