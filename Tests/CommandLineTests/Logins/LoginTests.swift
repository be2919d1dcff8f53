import Glibc
import TestSupport
import Testing

@Suite(.needsRoot) struct LoginTests {
  @Test(arguments: Machine.allCases)
  func isOneMountPerStoreHereAndInEachFollower(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        let stores = ["alpha", "bravo"]
        try host.boot("alpha", "bravo")
        let before = try host.table()
        let followers = [try host.follower(), try host.follower()]
        let jail = try host.jail(following: "alpha")
        let home = try #require(before.at("/home").first)

        try host.login("alice")
        try host.expectMounted(Host.alice, in: stores)
        for folder in host.folders(of: Host.alice, in: stores) {
          let mount = try host.mount(at: folder)
          #expect(mount.options.isSuperset(of: dataFlags), "\(mount)")
          #expect(mount.options.contains("rw") && mount.master == nil, "\(mount)")
          #expect(mount.peerGroup != nil && mount.peerGroup != home.peerGroup, "\(mount)")
          #expect(attributes(folder) == "5:60 2770", "\(folder)")
        }
        for place in ["user", "root"] {
          let mount = try host.mount(at: "/home/\(place)/\(Host.alice)")
          #expect(mount.options.isSuperset(of: ["nosuid", "nodev"]), "\(mount)")
          #expect(mount.peerGroup != nil && mount.peerGroup != home.peerGroup, "\(mount)")
        }
        let groups = Set(try host.table().naming(Host.alice).map(\.peerGroup))
        #expect(groups.count == 6, "each mount has a group of its own: \(groups)")

        for follower in followers {
          let mounts = try mountTable(of: follower).naming(Host.alice)
          #expect(mounts.count == (machine == .shared ? 6 : 4), "\(mounts)")
          for folder in host.folders(of: Host.alice, in: stores) {
            let copies = mounts.at(folder)
            #expect(copies.count == 1, "\(folder): \(mounts)")
            #expect(copies.allSatisfy { $0.options.isSuperset(of: dataFlags) }, "\(copies)")
          }
        }
        let own = try mountTable(of: jail).naming(Host.alice)
        #expect(own.map(\.target) == ["/mnt/jail/\(Host.alice)"], "\(own)")
        #expect(own.allSatisfy { $0.options.isSuperset(of: dataFlags) }, "\(own)")

        try host.logout("alice")
        try host.expectGone(Host.alice, from: stores)
        #expect(try host.table() == before)
        for process in followers + [jail] {
          let mounts = try mountTable(of: process).naming(Host.alice)
          #expect(mounts.isEmpty, "\(process): \(mounts)")
        }
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func keepsDataAndLetsNobodyWriteTooEarly(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        for tree in trees {
          let folder = "/run/\(tree)/alpha/\(Host.alice)"
          #expect(mkdir(folder, 0o700) == -1 && errno == EROFS, "errno \(errno)")
          try host.login("alice")
          try writeFile("\(folder)/kept", "by \(tree)")
          try host.logout("alice")
          #expect(mkdir(folder, 0o700) == -1 && errno == EROFS, "errno \(errno)")
        }
        try host.login("alice")
        for tree in trees {
          #expect(try readFile("/run/\(tree)/alpha/\(Host.alice)/kept") == "by \(tree)")
        }
        let shadow = "/home/.shadow/\(Host.alice)/mount"
        #expect(try readFile("\(shadow)/root/alpha/kept") == "by daemon-store")
        #expect(try readFile("\(shadow)/root/.cache/alpha/kept") == "by daemon-store-cache")
        for path in ["", "/root", "/root/.cache"] {
          #expect(attributes(shadow + path) == "0:0 700", "\(path)")
        }
        #expect(attributes("\(shadow)/user") == "1000:1000 700")
        #expect(attributes("/home/user/\(Host.alice)") == "1000:1000 700")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func twiceChangesNothing(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha", "bravo")
        try host.login("alice")
        let before = try host.table()
        let outcome = try host.succeed("cryptohome", "mount", "alice")
        #expect(outcome.output.contains("mounted already"), "\(outcome)")
        try host.succeed("cryptohome", "mount", Host.alice)
        try host.succeed("cryptohome", "mount", "Alice")
        try host.succeed("daemon-store", "startup")
        #expect(try host.table() == before)
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func finishesWhatIsMissing(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha", "bravo")
        try host.login("alice")
        for folder in [
          "/run/daemon-store/alpha/\(Host.alice)", "/home/root/\(Host.alice)",
        ] { try unmountFilesystem(folder) }
        let before = try host.table().naming(Host.alice)
        try host.login("alice")
        try host.expectMounted(Host.alice, in: ["alpha", "bravo"])
        let after = try host.table().naming(Host.alice)
        #expect(before.count == 4 && Set(after).isSuperset(of: before), "\(before) \(after)")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func setsUpTemplatesThatCameAfterBoot(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.login("alice")
        try host.template("late", owner: 9, group: 90, mode: 0o750)
        try host.login("bob")
        try host.expectMounted(Host.bob, in: ["alpha", "late"])
        try host.expectMounted(Host.alice, in: ["alpha"])
        let run = try #require(try host.table().at("/run").first)
        let late = try host.mount(at: "/run/daemon-store/late")
        #expect(late.options.contains("ro") && late.peerGroup != run.peerGroup, "\(late)")
        #expect(attributes(late.target) == "0:90 751")
        #expect(attributes("\(late.target)/\(Host.bob)") == "9:90 750")
        try host.login("alice")
        try host.expectMounted(Host.alice, in: ["alpha", "late"])
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func needsNoStartupBefore(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.template("alpha")
        try host.login("alice")
        try host.expectMounted(Host.alice, in: ["alpha"])
        try host.template("bad", mode: 0o777)
        try host.succeed("cryptohome", "mount", "alice")
        try host.expectMounted(Host.alice, in: ["alpha"])
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func repairsAndReportsOwnerAndMode(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha", "bravo")
        try host.login("alice")
        let shadow = "/home/.shadow/\(Host.alice)/mount"
        try writeFile("\(shadow)/root/alpha/file", "kept", mode: 0o640)
        try setOwner("\(shadow)/root/alpha/file", 77, 77)
        try host.logout("alice")
        try setOwner("\(shadow)/root/alpha", 77, 77)
        try setMode("\(shadow)/root/.cache/bravo", 0o777)
        try setMode("\(shadow)/root", 0o777)
        try setOwner("\(shadow)/user", 0, 0)
        let outcome = try host.succeed("cryptohome", "mount", "alice")
        for path in ["root", "root/alpha", "root/.cache/bravo", "user"] {
          let line = "repaired \(shadow)/\(path): "
          #expect(outcome.lines.count { $0.hasPrefix(line) } == 1, "\(line) in \(outcome)")
        }
        #expect(outcome.lines.count == 5, "nothing else: \(outcome)")
        #expect(attributes("\(shadow)/root/alpha") == "5:60 2770")
        #expect(attributes("\(shadow)/root/.cache/bravo") == "5:60 2770")
        #expect(attributes("\(shadow)/root") == "0:0 700")
        #expect(attributes("\(shadow)/user") == "1000:1000 700")
        #expect(attributes("\(shadow)/root/alpha/file") == "file 77:77 640", "files stay")
        // Also while mounted, and by a change of the template.
        try setOwner("/etc/daemon-store/alpha", 6, 66)
        try setMode("/etc/daemon-store/alpha", 0o700)
        try host.succeed("cryptohome", "mount", "alice")
        #expect(attributes("/run/daemon-store/alpha/\(Host.alice)") == "6:66 700")
        let again = try host.succeed("cryptohome", "mount", "alice")
        #expect(!again.output.contains("repaired"), "\(again)")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func somethingInThePlaceOfASourceFailsThatStoreOnly(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha", "bravo", "charlie", "delta")
        try host.login("alice")
        try host.logout("alice")
        let root = "/home/.shadow/\(Host.alice)/mount/root"
        for store in ["alpha", "bravo", "charlie"] { try remove("\(root)/\(store)") }
        try makeLink("\(root)/alpha", to: "/etc")
        try writeFile("\(root)/bravo", "text")
        try Self.check("mkfifo", mkfifo("\(root)/charlie", 0o600))
        let etc = attributes("/etc")
        let outcome = try host.run("cryptohome", "mount", "alice")
        #expect(outcome.status == 3 && outcome.complaints.count == 3, "\(outcome)")
        for (store, reason) in [
          ("alpha", "symbolic link"), ("bravo", "is a file"), ("charlie", "named pipe"),
        ] {
          #expect(outcome.complains(of: "\(root)/\(store): ", reason), "\(outcome)")
          #expect(!exists("/run/daemon-store/\(store)/\(Host.alice)"), "\(store)")
          _ = try host.mount(at: "/run/daemon-store-cache/\(store)/\(Host.alice)")
        }
        _ = try host.mount(at: "/run/daemon-store/delta/\(Host.alice)")
        #expect(attributes("/etc") == etc)
        #expect(attributes("\(root)/alpha").hasPrefix("link"), "nothing is deleted")
        #expect(try readFile("\(root)/bravo") == "text")
        try host.logout("alice")
        try host.expectGone(Host.alice, from: ["alpha", "bravo", "charlie", "delta"])
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func usersAreApart(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        let stores = ["alpha", "bravo"]
        try host.boot("alpha", "bravo")
        try host.login("alice", "bob")
        try host.expectMounted(Host.alice, in: stores)
        try host.expectMounted(Host.bob, in: stores)
        let bob = try host.table().naming(Host.bob)
        try writeFile("/run/daemon-store/alpha/\(Host.alice)/file", "of alice")
        #expect(try names(in: "/run/daemon-store/alpha/\(Host.bob)").isEmpty)
        try host.logout("alice")
        try host.expectGone(Host.alice, from: stores)
        #expect(try host.table().naming(Host.bob) == bob)
      }
    }
  }

  private static func check(_ name: String, _ result: CInt) throws {
    if result != 0 { throw Problem("\(name): \(String(cString: strerror(errno)))") }
  }
}
