import Glibc
import TestSupport
import Testing

@Suite(.needsRoot) struct VaultTests {
  @Test(arguments: Machine.allCases)
  func ephemeralIsGoneAtLogout(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        let follower = try host.follower()
        let before = try host.table()
        let arguments = ["cryptohome", "mount", "guest", "--vault", "ephemeral", "--owner", "9:9"]
        let first = try host.script(arguments.joined(separator: " "))
        #expect(first.status == 0, "\(first)")
        try host.expectMounted(Host.guest, in: ["alpha"], more: 1)
        let folder = "/run/daemon-store/alpha/\(Host.guest)"
        #expect(try host.mount(at: folder).type == "tmpfs")
        try writeFile("\(folder)/file", "secret")
        #expect(
          try host.mount(at: "/home/.shadow/\(Host.guest)").options
            .isSuperset(of: ["nosuid", "nodev"]))
        try host.logout("guest")
        try host.expectGone(Host.guest, from: ["alpha"])
        #expect(try host.table() == before)
        #expect(try mountTable(of: follower).naming(Host.guest).isEmpty)
        #expect(!exists("/home/.shadow/\(Host.guest)"), "and no vault is left")
        try host.refuse(["no vault"], "cryptohome", "mount", "guest", "--owner", "9:9")
        _ = try host.script(arguments.joined(separator: " "))
        #expect(try names(in: folder).isEmpty, "a new one is empty")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func whatACrashLeavesOfAnEphemeralOneIsNoVault(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.succeed("cryptohome", "mount", "alice", "--vault", "ephemeral")
        // As after a power cut: no mounts, and on the disk what was below them.
        for mount in try host.table().naming(Host.alice).reversed() {
          try unmountFilesystem(mount.target, lazily: true)
        }
        #expect(try names(in: "/home/.shadow/\(Host.alice)").isEmpty)
        try host.refuse(["no vault"], "cryptohome", "mount", "alice")
        try host.refuse(["no user"], "cryptohome", "mount", Host.alice)
        try host.succeed("cryptohome", "unmount", "alice")
        try host.login("alice")
        #expect(try host.table().naming(Host.alice).count == 4, "a plain one can be made")
      }
    }
  }

  @Test func sizeLimitsAnEphemeralOne() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.succeed(
          "cryptohome", "mount", "alice", "--vault", "ephemeral", "--size", "3M")
        var space = statvfs()
        #expect(statvfs("/run/daemon-store/alpha/\(Host.alice)", &space) == 0)
        #expect(UInt64(space.f_blocks) * UInt64(space.f_frsize) == 3 << 20, "\(space)")
        let before = try host.table()
        for size in ["", "0", "-1", "1.5M", "1X", "M", "1 M", "99999999999999999999", "1MM", "50%"]
        {
          let outcome = try host.run(
            "cryptohome", "mount", "bob", "--vault", "ephemeral", "--size=\(size)")
          #expect(outcome.status == 2 && outcome.complaints.count == 1, "\(outcome)")
        }
        for kind in [["--vault", "plain"], []] {
          let outcome = try run(
            "/mnt/programs/cryptohome", ["mount", "bob", "--size", "3M"] + kind)
          #expect(outcome.status == 2, "\(outcome)")
        }
        #expect(try host.table() == before)
      }
    }
  }

  private struct Status: Decodable {
    let user: String
    let vault: String?
    let mounted: Bool
    let stores: [String]
    let missing: [String]
  }

  @Test(arguments: Machine.allCases)
  func statusIsTheKernels(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha", "bravo")
        let nobody = try host.succeed("cryptohome", "status")
        #expect(nobody.lines == ["no user has a vault here"], "\(nobody)")
        try host.login("alice", "bob")
        try host.succeed("cryptohome", "mount", "carol", "--vault", "ephemeral")
        try host.logout("bob")
        let gone = "/run/daemon-store-cache/bravo/\(Host.alice)"
        try unmountFilesystem(gone)
        let outcome = try host.succeed("cryptohome", "status", "--json")
        let users = try decode([Status].self, outcome.output)
        #expect(users.map(\.user) == [Host.alice, Host.carol, Host.bob], "\(outcome)")
        #expect(users.map(\.vault) == ["plain", "ephemeral", "plain"], "\(outcome)")
        #expect(users.map(\.mounted) == [true, true, false], "\(outcome)")
        #expect(users.map(\.missing) == [[gone], [], []], "\(outcome)")
        #expect(users[0].stores == ["alpha"] && users[2].stores.isEmpty, "\(outcome)")
        let text = try host.succeed("cryptohome", "status", "alice")
        #expect(text.output.contains("missing: \(gone)"), "\(text)")
        let unknown = try decode(
          [Status].self, host.succeed("cryptohome", "status", "guest", "--json").output)
        #expect(unknown.map(\.mounted) == [false] && unknown[0].vault == nil)
      }
    }
  }
}
