import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

@Suite(.needsRoot) struct ShutdownTests {
  @Test(arguments: Machine.allCases)
  func takesUsersAndStoresAway(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        let before = try host.table()
        try host.succeed("daemon-store", "shutdown")
        try host.boot("alpha", "bravo")
        try host.login("alice", "bob")
        try host.succeed("daemon-store", "shutdown")
        let left = try host.table().below("/run")
        #expect(left == before.below("/run"), "\(left)")
        for tree in trees { #expect(try names(in: "/run/\(tree)").isEmpty) }
        _ = try host.mount(at: "/home/user/\(Host.alice)")
        try host.succeed("daemon-store", "startup")
        try host.login("alice", "bob")
        try host.expectMounted(Host.alice, in: ["alpha", "bravo"])
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func refusesWhileAJailFollows(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha", "bravo")
        let jail = try host.jail(following: "bravo")
        try host.login("alice")
        let before = try host.table()
        let outcome = try host.refuse(
          [try shownName(of: jail), "follows", "--force"], "daemon-store", "shutdown")
        #expect(outcome.complaints.count == 1, "\(outcome)")
        #expect(try host.table() == before, "nothing was done")
        try host.succeed("daemon-store", "shutdown", "--force")
        #expect(try host.table().below("/run").count == 1)
        try host.helpers.stop(jail)
      }
    }
  }

  /// A namespace that has inherited `/run` as a slave gets the stores back with the next startup;
  /// where `/run` is private it would be cut off, and counts as a jail.
  @Test(arguments: Machine.allCases)
  func inheritedCopiesDoNotCountWhereTheyComeBack(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        let follower = try host.follower()
        guard machine == .shared else {
          try host.refuse([try shownName(of: follower)], "daemon-store", "shutdown")
          return
        }
        try host.succeed("daemon-store", "shutdown")
        #expect(try mountTable(of: follower).below("/run").count == 1)
        try host.succeed("daemon-store", "startup")
        try host.login("alice")
        let copies = try mountTable(of: follower).at("/run/daemon-store/alpha/\(Host.alice)")
        #expect(copies.count == 1, "\(copies)")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func saysWhoHolds(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha", "bravo")
        try host.login("alice", "bob")
        let inStore = try host.holder { try check("chdir", nil, chdir("/run/daemon-store/bravo")) }
        let folder = "/run/daemon-store/alpha/\(Host.alice)"
        let inFolder = try host.holder { try check("chdir", nil, chdir(folder)) }
        let outcome = try host.run("daemon-store", "shutdown")
        #expect(outcome.status == 3, "\(outcome)")
        for holder in [inStore, inFolder] {
          let name = try shownName(of: holder)
          #expect(
            outcome.complains(of: "still held by \(name): working directory"), "\(outcome)")
        }
        let left = try host.table().below("/run").map(\.target).sorted()
        let held = ["/run", "/run/daemon-store/alpha", folder, "/run/daemon-store/bravo"]
        #expect(left == held.sorted(), "\(left)")
        try host.helpers.stop(inStore)
        try host.helpers.stop(inFolder)
        try host.succeed("daemon-store", "shutdown")
        #expect(try host.table().below("/run").count == 1)
      }
    }
  }

  enum Hold: String, Codable, CaseIterable { case privateCopy, bind, mountBelow }

  @Test(arguments: Machine.allCases, Hold.allCases)
  func saysWhatElseHolds(machine: Machine, hold: Hold) async {
    await #expect(processExitsWith: .success) { [machine, hold] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.login("alice")
        let folder = "/run/daemon-store/alpha/\(Host.alice)"
        for place in ["\(folder)/below", "/mnt/keep"] { try makeDirectory(place) }
        let words: String
        switch hold {
        case .privateCopy:
          let holder = try host.holder {
            try check("unshare", nil, linux_unshare(CLONE_NEWNS))
            try mountFilesystem("none", "/", nil, MS_REC | MS_PRIVATE)
            try check("chdir", folder, chdir(folder))
          }
          words = "held by \(try shownName(of: holder)): working directory"
        case .bind:
          try bindMount(folder, "/mnt/keep")
          words = "held by the same data mounted at /mnt/keep"
        case .mountBelow:
          try mountFilesystem("other", "\(folder)/below", "tmpfs")
          words = "held by tmpfs mounted at \(folder)/below"
        }
        // A private copy follows no store where it has inherited all of them from `/run`.
        try host.refuse(status: 3, [words], "daemon-store", "shutdown", "--force")
        #expect(try host.mount(at: "/home/user/\(Host.alice)").options.contains("nosuid"))
      }
    }
  }

  /// The first run removes the store of the data tree; the second one must know it still.
  @Test func finishesAfterCacheFolderWasHeld() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("bob")
        let folder = "/run/daemon-store-cache/alpha/\(Host.bob)"
        let holder = try host.holder { try check("chdir", nil, chdir(folder)) }
        let held = try host.run("daemon-store", "shutdown")
        #expect(held.status == 3 && held.complains(of: "working directory"), "\(held)")
        try host.helpers.stop(holder)
        try host.succeed("daemon-store", "shutdown")
        #expect(try host.table().below("/run").count == 1)
      }
    }
  }

  /// A failure after something was unmounted is status 3, and one before it status 1.
  @Test func failureAfterFirstUserIsPartial() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        var partial = 0
        for failing in 2...16 {
          try host.login("alice", "bob")
          let before = try host.table().below("/run").count
          let outcome = try host.script(
            "strace -f -qq -o /dev/null -e trace=flock -e inject=flock:error=ENOLCK:when=\(failing)+ "
              + "daemon-store shutdown")
          let isUnmounted = outcome.output.contains("unmounted /run/daemon-store")
          if outcome.status != 0 {
            #expect(outcome.complains(of: "ENOLCK"), "\(outcome)")
            #expect(outcome.status == (isUnmounted ? 3 : 1), "\(outcome)")
            #expect(try (host.table().below("/run").count < before) == isUnmounted, "\(outcome)")
            if isUnmounted { partial += 1 }
          }
          try host.succeed("daemon-store", "shutdown")
          #expect(try host.table().below("/run").count == 1)
          try host.succeed("daemon-store", "startup")
        }
        #expect(partial > 1)
      }
    }
  }

  @Test func besideALogoutNeitherHoldsTheOther() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha", "bravo")
        for _ in 1...15 {
          try host.succeed("daemon-store", "startup")
          try host.login("alice")
          let shutdown = try Launched("/mnt/programs/daemon-store", ["shutdown"])
          try host.logout("alice")
          #expect(eventually { !shutdown.isRunning })
          try host.expectGone(Host.alice, from: ["alpha", "bravo"])
          #expect(try host.table().below("/run").count == 1)
        }
      }
    }
  }
}
