import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

@Suite(.needsRoot) struct LogoutTests {
  enum Hold: String, Codable, CaseIterable {
    case workingDirectory, openFile, deletedFile, mapping, runningProgram, root

    /// What the complaint says.
    var words: String {
      switch self {
      case .workingDirectory: "working directory"
      case .openFile, .deletedFile: "open file"
      case .mapping: "mapped file"
      case .runningProgram: "running program"
      case .root: "root directory"
      }
    }

    /// Starts a process that holds something of the user's.
    func begin(_ host: Host, _ hash: String) throws -> pid_t {
      let home = "/home/user/\(hash)"
      let file = "\(home)/file"
      try writeFile(file, [UInt8](repeating: 1, count: 4096))
      if self == .runningProgram {
        _ = try host.script("cp /bin/sh \(home)/program")
        return try host.helpers.start("\(home)/program", "-c", "echo ready; kill -STOP $$")
      }
      return try host.holder {
        switch self {
        case .workingDirectory, .runningProgram: try check("chdir", home, chdir(home))
        case .openFile, .deletedFile:
          try check("open", file, open(file, O_RDWR))
          if self == .deletedFile { try remove(file) }
        case .mapping:
          let descriptor = try check("open", file, open(file, O_RDWR))
          if mmap(nil, 4096, PROT_READ, MAP_SHARED, descriptor, 0) == MAP_FAILED {
            throw SystemError(operation: "mmap", path: file, code: errno)
          }
          close(descriptor)
        case .root: try check("chroot", home, chroot(home))
        }
      }
    }
  }

