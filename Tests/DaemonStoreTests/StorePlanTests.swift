import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

@testable import DaemonStore

/// The decision for one store, row by row.
@Suite struct StorePlanTests {
  private static let path: FilePath = "/run/daemon-store/alpha"
  private static let base = StoreBase(
    mount: Mount(id: 1, parent: 0, device: 5, root: "/", target: "/run", peerGroup: 1))

  private static func mount(
    device: UInt64 = 5, root: FilePath = "/daemon-store/alpha",
    attributes: MountAttributes = StorePlan.attributes,
    peerGroup: Int? = 9
  ) -> Mount {
    Mount(
      id: 2, parent: 1, device: device, root: root, target: path, attributes: attributes,
      peerGroup: peerGroup)
  }

  /// The step for these mounts on a directory. Its owner and mode are those of the machine's `/`:
  /// with another group than the template's, they never agree.
  private static func step(
    mounts: [Mount] = [], entry: StorePlace.Entry? = nil, below: [FilePath] = [],
    group: gid_t? = 60, use: String? = nil
  ) throws -> StoreStep {
    let directory = try Directory(opening: "/").status()
    let place = StorePlace(
      path: path, entry: entry ?? .directory(directory), mounts: mounts, below: below)
    return StorePlan.step(for: place, group: group, base: base) { use }
  }

  @Test func nothingThereIsMade() throws {
    #expect(try Self.step(entry: .absent) == .create)
    #expect(try Self.step() == .create, "a directory that an interrupted run left")
    #expect(try Self.step(entry: .absent, group: nil) == .keep)
    #expect(try Self.step(group: nil) == .remove)
  }

  @Test func whatIsNoStoreIsRefusedOrLeft() throws {
    for (mounts, entry, words) in [
      ([], StorePlace.Entry.other("a symbolic link"), "is a symbolic link"),
      ([Self.mount(device: 6)], nil, "mount point of something else"),
      ([Self.mount(root: "/daemon-store/bravo")], nil, "mount point of something else"),
      ([Self.mount(root: "/")], nil, "mount point of something else"),
      ([Self.mount(), Self.mount()], nil, "2 mounts stacked"),
    ] {
      guard case .refuse(let reason) = try Self.step(mounts: mounts, entry: entry) else {
        Issue.record("\(mounts) is not refused")
        continue
      }
      #expect(reason.contains(words), "\(reason)")
      #expect(try Self.step(mounts: mounts, entry: entry, group: nil) == .keep)
    }
  }

  @Test func withoutTemplateItGoesWhenNobodyUsesIt() throws {
    #expect(try Self.step(mounts: [Self.mount()], group: nil) == .remove)
    guard
      case .retain(let users) = try Self.step(
        mounts: [Self.mount()], below: ["\(Self.path)/user"], group: nil),
      case .retain(let jails) = try Self.step(
        mounts: [Self.mount()], group: nil, use: "is followed by sleep (pid 7)")
    else {
      Issue.record("a store in use goes")
      return
    }
    #expect(users.contains("users are mounted") && jails.contains("sleep (pid 7)"))
  }

  @Test func whatDriftedIsRepaired() throws {
    // The ownership of `/` never is that of a store.
    #expect(try Self.step(mounts: [Self.mount()]) == .repair([.ownership]))
    #expect(
      try Self.step(mounts: [Self.mount(attributes: StorePlan.attributes.subtracting(.noSetID))])
        == .repair([.ownership, .attributes]))
    #expect(
      try Self.step(mounts: [Self.mount(peerGroup: nil)]) == .repair([.ownership, .unshared]))
    #expect(
      try Self.step(mounts: [Self.mount(peerGroup: 1)]) == .repair([.ownership, .foreignGroup]))
    guard
      case .refuse = try Self.step(mounts: [Self.mount(peerGroup: 1)], below: ["\(Self.path)/user"])
    else {
      Issue.record("a store that users are mounted in gets another peer group")
      return
    }
  }

  @Test func rootOfAStoreIsSeenFromItsGround() {
    for (root, target, expected) in [
      ("/", "/run", "/daemon-store/alpha"), ("/", "/", "/run/daemon-store/alpha"),
      ("/system/run", "/run", "/system/run/daemon-store/alpha"),
      ("/", "/run/daemon-store", "/alpha"),
      ("/image", "/", "/image/run/daemon-store/alpha"),
    ] as [(FilePath, FilePath, FilePath)] {
      let base = StoreBase(mount: Mount(id: 1, parent: 0, root: root, target: target))
      #expect(base.root(of: "\(Self.path)") == expected, "\(root) on \(target)")
    }
  }

  @Test func followersHoldABindOfTheirOwn() {
    let store = 9
    func table(_ mounts: Mount...) -> MountTable { MountTable(mounts) }
    let sharedRun = Self.base.mount
    let privateRun = Mount(id: 1, parent: 0, root: "/", target: "/run")
    let slaveRun = Mount(id: 20, parent: 0, root: "/", target: "/run", master: 1)
    let ownRun = Mount(id: 20, parent: 0, root: "/", target: "/run")
    func copy(master: Int?, peer: Int? = nil) -> Mount {
      Mount(
        id: 21, parent: 20, root: "/daemon-store/alpha", target: "\(Self.path)", peerGroup: peer,
        master: master)
    }
    // A service that has the store by way of the mounts around it.
    let between = table(
      Mount(id: 30, parent: 0, root: "/", target: "/run", peerGroup: 31, master: 1),
      Mount(
        id: 32, parent: 30, root: "/daemon-store/alpha", target: "\(Self.path)", peerGroup: 33,
        master: store))
    let lowerRun = Mount(id: 20, parent: 0, root: "/", target: "/run", master: 31)
    func holds(_ table: MountTable, base: Mount = sharedRun) -> Bool {
      Followers.holdsItsOwn(table, of: [store], PeerGroups([table, between]), base: base)
    }
    #expect(!holds(table(slaveRun, copy(master: store))), "inherited with a slave of /run")
    #expect(holds(table(ownRun, copy(master: store))), "bound in a jail's own /run")
    #expect(holds(table(ownRun, copy(master: nil, peer: store))), "a peer")
    #expect(holds(table(slaveRun, copy(master: store)), base: privateRun), "would be cut off")
    #expect(!holds(table(ownRun, copy(master: nil))), "a private copy follows nothing")
    #expect(!holds(table(ownRun, copy(master: 8))), "another store")
    #expect(holds(table(ownRun, copy(master: 33))), "bound in a jail within a service")
    #expect(!holds(table(lowerRun, copy(master: 33))), "inherited from a service")
    #expect(!holds(table()))
  }
}
