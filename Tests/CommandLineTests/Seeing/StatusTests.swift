import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

private struct Tree: Decodable {
  let mounted: Bool
  let path: String
  let peerGroup: Int?
  let users: [String]
  let jails: [Namespace]
}

struct Namespace: Decodable {
  let pid: Int32?
  let program: String?
  let unit: String?
  let file: String?
}

private struct Store: Decodable {
  struct Template: Decodable {
    let uid: UInt32
    let gid: UInt32
    let mode: String
    let owner: String
  }

  let store: String
  let healthy: Bool
  let problems: [String]
  let template: Template?
  let data: Tree
  let cache: Tree
}

@Suite(.needsRoot) struct StatusTests {
  @Test(arguments: Machine.allCases)
  func saysWhatEachStoreIs(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      let schema = try Schema("status")
      inHost(machine) { host in
        #expect(try host.succeed("daemon-store", "status").lines == ["no stores"])
        try host.template("bravo", owner: 1000, group: 60, mode: 0o1750)
        try host.boot("alpha")
        try host.login("alice", "bob")
        let jail = try host.jail(following: "alpha")
        _ = try host.follower()  // which has not asked for it
        try mountFilesystem("none", "/run/daemon-store-cache/bravo", nil, MS_PRIVATE)

        let output = try host.succeed("daemon-store", "status", "--json").output
        let stores = try schema.decode([Store].self, output)
        #expect(stores.map(\.store) == ["alpha", "bravo"])
        let alpha = stores[0]
        #expect(alpha.healthy && alpha.problems.isEmpty && alpha.data.mounted)
        #expect(alpha.data.users == [Host.alice, Host.bob] && alpha.cache.users.count == 2)
        #expect(alpha.data.path == "/run/daemon-store/alpha")
        let groups = try ["daemon-store", "daemon-store-cache"].map {
          try host.mount(at: "/run/\($0)/alpha").peerGroup
        }
        #expect([alpha.data.peerGroup, alpha.cache.peerGroup] == groups, "\(groups)")
        #expect(alpha.data.jails.map(\.pid) == [jail] && alpha.cache.jails.isEmpty)
        let bravo = stores[1]
        #expect(!bravo.healthy && bravo.cache.peerGroup == nil)
        #expect(bravo.problems == ["/run/daemon-store-cache/bravo is not shared"])
        #expect(bravo.template?.owner == "alice" && bravo.template?.mode == "01750")

        let one = try host.succeed("daemon-store", "status", "bravo").lines
        #expect(one[0] == "bravo: not healthy" && one.contains { $0.contains("is not shared") })
        #expect(one.contains("  owner and mode  alice:60 01750"))
        try host.refuse(
          ["charlie", "no such store", "/etc/daemon-store"], "daemon-store", "status", "charlie")
        try setMode("/etc/daemon-store/bravo", 0o777)
        try host.refuse(["bravo", "chmod o-w"], "daemon-store", "status", "bravo")
      }
    }
  }

  /// By the control group that a process is in.
  @Test func aUnitIsNamed() async {
    await #expect(processExitsWith: .success) {
      let schema = try Schema("status")
      inHost(.shared) { host in
        try host.boot("alpha")
        let jail = try host.jail(following: "alpha")
        try makeDirectory("/mnt/groups")
        try mountFilesystem("none", "/mnt/groups", "cgroup2")
        // In the machine's own hierarchy: a name that nobody else has, and removed at the end.
        let slice = "/mnt/groups/daemonstoretest\(jail).slice"
        let unit = "notes-\(jail).service"
        for directory in [slice, "\(slice)/\(unit)", "\(slice)/\(unit)/inner"] {
          try check("mkdir", directory, mkdir(directory, 0o755))
        }
        defer {
          for directory in ["/\(unit)/inner", "/\(unit)", ""] { rmdir(slice + directory) }
        }
        try writeProcess(jail, "\(slice)/\(unit)/inner")
        let output = try host.succeed("daemon-store", "status", "--json").output
        let stores = try schema.decode([Store].self, output)
        #expect(stores[0].data.jails.map(\.unit) == [unit])
        let text = try host.succeed("daemon-store", "tree").output
        #expect(
          text.contains("    \(unit) (pid \(jail))  follows, own bind\n"), "\(text)")
        try mountFilesystem("none", "/run/daemon-store/alpha", nil, MS_PRIVATE)
        let doctor = try host.run("daemon-store", "doctor").lines
        #expect(doctor.contains("  fix: systemctl restart \(unit)"), "\(doctor)")
        try writeProcess(jail, "/mnt/groups")
      }
    }
  }
}

/// Moves a process into a control group.
private func writeProcess(_ process: pid_t, _ group: String) throws {
  let path = "\(group)/cgroup.procs"
  let file = try check("open", path, open(path, O_WRONLY | O_CLOEXEC))
  defer { close(file) }
  let text = Array("\(process)\n".utf8)
  try check("write", path, write(file, text, text.count))
}
