import Testing

@testable import Jail

@Suite struct MountInfoTests {
  @Test func readsALine() throws {
    let text = #"36 35 98:0 /mnt\0401 /a\134b\011 rw,noatime master:1 - ext3 /dev/r\040t rw,x=1"#
    let mount = try #require(MountInfo(line: Array(text.utf8)[...]))
    #expect(mount.id == 36 && mount.parent == 35)
    #expect(mount.device == Array("98:0".utf8))
    #expect(mount.root == Array("/mnt 1".utf8))
    #expect(mount.target == Array("/a\\b\t".utf8))
    #expect(mount.propagation == [Array("master:1".utf8)])
    #expect(mount.type == Array("ext3".utf8) && mount.source == Array("/dev/r t".utf8))
  }

  @Test func optionalFieldsMayBeAnyNumber() throws {
    let none = "1 1 0:1 / / rw - tmpfs  rw"
    let many = "1 1 0:1 / / rw shared:2 master:1 propagate_from:3 - tmpfs none rw"
    #expect(MountInfo(line: Array(none.utf8)[...])?.source.isEmpty == true)
    #expect(MountInfo(line: Array(many.utf8)[...])?.propagation.count == 3)
  }

  @Test(arguments: [
    "1", "1 1 0:1 / / rw", "x 1 0:1 / / rw - tmpfs none rw",
    "1 1 0:1 / / rw shared:1 tmpfs none rw",
    "1 1 0:1 / / rw - tmpfs", "99999999999999999999 1 0:1 / / rw - tmpfs none rw",
  ])
  func aLineOfAnotherFormIsNoTable(_ line: String) {
    #expect(MountInfo.table(Array("1 1 0:1 / / rw - tmpfs none rw\n\(line)\n".utf8)) == nil)
  }

  @Test func aBackslashWithoutDigitsIsItself() throws {
    let text = #"1 1 0:1 / /a\0\99\777\04 rw - tmpfs none rw"#
    let mount = try #require(MountInfo(line: Array(text.utf8)[...]))
    #expect(mount.target == Array(#"/a\0\99\777\04"#.utf8))
  }
}

@Suite struct UserDataMountTests {
  private static let user = String(repeating: "a1", count: 20)

  private func table(_ lines: [String]) throws -> [MountInfo] {
    let text = lines.enumerated().map { "\($0 + 2) 1 \($1) - t s rw\n" }.joined()
    return try #require(MountInfo.table(Array(text.utf8)))
  }

  private func removed(_ lines: [String], keeping: Set<UInt64> = []) throws -> [String] {
    let mounts = try table(lines)
    return UserDataMounts(mounts).mounts(in: mounts, keeping: keeping).map {
      String(decoding: $0.target, as: UTF8.self)
    }
  }

  @Test func everythingBelowTheHomesGoesLastFirst() throws {
    let user = Self.user
    #expect(
      try removed([
        "8:1 / / rw", "8:2 / /home rw", "0:9 / /home/.shadow/\(user)/mount rw",
        "0:9 /user /home/user/\(user) rw", "0:8 / /home/userdata rw", "0:7 / /home/user/x rw",
      ]) == ["/home/user/x", "/home/user/\(user)", "/home/.shadow/\(user)/mount"])
  }

  @Test func aHomeMountedElsewhereGoesToo() throws {
    let user = Self.user
    #expect(
      try removed([
        "8:1 / / rw", "8:1 /home/.shadow/\(user)/mount/user /home/alice rw",
        "8:1 /home/.shadow/\(user)/vault /vault rw", "8:1 /home/.shadow/x/mount /x rw",
      ]) == ["/home/alice"])
    #expect(
      try removed([
        "8:1 / / rw", "0:9 / /home/.shadow/\(user)/mount rw", "0:9 /deep /srv/a rw",
        "0:10 / /srv/b rw",
      ]) == ["/srv/a", "/home/.shadow/\(user)/mount"])
  }

  /// Were a mount of the whole disk in a home's place taken for a part, so would be the root.
  @Test func aForeignMountInAHomesPlaceMakesNothingElseUserData() throws {
    #expect(try removed(["8:1 / / rw", "8:1 / /home/user/disk rw"]) == ["/home/user/disk"])
  }

  @Test func theJailsOwnStoresStay() throws {
    let user = Self.user
    let text = """
      2 1 8:1 / / rw - t s rw
      3 2 0:5 / /run/daemon-store rw - t s rw
      4 3 0:6 /D /run/daemon-store/D rw - t s rw
      5 4 0:9 /root/D /run/daemon-store/D/\(user) rw - t s rw
      6 2 0:9 / /home/.shadow/\(user)/mount rw - t s rw

      """
    let mounts = try #require(MountInfo.table(Array(text.utf8)))
    let data = UserDataMounts(mounts)
    #expect(data.mounts(in: mounts, keeping: [3]).map(\.id) == [6])
    #expect(data.mounts(in: mounts, keeping: []).map(\.id) == [6, 5, 4])
    // A tree that is not in sight exempts nothing, though all may be below it.
    #expect(data.mounts(in: mounts, keeping: [1]).map(\.id) == [6, 5, 4])
  }
}
