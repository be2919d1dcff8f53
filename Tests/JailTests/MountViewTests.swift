import DaemonStoreKernel
import Testing

@testable import Jail

@Suite struct MountViewTests {
  private func view(_ lines: String) throws -> MountView {
    MountView(try MountTable(parsing: Array(lines.utf8), from: "text").mounts)
  }

  private func lines(_ view: MountView) -> [String] {
    view.mounts.map { mount in
      "\(mount.target) \(mount.root) \(mount.attributes.options)"
        + (mount.peerGroup == nil ? "" : " shared") + (mount.master == nil ? "" : " slave")
    }
  }

  private static let host = """
    1 0 8:1 / / rw,relatime shared:1 - ext4 disk rw
    2 1 0:2 / /run rw,nosuid,relatime shared:1 - tmpfs run rw
    3 2 0:2 /daemon-store/D /run/daemon-store/D ro,relatime shared:1 - tmpfs run rw
    4 2 0:2 /daemon-store-cache/D /run/daemon-store-cache/D ro,relatime shared:1 - tmpfs run rw

    """

  @Test func storesStaySlavesWhileTheRestIsPrivate() throws {
    var view = try view(Self.host)
    view.gatherStores(["D"], rest: .private)
    #expect(lines(view) == ["/ / rw,relatime", "/run / rw,nosuid,relatime"])
    view.placeStores(root: "")
    let tree = "/ ro,nosuid,nodev,noexec,relatime,nosymfollow"
    #expect(
      lines(view).dropFirst(2) == [
        "/run/daemon-store \(tree)", "/run/daemon-store-cache \(tree)",
        "/run/daemon-store/D /daemon-store/D ro,relatime slave",
        "/run/daemon-store-cache/D /daemon-store-cache/D ro,relatime slave",
      ])
  }

  @Test func aBindShowsThePartOfItsSourcesFileSystem() throws {
    var view = try view(Self.host)
    view.setPropagation(.private)
    view.bind(
      "/run/dbus", on: "/x", recursive: false, set: .readOnly, clear: [],
      propagation: nil)
    view.bind(
      "/run", on: "/y", recursive: true, set: .noExecution, clear: [],
      propagation: .slave)
    #expect(
      lines(view).dropFirst(4) == [
        "/x /dbus ro,nosuid,relatime", "/y / rw,nosuid,noexec,relatime",
        "/y/daemon-store/D /daemon-store/D ro,noexec,relatime",
        "/y/daemon-store-cache/D /daemon-store-cache/D ro,noexec,relatime",
      ])
  }

  @Test func aNewRootHidesTheRest() throws {
    var view = try view(Self.host)
    let root: FilePath = "/mnt"
    view.bind(
      "/", on: root, recursive: false, set: .readOnly, clear: [], propagation: .private)
    view.add("\(root)/run", type: "tmpfs", source: "x", attributes: [])
    view.setRoot(root)
    #expect(lines(view) == ["/ / ro,relatime", "/run / rw,relatime"])
  }

  private static let options: [(String, MountAttributes, MountAttributes, String)] = [
    ("rw,relatime", .data, [], "rw,nosuid,nodev,noexec,relatime,nosymfollow"),
    ("ro,nosuid,noatime", [], [.readOnly, .noSetID], "rw,noatime"),
    ("rw,relatime", .noAccessTime, .accessTime, "rw,noatime"),
  ]

  @Test(arguments: options)
  func optionsInTheKernelsOrder(
    _ old: String, _ set: MountAttributes, _ clear: MountAttributes, _ new: String
  ) {
    let changed = MountAttributes(options: Array(old.utf8)[...])
      .changed(setting: set, clearing: clear)
    #expect(changed.options == new)
  }

  @Test func aNameCannotForgeASecondLine() {
    #expect(oneLine("a\nb\u{1b}[2J\u{7f}\u{9b}") == #"a\u{0a}b\u{1b}[2J\u{7f}\u{9b}"#)
  }
}
