import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

@Suite(.needsRoot) struct TemplateTests {
  @Test(arguments: Machine.allCases)
  func badOnesDoNotStopTheGood(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        let templates = "/etc/daemon-store"
        try host.template("good", group: 60, mode: 0o3770)
        try host.template("zulu", group: 61, mode: 0o2750)
        try makeLink("\(templates)/link", to: "good")
        try makeLink("\(templates)/dangling", to: "nowhere")
        try writeFile("\(templates)/file", "")
        try host.template(".hidden")
        try host.template("two words")
        try host.template("new\nline")
        try host.template("-dash")
        try host.template("writable", mode: 0o777)
        let outcome = try host.run("daemon-store", "startup")
        #expect(outcome.status == 3, "\(outcome)")
        for (name, reason) in [
          ("link", "symbolic link"), ("dangling", "symbolic link"), ("file", "is a file"),
          ("two words", "not a store name"),
          ("-dash", "not a store name"), ("writable", "0777"),
        ] {
          #expect(outcome.complains(of: "\(templates)/\(name): ", reason), "\(name) in \(outcome)")
        }
        #expect(!outcome.errors.contains(".hidden"), "\(outcome)")
        #expect(outcome.output.contains("2 stores ready"), "\(outcome)")
        #expect(try names(in: "/run/daemon-store") == ["good", "zulu"])
        for tree in trees {
          _ = try host.mount(at: "/run/\(tree)/good")
          _ = try host.mount(at: "/run/\(tree)/zulu")
        }
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func writableParentIsNoSource(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        let before = try host.table()
        try host.template("bravo")
        try setMode("/etc", 0o775)
        try host.refuse(status: 3, ["/etc: ", "0775"], "daemon-store", "startup")
        try setMode("/etc", 0o755)
        try setOwner("/etc/daemon-store", 1000, 0)
        try host.refuse(
          status: 3, ["/etc/daemon-store: ", "user 1000"], "daemon-store", "startup")
        #expect(try host.table() == before, "stores that are there stay")
        try setOwner("/etc/daemon-store", 0, 0)
        try host.succeed("daemon-store", "startup")
        _ = try host.mount(at: "/run/daemon-store/bravo")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func noTemplatesAreNoStores(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try remove("/etc/daemon-store")
        let before = try host.table()
        let outcome = try host.succeed("daemon-store", "startup")
        #expect(outcome.lines == ["no stores: /etc/daemon-store is missing"], "\(outcome)")
        #expect(try host.table() == before)
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func dryRunChangesNothing(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try remove("/var/lib/system_salt")
        try host.template("alpha")
        let before = try host.table()
        let outcome = try host.succeed("daemon-store", "startup", "--dry-run")
        #expect(
          outcome.lines == trees.map { "would create /run/\($0)/alpha" }, "\(outcome)")
        #expect(try host.table() == before)
        #expect(try names(in: "/run").isEmpty && !exists("/var/lib/system_salt"))

        try host.succeed("daemon-store", "startup")
        let booted = try host.table()
        #expect(try host.succeed("daemon-store", "startup", "--dry-run").output.isEmpty)
        try remove("/etc/daemon-store/alpha")
        let removal = try host.succeed("daemon-store", "startup", "--dry-run")
        #expect(removal.lines == trees.map { "would remove /run/\($0)/alpha" }, "\(removal)")
        #expect(try host.table() == booted)
      }
    }
  }

  private struct Output: Decodable {
    struct Store: Decodable {
      let store: String
      let path: String
      let step: String
      let ready: Bool
    }
    let dryRun: Bool
    let stores: [Store]
    let problems: [String]
  }

