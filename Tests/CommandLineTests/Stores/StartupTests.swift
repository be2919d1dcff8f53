import Glibc
import TestSupport
import Testing

@Suite(.needsRoot) struct StartupTests {
  @Test(arguments: Machine.allCases)
  func threeTimesIsOnce(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.template("bravo", owner: 5, group: 60, mode: 0o770)
        try host.template("alpha", group: 61, mode: 0o3770)
        let run = try #require(try host.table().at("/run").first)
        var groups: Set<Int?> = []
        for time in 1...3 {
          let outcome = try host.succeed("daemon-store", "startup")
          #expect(outcome.lines.last == "2 stores ready", "\(outcome)")
          let mounts = try host.table().below("/run").filter { $0.target != "/run" }
          #expect(mounts.count == 4, "run \(time): \(mounts)")
          for tree in trees {
            for (store, group) in [("alpha", 61), ("bravo", 60)] {
              let path = "/run/\(tree)/\(store)"
              let mount = try host.mount(at: path)
              #expect(mount.options.isSuperset(of: dataFlags.union(["ro"])), "\(mount)")
              #expect(mount.peerGroup != nil && mount.master == nil, "\(mount)")
              #expect(mount.peerGroup != run.peerGroup, "\(mount) is a peer of \(run)")
              #expect(attributes(path) == "0:\(group) 751", "\(path)")
              groups.insert(mount.peerGroup)
            }
          }
        }
        #expect(groups.count == 4, "each store keeps one group of its own: \(groups)")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func jailFromBeforeTheSecondRunReceivesTheNextLogin(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        let follower = try host.follower()
        let jail = try host.jail(following: "alpha")
        try host.succeed("daemon-store", "startup")
        try host.succeed("daemon-store", "startup")
        try host.login("alice")
        let inherited = try mountTable(of: follower)
        for folder in host.folders(of: Host.alice, in: ["alpha"]) {
          #expect(inherited.at(folder).count == 1, "\(folder): \(inherited)")
        }
        let own = try mountTable(of: jail)
        #expect(own.naming(Host.alice).map(\.target) == ["/mnt/jail/\(Host.alice)"], "\(own)")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func finishesWhatWasInterrupted(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        for store in ["made", "half", "whole"] { try host.template(store, group: 60) }
        try host.succeed("daemon-store", "startup")
        let whole = try host.mount(at: "/run/daemon-store/whole")
        let half = try host.mount(at: "/run/daemon-store/half")
        // As a kill leaves it: a directory of root's alone, not mounted; a store without its twin.
        for tree in trees { try unmountFilesystem("/run/\(tree)/made") }
        try remove("/run/daemon-store-cache/made")
        try setOwner("/run/daemon-store/made", 0, 0)
        try unmountFilesystem("/run/daemon-store-cache/half")

        try host.succeed("daemon-store", "startup")
        let mounts = try host.table().below("/run").filter { $0.target != "/run" }
        #expect(mounts.count == 6, "\(mounts)")
        #expect(mounts.contains(whole) && mounts.contains(half), "\(mounts)")
        for tree in trees {
          #expect(attributes("/run/\(tree)/made") == "0:60 751", "\(tree)")
          let mount = try host.mount(at: "/run/\(tree)/made")
          #expect(mount.options.contains("ro") && mount.peerGroup != nil, "\(mount)")
        }
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func bringsIntoOrderWhatDrifted(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        let path = "/run/daemon-store/alpha"
        let before = try host.mount(at: path)
        try mountFilesystem("none", path, nil, MS_REMOUNT | MS_BIND)  // all flags off
        try setOwner(path, 7, 7)
        try setMode(path, 0o777)
        let outcome = try host.succeed("daemon-store", "startup")
        #expect(outcome.output.contains("repaired \(path)"), "\(outcome)")
        #expect(attributes(path) == "0:60 751")
        let after = try host.mount(at: path)
        #expect(after.options.isSuperset(of: dataFlags.union(["ro"])), "\(after)")
        #expect(after.id == before.id && after.peerGroup == before.peerGroup, "\(after)")

        try mountFilesystem("none", path, nil, MS_PRIVATE)
        try host.succeed("daemon-store", "startup")
        let shared = try host.mount(at: path)
        let run = try #require(try host.table().at("/run").first)
        #expect(shared.peerGroup != nil && shared.peerGroup != run.peerGroup, "\(shared)")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func neverOverwritesWhatIsNoStore(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try makeDirectory("/run/daemon-store/foreign")
        try mountFilesystem("foreign", "/run/daemon-store/foreign", "tmpfs")
        try writeFile("/run/daemon-store/foreign/data", "mine")
        try makeLink("/run/daemon-store/link", to: "/etc")
        try writeFile("/run/daemon-store/file", "text")
        for store in ["alpha", "foreign", "link", "file"] { try host.template(store) }
        let before = try host.table().below("/run")

        let outcome = try host.run("daemon-store", "startup")
        #expect(outcome.status == 3, "\(outcome)")
        for store in ["foreign", "link", "file"] {
          let path = "/run/daemon-store/\(store)"
          #expect(outcome.complains(of: "daemon-store: startup: ", "\(path): is "), "\(outcome)")
          let twin = try host.table().at("/run/daemon-store-cache/\(store)")
          #expect(twin.count == 1, "the twin is in order: \(twin)")
        }
        #expect(outcome.complaints.count == 3, "\(outcome)")
        #expect(try Set(host.table()).isSuperset(of: before))
        #expect(try readFile("/run/daemon-store/foreign/data") == "mine")
        #expect(attributes("/run/daemon-store/link").hasPrefix("link"))
        #expect(try readFile("/run/daemon-store/file") == "text")
        _ = try host.mount(at: "/run/daemon-store/alpha")
      }
    }
  }
}