  @Test(arguments: Machine.allCases, Hold.allCases)
  func busyIsNamedAndFinishedLater(machine: Machine, hold: Hold) async {
    await #expect(processExitsWith: .success) { [machine, hold] in
      inHost(machine) { host in
        try host.boot("alpha", "bravo")
        try host.login("alice", "bob")
        let bob = try host.table().naming(Host.bob)
        let holder = try hold.begin(host, Host.alice)
        let outcome = try host.run("cryptohome", "unmount", "alice")
        #expect(outcome.status == 3, "\(outcome)")
        #expect(
          outcome.complains(of: "still held by \(try shownName(of: holder)): \(hold.words)"),
          "\(outcome)")
        let left = try host.table().naming(Host.alice)
        #expect(left.map(\.target) == ["/home/user/\(Host.alice)"], "what is free is gone: \(left)")
        #expect(try host.table().naming(Host.bob) == bob)
        try host.helpers.stop(holder)
        try host.logout("alice")
        try host.expectGone(Host.alice, from: ["alpha", "bravo"])
        #expect(try host.table().naming(Host.bob) == bob)
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func mountAndLoopDeviceAreNamed(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.login("alice")
        let home = "/home/user/\(Host.alice)"
        try makeDirectory("\(home)/below")
        try mountFilesystem("other", "\(home)/below", "tmpfs")
        try host.refuse(
          status: 3, ["still held by tmpfs mounted at \(home)/below"], "cryptohome", "unmount",
          "alice")
        try unmountFilesystem("\(home)/below")
        try host.logout("alice")

        try host.login("alice")
        try writeFile("\(home)/disk", [UInt8](repeating: 0, count: 1 << 20))
        let loop = try run("losetup", ["--find", "--show", "\(home)/disk"])
        let device = try #require(loop.lines.first, "\(loop)")
        // Once only: a second time it may be somebody else's.
        var isAttached = true
        defer { if isAttached { _ = try? run("losetup", ["--detach", device]) } }
        try host.refuse(
          status: 3, ["still held by loop device \(device)"], "cryptohome", "unmount", "alice")
        isAttached = false
        let detached = try run("losetup", ["--detach", device])
        #expect(detached.status == 0, "\(detached)")
        try host.logout("alice")
        try host.expectGone(Host.alice, from: ["alpha"])
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func processInAFollowingJailIsNamed(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha", "bravo")
        let jail = try host.jail(following: "alpha")
        try host.login("alice", "bob")
        let folder = "/mnt/jail/\(Host.alice)"
        try writeFile("/run/daemon-store/alpha/\(Host.alice)/file", "text")
        let holder = try host.helpers.fork(inside: jail) {
          try check("open", folder, open("\(folder)/file", O_RDONLY))
        }
        let bob = try host.table().naming(Host.bob)
        let inJail = try mountTable(of: jail).naming(Host.bob)
        try host.refuse(
          status: 3, ["held by \(try shownName(of: holder)): open file"], "cryptohome", "unmount",
          "alice")
        #expect(try host.table().naming(Host.bob) == bob)
        #expect(try mountTable(of: jail).naming(Host.bob) == inJail && inJail.count == 1)
        try host.helpers.stop(holder)
        try host.logout("alice")
        try host.expectGone(Host.alice, from: ["alpha", "bravo"])
        #expect(try mountTable(of: jail).naming(Host.alice).isEmpty)
        #expect(try mountTable(of: jail).naming(Host.bob) == inJail)
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func ephemeralIsHeldToo(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.succeed("cryptohome", "mount", "alice", "--vault", "ephemeral")
        let holder = try Hold.workingDirectory.begin(host, Host.alice)
        try host.refuse(
          status: 3, [try shownName(of: holder), "working directory"], "cryptohome", "unmount",
          "alice")
        #expect(exists("/home/user/\(Host.alice)/file"), "held data is not thrown away")
        try host.helpers.stop(holder)
        try host.logout("alice")
        try host.expectGone(Host.alice, from: ["alpha"])
        #expect(!exists("/home/.shadow/\(Host.alice)"))
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func waitsUntilTheHolderLeaves(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.login("alice")
        let home = "/home/user/\(Host.alice)"
        let gone = "/run/daemon-store/alpha/\(Host.alice)"
        // Leaves when the first attempt has taken away what was free.
        let script = "cd \(home); echo ready; while test -e \(gone); do sleep 0.01; done"
        _ = try host.helpers.start("sh", "-c", script)
        let outcome = try host.succeed("cryptohome", "unmount", "alice", "--wait", "30s")
        #expect(outcome.output.contains("unmounted alice"), "\(outcome)")
        try host.expectGone(Host.alice, from: ["alpha"])

        try host.login("alice")
        let holder = try Hold.openFile.begin(host, Host.alice)
        try host.refuse(
          status: 3, [try shownName(of: holder)], "cryptohome", "unmount", "alice", "--wait",
          "100ms")
        for time in ["", "x", "-1s", "1d", "99999999999999999999s"] {
          let usage = try host.run("cryptohome", "unmount", "alice", "--wait=\(time)")
          #expect(usage.status == 2 && usage.complaints.count == 1, "\(usage)")
        }
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func forceDetachesAndSaysSo(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        let follower = try host.follower()
        for kind in ["plain", "ephemeral"] {
          let user = kind == "plain" ? "alice" : "bob"
          let hash = kind == "plain" ? Host.alice : Host.bob
          try host.succeed("cryptohome", "mount", user, "--vault", kind)
          let holder = try Hold.openFile.begin(host, hash)
          let outcome = try host.run("cryptohome", "unmount", user, "--force")
          #expect(outcome.status == 3, "\(outcome)")
          let name = try shownName(of: holder)
          #expect(outcome.complains(of: "detached, still held by \(name)"), "\(outcome)")
          try host.expectGone(hash, from: ["alpha"], butForVault: kind == "ephemeral")
          let seen = try mountTable(of: follower).naming(hash).map(\.target)
          #expect(seen.allSatisfy { $0 == "/home/.shadow/\(hash)" }, "\(seen)")
          try host.helpers.stop(holder)
          try host.logout(user)
        }
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func allAndNobody(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        let before = try host.table()
        try host.succeed("cryptohome", "unmount", "--all")
        let outcome = try host.succeed("cryptohome", "unmount", "alice")
        #expect(outcome.output.contains("not mounted"), "\(outcome)")
        try host.login("alice", "bob")
        try host.succeed("cryptohome", "mount", "carol", "--vault", "ephemeral")
        try host.succeed("cryptohome", "unmount", "--all")
        #expect(try host.table() == before)
        try host.login("alice", "bob")
        let holder = try Hold.workingDirectory.begin(host, Host.alice)
        try host.refuse(
          status: 3, [try shownName(of: holder)], "cryptohome", "unmount", "--all")
        try host.expectGone(Host.bob, from: ["alpha"])
        for arguments in [[], ["alice", "--all"]] {
          let usage = try run("/mnt/programs/cryptohome", ["unmount"] + arguments)
          #expect(usage.status == 2 && usage.complaints.count == 1, "\(usage)")
        }
      }
    }
  }
}
