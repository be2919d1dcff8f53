import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// Stores that are not what they were, and templates that are not what they seem.
@Suite(.needsRoot) struct StoreOrderTests {
  @Test(arguments: Machine.allCases, ["link", "file"])
  func staysWhereNobodyKnowsTheTemplates(machine: Machine, kind: String) async {
    await #expect(processExitsWith: .success) { [machine, kind] in
      inHost(machine) { host in
        try host.boot("alpha", "bravo")
        let before = try host.table()
        try check("rename", nil, rename("/etc/daemon-store", "/etc/elsewhere"))
        if kind == "link" {
          try makeLink("/etc/daemon-store", to: "elsewhere")
        } else {
          try writeFile("/etc/daemon-store", "")
        }
        try host.refuse(
          status: 3, ["/etc/daemon-store: is a ", "not a directory"], "daemon-store", "startup")
        let after = try host.table()
        #expect(after == before)
        try host.refuse(
          status: 3, ["/etc/daemon-store: is a "], "cryptohome", "mount", "alice", "--vault",
          "plain")
      }
    }
  }

  enum Drift: String, Codable, CaseIterable { case `private`, writable, covered }

  @Test(arguments: Machine.allCases, Drift.allCases)
  func isBroughtIntoOrderByALogin(machine: Machine, drift: Drift) async {
    await #expect(processExitsWith: .success) { [machine, drift] in
      inHost(machine) { host in
        try host.boot("alpha", "bravo")
        let store = "/run/daemon-store/alpha"
        switch drift {
        case .private: try mountFilesystem("none", store, nil, MS_PRIVATE)
        case .writable: try mountFilesystem("none", store, nil, MS_REMOUNT | MS_BIND)
        case .covered: try mountFilesystem("foreign", store, "tmpfs")
        }
        if drift == .covered {
          try host.refuse(
            status: 3, [store, "mounts stacked"], "cryptohome", "mount", "alice", "--vault",
            "plain")
          #expect(try names(in: store).isEmpty, "nothing in what is somebody else's")
          _ = try host.mount(at: "/run/daemon-store/bravo/\(Host.alice)")
          return
        }
        let outcome = try host.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        #expect(outcome.lines.contains { $0.hasPrefix("repaired \(store): ") }, "\(outcome)")
        let mount = try host.mount(at: store)
        let isInOrder = mount.peerGroup != nil && mount.options.contains("ro")
        #expect(isInOrder, "\(mount)")
        try host.expectMounted(Host.alice, in: ["alpha", "bravo"])
      }
    }
  }

  @Test func strayEntriesAreNoBusinessOfALogin() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha", "bravo")
        try writeFile("/etc/daemon-store/README", "")
        try makeDirectory("/etc/daemon-store/.git")
        try host.login("alice")
        try host.refuse(status: 3, ["README"], "daemon-store", "startup")
        // A store that is there, and whose template can be used no more, is missing.
        try setMode("/etc/daemon-store/bravo", 0o777)
        let outcome = try host.refuse(
          status: 3, ["/etc/daemon-store/bravo"], "cryptohome", "mount", "bob", "--vault", "plain")
        #expect(outcome.complaints.count == 1, "\(outcome)")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func inUseWithoutATemplateStaysWhole(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        for tree in trees {
          let before = try host.table()
          let holder = try host.holder {
            try check("chdir", nil, chdir("/run/\(tree)/alpha"))
          }
          if exists("/etc/daemon-store/alpha") { try remove("/etc/daemon-store/alpha") }
          let name = try shownName(of: holder)
          try host.refuse(
            status: 3, ["alpha: ", "is held by \(name): working directory"], "daemon-store",
            "startup")
          let after = try host.table()
          #expect(after == before, "both trees or none")
          try host.helpers.stop(holder)
        }
        try host.succeed("daemon-store", "startup")
        #expect(try host.table().below("/run").count == 1)
      }
    }
  }

  /// The mounts of a login are all open before the first is shown, where there is room for it.
  @Test(arguments: ["-S", "-S -H"])
  func moreThanTheLimitOfOpenFiles(limits: String) async {
    await #expect(processExitsWith: .success) { [limits] in
      inHost(.shared) { host in
        for number in 1...40 { try host.template("store\(number)") }
        try host.succeed("daemon-store", "startup")
        let set = limits.split(separator: " ").map { "ulimit \($0) -n 48" }
          .joined(separator: " && ")
        let outcome = try host.script("\(set) && cryptohome mount alice --vault plain")
        #expect(outcome.status == 0 && outcome.output.contains("in 40 stores"), "\(outcome)")
        try host.expectMounted(Host.alice, in: (1...40).map { "store\($0)" })
      }
    }
  }

  @Test func anImageNeedsNoRun() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try makeDirectory("/mnt/image/etc/daemon-store/inside")
        try host.succeed("daemon-store", "startup", "--root", "/mnt/image", "--dry-run")
        #expect(!exists("/mnt/image/run"))
        try host.succeed("daemon-store", "startup", "--root", "/mnt/image")
        _ = try host.mount(at: "/mnt/image/run/daemon-store/inside")
        #expect(attributes("/mnt/image/run") == "0:0 755")
      }
    }
  }
}
