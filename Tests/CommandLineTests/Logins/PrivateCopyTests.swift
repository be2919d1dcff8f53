import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// Namespaces that keep a copy of a user's mounts which no unmount here takes along.
@Suite(.needsRoot) struct PrivateCopyTests {
  @Test(arguments: Machine.allCases, ["plain", "ephemeral"])
  func ofAnOrdinaryUserIsDetachedAndNamed(machine: Machine, vault: String) async {
    await #expect(processExitsWith: .success) { [machine, vault] in
      inHost(machine) { host in
        try host.boot("alpha", "bravo")
        try host.succeed("cryptohome", "mount", "alice", "--vault", vault)
        let copier = try host.helpers.start(
          "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "unshare", "-Urm",
          "sh", "-c", "echo ready; kill -STOP $$")
        let copies = try mountTable(of: copier).naming(Host.alice)
        #expect(copies.count >= 6 && copies.allSatisfy { $0.peerGroup == nil }, "\(copies)")
        let outcome = try host.succeed("cryptohome", "unmount", "alice")
        #expect(
          outcome.lines.contains {
            $0.contains("detached \(copies.count) private copies of alice's mounts")
              && $0.hasSuffix("mount namespace of sh (pid \(copier))")
          }, "\(outcome)")
        try host.expectGone(Host.alice, from: ["alpha", "bravo"])
        let after = try mountTable(of: copier).naming(Host.alice)
        #expect(after.isEmpty, "\(after)")
      }
    }
  }

  /// A service has the stores by way of the mounts around them, as systemd makes its namespace, and
  /// runs a jail of its own.
  @Test func aJailWithinAServiceIsAFollowerAsAnyOther() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        let service = try host.holder {
          try check("unshare", nil, linux_unshare(CLONE_NEWNS))
          try mountFilesystem("none", "/", nil, MS_REC | MS_SLAVE)
          try mountFilesystem("none", "/", nil, MS_REC | MS_SHARED)
        }
        let jail = try host.helpers.start(
          "nsenter", "--target", "\(service)", "--mount", "unshare", "--mount", "--propagation",
          "slave", "sh", "-c",
          "mkdir /mnt/jail && mount --rbind /run/daemon-store/alpha /mnt/jail && "
            + "mount --make-rslave /mnt/jail && echo ready && kill -STOP $$")
        try host.login("alice")
        let folder = "/mnt/jail/\(Host.alice)"
        let table = try mountTable(of: jail)
        #expect(table.at(folder).count == 1, "\(table)")
        let who = try host.succeed("daemon-store", "who", "alpha")
        #expect(who.lines == ["nobody"], "\(who)")
        try host.refuse([try shownName(of: jail), "--force"], "daemon-store", "shutdown")
        let outcome = try host.succeed("cryptohome", "unmount", "alice")
        #expect(outcome.lines == ["unmounted alice"], "\(outcome)")
        let left = try mountTable(of: jail).naming(Host.alice)
        #expect(left.isEmpty, "\(left)")
      }
    }
  }

  /// Whoever surveys the namespaces is in each for a moment, and may be the first who is found there.
  @Test func whoPassesThroughHidesNobody() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        try makeDirectory("/mnt/keep")
        func keep() throws {
          try check("unshare", nil, linux_unshare(CLONE_NEWNS))
          try mountFilesystem("none", "/", nil, MS_REC | MS_PRIVATE)
          try bindMount("/run/daemon-store/alpha/\(Host.alice)", "/mnt/keep")
        }
        let passer = try host.holder {
          try keep()
          guard try DaemonStoreKernel.fork() == nil else { return }
          _ = linux_prctl(1, UInt(SIGKILL), 0, 0)  // PR_SET_PDEATHSIG
          for file in CInt(3)..<1024 { close(file) }  // or the test waits for ever
          let first = try check("open", nil, open("/proc/self/ns/mnt", O_RDONLY))
          while !exists("/mnt/other") { usleep(1_000) }
          let path = "/proc/\(try readFile("/mnt/other"))/ns/mnt"
          let second = try check("open", path, open(path, O_RDONLY))
          while true {
            try check("setns", nil, linux_setns(second, CLONE_NEWNS))
            try check("setns", nil, linux_setns(first, CLONE_NEWNS))
          }
        }
        let other = try host.holder {
          try keep()
          try writeFile("/mnt/other", "\(getpid())")
        }
        for time in 1...20 {
          let outcome = try host.run("cryptohome", "unmount", "alice")
          // What it sees while it passes may be named once more.
          #expect(
            outcome.status == 3 && outcome.complaints.count { $0.contains("/mnt/keep") } >= 2,
            "\(time): \(outcome)")
        }
        try host.helpers.stop(passer)
        try host.helpers.stop(other)
        try host.logout("alice")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func boundElsewhereCountsUntilItIsGone(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.login("alice", "bob")
        let folder = "/run/daemon-store/alpha/\(Host.alice)"
        try writeFile("\(folder)/file", "secret")
        let keeper = try host.keeper(of: folder)
        let bob = try host.table().naming(Host.bob)
        for time in 1...2 {
          let outcome = try host.run("cryptohome", "unmount", "alice")
          #expect(outcome.status == 3, "run \(time): \(outcome)")
          let name = try shownName(of: keeper)
          #expect(
            outcome.complains(of: "held by \(name)", "mount namespace", "/mnt/keep"), "\(outcome)")
        }
        try host.expectGone(Host.alice, from: ["alpha"])
        #expect(try host.table().naming(Host.bob) == bob)
        try host.helpers.stop(keeper)
        try host.logout("alice")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func ofAnEphemeralVaultKeepsNothing(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.succeed("cryptohome", "mount", "alice", "--vault", "ephemeral")
        let folder = "/run/daemon-store/alpha/\(Host.alice)"
        try writeFile("\(folder)/file", "secret")
        let keeper = try host.keeper(of: folder)
        try host.refuse(
          status: 3, [try shownName(of: keeper), "/mnt/keep"], "cryptohome", "unmount", "alice")
        #expect(!exists("/proc/\(keeper)/root/mnt/keep/file"), "the data is gone all the same")
        // The empty file system stays, so that the next logout knows of it.
        try host.expectGone(Host.alice, from: ["alpha"], butForVault: true)
        try host.refuse(
          status: 3, [try shownName(of: keeper), "/mnt/keep"], "cryptohome", "unmount", "alice")
        try host.helpers.stop(keeper)
        try host.logout("alice")
        #expect(!exists("/home/.shadow/\(Host.alice)"))
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func coveredInAJailIsDetached(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        let jail = try host.jail(following: "alpha")
        try host.login("alice")
        try makeDirectory("/run/daemon-store/alpha/\(Host.alice)/below")
        let copy = "/mnt/jail/\(Host.alice)"
        try host.helpers.inside(jail) {
          try mountFilesystem("other", "\(copy)/below", "tmpfs")
        }
        let covered = try mountTable(of: jail).below(copy)
        #expect(covered.map(\.target) == [copy, "\(copy)/below"], "\(covered)")
        let outcome = try host.succeed("cryptohome", "unmount", "alice")
        #expect(outcome.output.contains(try shownName(of: jail)), "\(outcome)")
        let after = try mountTable(of: jail).below(copy)
        #expect(after.isEmpty, "\(after)")
        try host.expectGone(Host.alice, from: ["alpha"])
        try host.login("alice")
        let again = try mountTable(of: jail).at(copy)
        #expect(again.count == 1, "the jail follows on: \(again)")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func otherUsersInThatNamespaceStay(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.login("alice", "bob")
        let copier = try host.helpers.start(
          "unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; kill -STOP $$")
        let bob = try mountTable(of: copier).naming(Host.bob)
        try host.logout("alice")
        #expect(try mountTable(of: copier).naming(Host.alice).isEmpty)
        #expect(try mountTable(of: copier).naming(Host.bob) == bob && bob.count == 4)
      }
    }
  }

  /// What may not be looked at may hold anything: it is no proof that all is gone.
  @Test func whatIsHiddenIsNotTakenForNothing() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        _ = try host.holder {}
        let outcome = try run(
          "setpriv",
          [
            "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", "/mnt/programs/cryptohome",
            "unmount", "alice",
          ])
        #expect(outcome.status == 3 && outcome.complains(of: "CAP_SYS_PTRACE"), "\(outcome)")
        try host.logout("alice")
      }
    }
  }

  /// Who may not enter other namespaces sees what their processes see.
  @Test func isFoundWithoutEntering() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        let copier = try host.helpers.start(
          "unshare", "--mount", "--propagation", "private", "sh", "-c",
          "mkdir /mnt/keep; mount --bind /home/user/\(Host.alice) /mnt/keep; echo ready; "
            + "kill -STOP $$")
        let outcome = try run(
          "setpriv",
          [
            "--bounding-set=-sys_chroot", "--inh-caps=-sys_chroot", "/mnt/programs/cryptohome",
            "unmount", "alice",
          ])
        let name = try shownName(of: copier)
        #expect(
          outcome.status == 3 && outcome.complains(of: "held by \(name)", "/mnt/keep"),
          "\(outcome)")
        try host.helpers.stop(copier)
        try host.logout("alice")
      }
    }
  }

  /// Files come faster than they can be removed, by way of a copy that goes on after the unmount.
  @Test(arguments: ["a{n}", "deep/a{n}"])
  func whoMakesFilesForEverIsNamed(file: String) async {
    await #expect(processExitsWith: .success) { [file] in
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.succeed("cryptohome", "mount", "guest", "--vault", "ephemeral", "--owner", "7:9")
        let script =
          "import os,itertools\nos.chdir('/home/user/\(Host.guest)')\nos.mkdir('deep')\n"
          + "print('ready', flush=True)\n"
          + "for n in itertools.count():\n"
          + "  try: os.close(os.open(f'\(file)', os.O_CREAT))\n"
          + "  except OSError: pass"
        let maker = try host.helpers.start(
          "setpriv", "--reuid", "7", "--regid", "9", "--clear-groups", "unshare", "-Urm",
          "python3", "-c", script)
        try host.refuse(
          status: 3, ["held by \(try shownName(of: maker)): working directory"], "cryptohome",
          "unmount", "guest")
        try host.helpers.stop(maker)
        try host.logout("guest")
        #expect(!exists("/home/.shadow/\(Host.guest)"))
      }
    }
  }
}
