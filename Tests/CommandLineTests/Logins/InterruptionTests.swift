import Glibc
import TestSupport
import Testing

/// Two at once, many at once, and a kill in the middle.
@Suite(.needsRoot) struct InterruptionTests {
  @Test(arguments: Machine.allCases)
  func twoLoginsOfOneUserAreOne(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha", "bravo")
        for kind in ["plain", "ephemeral"] {
          let (user, hash) = kind == "plain" ? ("alice", Host.alice) : ("bob", Host.bob)
          let mount = "cryptohome mount \(user) --vault \(kind)"
          let outcome = try host.script(
            "\(mount) & a=$!; \(mount) & b=$!; wait $a; a=$?; wait $b; echo statuses $a $?")
          #expect(outcome.lines.last == "statuses 0 0", "\(outcome)")
          #expect(outcome.complaints.isEmpty, "\(outcome)")
          try host.expectMounted(hash, in: ["alpha", "bravo"], more: kind == "plain" ? 0 : 1)
        }
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func twoStartupsAreOne(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try remove("/var/lib/system_salt")
        for store in 1...8 { try host.template("store\(store)") }
        let outcome = try host.script(
          "daemon-store startup & a=$!; daemon-store startup & b=$!; wait $a; a=$?; wait $b; "
            + "echo statuses $a $?")
        #expect(outcome.lines.last == "statuses 0 0", "\(outcome)")
        let mounts = try host.table().below("/run")
        #expect(mounts.count == 1 + 16, "\(mounts)")
        #expect(Set(mounts.map(\.target)).count == 17, "\(mounts)")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func manyAtOnceEndInACleanTable(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha", "bravo", "charlie")
        let before = try host.table()
        let follower = try host.follower()
        // Numbers that are mixed up, but the same each time: a linear congruence.
        var state: UInt32 = 20_261
        var commands = ""
        for _ in 1...24 {
          state = state &* 1_664_525 &+ 1_013_904_223
          let user = ["alice", "bob", "carol"][Int(state >> 16) % 3]
          let kind = user == "carol" ? "ephemeral" : "plain"
          let isLogin = (state >> 24) % 2 == 0
          let command = isLogin ? "mount \(user) --vault \(kind)" : "unmount \(user)"
          commands += "(cryptohome \(command) || echo status $?: \(command)) &\n"
        }
        let outcome = try host.script(commands + "wait")
        #expect(!outcome.output.contains("status "), "\(outcome)")
        for (user, hash, more) in [
          ("alice", Host.alice, 0), ("bob", Host.bob, 0), ("carol", Host.carol, 1),
        ] {
          let count = try host.table().naming(hash).count
          #expect(count == 0 || count == 8 + more, "\(user) all or nothing: \(count)")
        }
        try host.succeed("cryptohome", "unmount", "--all")
        #expect(try host.table() == before)
        for user in [Host.alice, Host.bob, Host.carol] {
          try host.expectGone(user, from: ["alpha", "bravo", "charlie"])
          #expect(try mountTable(of: follower).naming(user).isEmpty)
        }
      }
    }
  }

  private static let stores = (1...24).map { "store\($0)" }

  /// Starts `arguments` again and again, and kills it at another change of the mount table each
  /// time. `finish` then proves that the next run puts it right.
  private static func kill(
    _ host: Host, _ arguments: [String], prepare: () throws -> Void, finish: () throws -> Void
  ) throws {
    let full = 2 * stores.count + 2
    var partial = 0
    for attempt in 1...24 where attempt <= 8 || partial < 3 {
      try prepare()
      let changes = try MountChanges()
      let run = try Launched("/mnt/programs/cryptohome", arguments)
      for _ in 1...attempt where run.isRunning { changes.next() }
      run.kill()
      if (1..<full).contains(try host.table().naming(Host.alice).count) { partial += 1 }
      try finish()
    }
    #expect(partial >= 1, "a kill between the first mount and the last")
  }

  @Test(arguments: Machine.allCases, ["plain", "ephemeral"])
  func killedLoginIsFinishedByTheNext(machine: Machine, vault: String) async {
    await #expect(processExitsWith: .success) { [machine, vault] in
      inHost(machine) { host in
        for store in Self.stores { try host.template(store) }
        try host.succeed("daemon-store", "startup")
        let before = try host.table()
        let login = ["mount", "alice", "--vault", vault]
        try Self.kill(host, login, prepare: {}) {
          try host.succeed("cryptohome", "mount", "alice", "--vault", vault)
          try host.expectMounted(Host.alice, in: Self.stores, more: vault == "plain" ? 0 : 1)
          for folder in host.folders(of: Host.alice, in: Self.stores) {
            let mount = try host.mount(at: folder)
            #expect(mount.options.isSuperset(of: dataFlags) && mount.peerGroup != nil, "\(mount)")
          }
          try host.logout("alice")
          try host.expectGone(Host.alice, from: Self.stores)
          #expect(try host.table() == before)
        }
      }
    }
  }

  @Test(arguments: Machine.allCases, ["plain", "ephemeral"])
  func killedLogoutIsFinishedByTheNext(machine: Machine, vault: String) async {
    await #expect(processExitsWith: .success) { [machine, vault] in
      inHost(machine) { host in
        for store in Self.stores { try host.template(store) }
        try host.succeed("daemon-store", "startup")
        let before = try host.table()
        try Self.kill(host, ["unmount", "alice"]) {
          try host.succeed("cryptohome", "mount", "alice", "--vault", vault)
        } finish: {
          try host.logout("alice")
          try host.expectGone(Host.alice, from: Self.stores)
          #expect(try host.table() == before)
          if vault == "ephemeral" { #expect(!exists("/home/.shadow/\(Host.alice)")) }
        }
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func killedStartupIsFinishedByTheNext(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        for store in 1...6 { try host.template("store\(store)", group: 60) }
        let run = try #require(try host.table().at("/run").first)
        for moment in 0..<13 {
          let startup = try Launched("/mnt/programs/daemon-store", ["startup"])
          while try host.table().below("/run").count <= moment, startup.isRunning {}
          startup.kill()
          try host.succeed("daemon-store", "startup")
          let mounts = try host.table().below("/run").filter { $0.target != "/run" }
          #expect(mounts.count == 12, "\(mounts)")
          for mount in mounts {
            #expect(mount.options.isSuperset(of: dataFlags.union(["ro"])), "\(mount)")
            #expect(mount.peerGroup != nil && mount.peerGroup != run.peerGroup, "\(mount)")
            #expect(attributes(mount.target) == "0:60 751", "\(mount)")
          }
          try host.succeed("daemon-store", "shutdown")
          #expect(try host.table().below("/run").count == 1)
        }
      }
    }
  }
}