  @Test func printsJSON() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.template("alpha")
        try host.template("open", mode: 0o777)
        let outcome = try host.run("daemon-store", "startup", "--json")
        let output = try decode(Output.self, outcome.output)
        #expect(outcome.status == 3 && !output.dryRun, "\(outcome)")
        #expect(
          output.stores.map(\.path) == trees.map { "/run/\($0)/alpha" }, "\(outcome)")
        #expect(output.stores.allSatisfy { $0.step == "create" && $0.ready }, "\(outcome)")
        #expect(output.problems.count == 1 && output.problems[0].contains("open"), "\(outcome)")
        let second = try decode(Output.self, host.run("daemon-store", "startup", "--json").output)
        #expect(second.stores.allSatisfy { $0.step == "keep" && $0.ready })
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func worksBelowAnotherRoot(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.template("outside")
        for path in ["etc/daemon-store/inside", "run", "home", "var/lib"] {
          try makeDirectory("/mnt/image/\(path)", group: 60)
        }
        try makeLink("/mnt/link", to: "image")
        try host.succeed("daemon-store", "startup", "--root", "/mnt/link")
        try host.succeed("daemon-store", "startup", "--root", "/mnt/image")
        for tree in trees {
          let mount = try host.mount(at: "/mnt/image/run/\(tree)/inside")
          #expect(mount.options.contains("ro") && mount.peerGroup != nil, "\(mount)")
        }
        #expect(try names(in: "/run").isEmpty, "nothing outside")
        #expect(!exists("/mnt/image/var/lib/system_salt"), "an image gets no salt")
        try host.succeed("daemon-store", "shutdown", "--root", "/mnt/image")
        #expect(try host.table().below("/mnt/image").isEmpty)
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func storeGoesWithItsTemplate(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha", "bravo", "used")
        let alpha = try host.mount(at: "/run/daemon-store/alpha")
        try host.login("alice")
        let used = try host.mount(at: "/run/daemon-store/used/\(Host.alice)")
        try remove("/etc/daemon-store/used")
        try host.refuse(
          status: 3, ["/run/daemon-store/used: ", "users are mounted"], "daemon-store", "startup")
        #expect(try host.mount(at: "/run/daemon-store/used/\(Host.alice)") == used)

        try host.logout("alice")
        let jail = try host.jail(following: "used")
        try host.refuse(
          status: 3, ["/run/daemon-store/used: ", try shownName(of: jail)], "daemon-store",
          "startup")
        try host.helpers.stop(jail)
        let outcome = try host.succeed("daemon-store", "startup")
        #expect(outcome.output.contains("removed /run/daemon-store/used"), "\(outcome)")
        for tree in trees {
          #expect(!exists("/run/\(tree)/used"))
          #expect(try host.table().at("/run/\(tree)/used").isEmpty)
        }
        #expect(try host.mount(at: "/run/daemon-store/alpha") == alpha)
      }
    }
  }

  /// A store goes from both trees or from none: what is in the directory of one keeps both.
  @Test(arguments: Machine.allCases)
  func aStoreThatHoldsSomethingStays(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        let before = try trees.map { try host.mount(at: "/run/\($0)/alpha") }
        // Below the stores, which are read-only: as root can, and as a killed login leaves it.
        try makeDirectory("/mnt/run")
        try bindMount("/run", "/mnt/run")
        try writeFile("/mnt/run/daemon-store-cache/alpha/file", "")
        try makeDirectory("/mnt/run/daemon-store/alpha/\(Host.alice)")
        try remove("/etc/daemon-store/alpha")
        for tree in trees {
          try host.refuse(
            status: 3, ["/run/\(tree)/alpha: ", "holds /run/daemon-store-cache/alpha/file"],
            "daemon-store", "startup")
        }
        #expect(try trees.map { try host.mount(at: "/run/\($0)/alpha") } == before)
        try remove("/mnt/run/daemon-store-cache/alpha/file")
        try host.succeed("daemon-store", "startup")
        for tree in trees {
          #expect(try names(in: "/run/\(tree)").isEmpty)
          #expect(try host.table().at("/run/\(tree)/alpha").isEmpty)
        }
      }
    }
  }

  /// Those that somebody uses stay in both trees, and each names its own users.
  @Test(arguments: Machine.allCases)
  func manyThatAreGoneAreToldApart(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        let unused = (1...20).map { "unused\($0)" }
        let used = ["alpha", "bravo", "charlie"]
        for store in unused + used { try host.template(store) }
        try host.succeed("daemon-store", "startup")
        // One file of a process is not all that it uses.
        let holder = try host.holder {
          for place in ["daemon-store/alpha", "daemon-store-cache/bravo"] {
            try check("open", place, open("/run/\(place)", O_RDONLY))
          }
        }
        let jail = try host.jail(following: "charlie")
        for store in unused + used { try remove("/etc/daemon-store/\(store)") }
        let outcome = try host.run("daemon-store", "startup")
        #expect(outcome.status == 3 && outcome.complaints.count == 6, "\(outcome)")
        for (store, who) in [("alpha", holder), ("bravo", holder), ("charlie", jail)] {
          for tree in trees {
            let path = "/run/\(tree)/\(store)"
            #expect(outcome.complains(of: "\(path): ", try shownName(of: who)), "\(outcome)")
            _ = try host.mount(at: path)
          }
        }
        for tree in trees { #expect(try names(in: "/run/\(tree)") == used) }
        for helper in [holder, jail] { try host.helpers.stop(helper) }
        try host.succeed("daemon-store", "startup")
        for tree in trees { #expect(try names(in: "/run/\(tree)").isEmpty) }
      }
    }
  }
}
