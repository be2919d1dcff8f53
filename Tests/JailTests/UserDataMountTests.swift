import DaemonStoreKernel
import Testing

@testable import Jail

@Suite struct UserDataMountTests {
  private static let user = String(repeating: "a1", count: 20)

  private func table(_ lines: [String]) throws -> [Mount] {
    let text = lines.enumerated().map { "\($0 + 2) 1 \($1) - t s rw\n" }.joined()
    return try MountTable(parsing: Array(text.utf8), from: "text").mounts
  }

  private func removed(_ lines: [String], keeping: Set<UInt64> = []) throws -> [String] {
    let mounts = try table(lines)
    return UserDataMounts(mounts).mounts(in: mounts, keeping: keeping).map(\.target.description)
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
    let mounts = try MountTable(parsing: Array(text.utf8), from: "text").mounts
    let data = UserDataMounts(mounts)
    #expect(data.mounts(in: mounts, keeping: [3]).map(\.id) == [6])
    #expect(data.mounts(in: mounts, keeping: []).map(\.id) == [6, 5, 4])
    // A tree that is not in sight exempts nothing, though all may be below it.
    #expect(data.mounts(in: mounts, keeping: [1]).map(\.id) == [6, 5, 4])
  }
}
