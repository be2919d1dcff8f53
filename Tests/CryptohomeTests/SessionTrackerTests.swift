import DaemonStore
import DaemonStoreKernel
import Testing

@testable import Cryptohome

private func user(_ digit: Character) -> ObfuscatedUsername {
  guard let user = ObfuscatedUsername(String(repeating: digit, count: 40)) else { fatalError() }
  return user
}

private func stores(_ names: String...) -> Set<StoreName> {
  Set(names.compactMap { StoreName($0) })
}

private func store(_ name: String) -> StoreName {
  guard let store = StoreName(name) else { fatalError() }
  return store
}

/// What is told of a row of looks at the mounts.
@Suite struct SessionTrackerTests {
  private let a = user("a")
  private let b = user("b")

  private func look(_ users: [ObfuscatedUsername: Set<StoreName>]) -> MountedUsers {
    MountedUsers(users: users.keys.sorted(), stores: users.filter { !$0.value.isEmpty })
  }

  @Test func aLoginIsToldWhenItIsOver() {
    var tracker = SessionTracker()
    // The homes come first, then one store after another; all the time the lock is held.
    #expect(tracker.update(look([a: []]), isInWork: { _ in true }) == [])
    #expect(
      tracker.update(look([a: stores("x")]), isInWork: { _ in true }) == [
        .storeMounted(store("x"), a)
      ])
    #expect(tracker.pending == [a] && tracker.users.isEmpty && tracker.state == .stopped)
    #expect(
      tracker.update(look([a: stores("x", "y")]), isInWork: { _ in false })
        == [.storeMounted(store("y"), a), .userMounted(a), .stateChanged(.started)])
    #expect(tracker.update(look([a: stores("x", "y")]), isInWork: { _ in false }) == [])
  }

  @Test func aLoginThatIsGivenUpIsNotTold() {
    var tracker = SessionTracker()
    #expect(tracker.update(look([a: []]), isInWork: { _ in true }) == [])
    #expect(tracker.update(look([:]), isInWork: { _ in false }) == [])
  }

  @Test func anAnnouncedLogoutOfTheLastUser() {
    var tracker = SessionTracker()
    _ = tracker.update(look([a: stores("x", "y")]), isInWork: { _ in false })
    #expect(
      tracker.announce(a) == [
        .stateChanged(.stopping), .storeUnmounting(store("x"), a), .storeUnmounting(store("y"), a),
      ])
    // Again, by who tries again.
    #expect(tracker.announce(a) == [])
    #expect(
      tracker.update(look([a: stores("x")]), isInWork: { _ in true })
        == [.storeUnmounted(store("y"), a)])
    // Busy: it is on its way still.
    #expect(tracker.withdraw(a) == [] && tracker.state == .stopping)
    #expect(
      tracker.update(look([:]), isInWork: { _ in true })
        == [.storeUnmounted(store("x"), a), .userUnmounted(a), .stateChanged(.stopped)])
    #expect(tracker.withdraw(a) == [])
  }

  @Test func anAnnouncementThatComesToNothing() {
    var tracker = SessionTracker()
    _ = tracker.update(look([a: stores("x")]), isInWork: { _ in false })
    _ = tracker.announce(a)
    #expect(tracker.withdraw(a) == [.stateChanged(.started)])
    #expect(tracker.announce(b) == [] && tracker.withdraw(b) == [])
  }

  @Test func whoComesBackIsNotLeaving() {
    var tracker = SessionTracker()
    _ = tracker.update(look([a: stores("x")]), isInWork: { _ in false })
    _ = tracker.announce(a)
    _ = tracker.update(look([a: []]), isInWork: { _ in false })
    #expect(
      tracker.update(look([a: stores("x")]), isInWork: { _ in false })
        == [.storeMounted(store("x"), a), .stateChanged(.started)])
  }

  @Test func twoUsersStopWithTheLast() {
    var tracker = SessionTracker()
    _ = tracker.update(look([a: stores("x")]), isInWork: { _ in false })
    #expect(
      tracker.update(look([a: stores("x"), b: stores("x")]), isInWork: { _ in false })
        == [.storeMounted(store("x"), b), .userMounted(b), .stateChanged(.started)])
    #expect(tracker.announce(a) == [.storeUnmounting(store("x"), a)])
    #expect(
      tracker.update(look([b: stores("x")]), isInWork: { _ in false })
        == [.storeUnmounted(store("x"), a), .userUnmounted(a)])
    #expect(
      tracker.update(look([:]), isInWork: { _ in false })
        == [.storeUnmounted(store("x"), b), .userUnmounted(b), .stateChanged(.stopped)])
  }
}

@Suite struct MountedUsersTests {
  private let a = String(repeating: "a", count: 40)
  private let b = String(repeating: "b", count: 40)

  private func mount(_ id: UInt64, _ root: FilePath, _ target: FilePath) -> Mount {
    Mount(id: id, parent: 1, root: root, target: target)
  }

  @Test func readsUsersInTheOrderOfTheirMounts() {
    let table = MountTable([
      mount(2, "/x", "/run/daemon-store/x"),
      mount(3, "/\(b)/mount/user", "/home/user/\(b)"),
      mount(4, "/\(a)/mount/user", "/home/user/\(a)"),
      mount(5, "/\(b)/mount/root/x", "/run/daemon-store/x/\(b)"),
      mount(6, "/\(b)/mount/root/.cache/x", "/run/daemon-store-cache/x/\(b)"),
      // Without its twin it is not there.
      mount(7, "/\(a)/mount/root/x", "/run/daemon-store/x/\(a)"),
    ])
    let mounted = MountedUsers(table, .system)
    #expect(mounted.users == [user("b"), user("a")])
    #expect(mounted.stores == [user("b"): stores("x")])
    #expect(mounted.allStores == stores("x"))
  }

  @Test func leavesOtherLinesOut() {
    let lines = [
      "22 1 0:21 / /proc rw - proc proc rw", "30 1 0:30 / /run/daemon-store/x rw - tmpfs run rw",
      "31 1 0:30 / /run/daemon-storage/x rw - tmpfs run rw", "not a line",
    ]
    let text = Array((lines.joined(separator: "\n") + "\n").utf8)
    let rest = MountedUsers.lines(of: text, below: [Array("/run/daemon-store/".utf8)])
    // What is no line is for the parser to refuse.
    #expect(String(decoding: rest, as: UTF8.self) == "\(lines[1])\n\(lines[3])\n")
  }
}
