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
          for tree in ["daemon-store", "daemon-store-cache"] {
            for (store, group) in [("alpha", 61), ("bravo", 60)] {
              let path = "/run/\(tree)/\(store)"
              let mount = try host.mount(at: path)
              #expect(
                mount.options.isSuperset(of: ["ro", "nosuid", "nodev", "noexec", "nosymfollow"]),
                "\(mount)")
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
}
