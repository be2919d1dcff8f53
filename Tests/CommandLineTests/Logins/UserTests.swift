import FoundationEssentials
import Glibc
import TestSupport
import Testing

/// Who is meant, and what is said of them.
@Suite(.needsRoot) struct UserTests {
  @Test func ordinaryUsersCanAskForAName() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        for name in ["alice", Host.alice] {
          let outcome = try host.runAsNobody("cryptohome", "sanitize", name)
          #expect(outcome.status == 0 && outcome.output == Host.alice + "\n", "\(outcome)")
        }
        #expect(attributes("/home/.shadow") == "0:0 711", "but not who there is")
        #expect(attributes("/home/.shadow/\(Host.alice)") == "0:0 700")
      }
    }
  }

  private struct Status: Decodable {
    let mounted: Bool
    let missing: [String]
  }

  @Test func whatOthersHaveMountedIsNotCounted() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        let folder = "/run/daemon-store/alpha/\(Host.alice)"
        try mountFilesystem("foreign", folder, "tmpfs")
        let text = try host.succeed("cryptohome", "status", "alice", "--json").output
        let status = try decode([Status].self, text)
        #expect(status.map(\.missing) == [[folder]], "\(text)")
        try makeDirectory("/home/user/\(Host.bob)")
        try mountFilesystem("foreign", "/home/user/\(Host.bob)", "tmpfs")
        let bob = try host.succeed("cryptohome", "status", "bob", "--json").output
        #expect(try decode([Status].self, bob).map(\.mounted) == [false], "\(bob)")
      }
    }
  }

  @Test func ownerIsThatOfTheAccountInAnyCase() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        let home = "/home/user/\(Host.alice)"
        try host.refuse(["1000:1000"], "cryptohome", "mount", "alicE", "--owner", "5:5")
        #expect(attributes(home) == "1000:1000 700")
        try host.succeed("cryptohome", "mount", "alicE", "--owner", "1000:1000")
      }
    }
  }

  @Test func sizeIsThatOfTheVault() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        let mount = "cryptohome mount alice --vault ephemeral --size"
        for size in ["1000000", "1000000", "980K"] {  // 245 pages of 4096 bytes
          let outcome = try host.script("\(mount) \(size)")
          #expect(outcome.status == 0, "\(outcome)")
        }
        let before = try host.table()
        let other = try host.script("\(mount) 2M")
        #expect(other.status == 1 && other.complains(of: "bytes, not 2097152"), "\(other)")
        let after = try host.table()
        #expect(after == before)
      }
    }
  }

  @Test func locksLeaveNoFiles() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.succeed("cryptohome", "unmount", "nobody-known")
        try host.refuse(["no vault"], "cryptohome", "mount", "alice")
        let left = try names(in: "/run/cryptohome")
        #expect(left.isEmpty, "\(left)")
      }
    }
  }
}
