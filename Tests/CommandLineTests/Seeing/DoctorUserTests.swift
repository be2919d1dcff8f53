import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// What a doctor finds of users: of their mounts, their vaults and their sessions.
@Suite(.needsRoot) struct DoctorUserTests {
  @Test(arguments: [true, false])
  func dataOfWhoIsLoggedOutIsFound(isKilled: Bool) async {
    await #expect(processExitsWith: .success) { [isKilled] in
      let schema = try Schema("doctor")
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice", "bob")
        try makeDirectory("/mnt/keep")
        try mountFilesystem("none", "/mnt", nil, MS_PRIVATE)
        func keep() throws -> pid_t {
          try host.holder {
            try enterOwnNamespace(.privately)
            try bindMount("/home/user/\(Host.alice)", "/mnt/keep")
          }
        }
        var keeper = try keep()
        if isKilled {
          try writeFile("/mnt/namespace", "")
          // Linux mounts a namespace only in one with a lower number, and numbers on each processor.
          while (try? bindMount("/proc/\(keeper)/ns/mnt", "/mnt/namespace")) == nil {
            try host.helpers.stop(keeper)
            keeper = try keep()
          }
        }
        var name = try shownName(of: keeper)
        var fix = "kill \(keeper)"
        if isKilled {
          try host.helpers.stop(keeper)
          name = "whoever mounted it on /mnt/namespace"
          fix = "umount /mnt/namespace"
        }
        #expect(try host.run("cryptohome", "unmount", "alice").status == 3)
        let findings = try host.expect(["pinned-data"], schema)
        #expect(findings[0].subject == "the mount namespace of \(name)")
        #expect(findings[0].problem.contains(Host.alice))
        #expect(findings[0].evidence == ["mounted at /mnt/keep"] && findings[0].fix == fix)
        if isKilled {
          try unmountFilesystem("/mnt/namespace")
        } else {
          try host.helpers.stop(keeper)
        }
        try host.expect([], schema)
      }
    }
  }

  @Test func aFolderThatIsNotAsItsTemplateIsFound() async {
    await #expect(processExitsWith: .success) {
      let schema = try Schema("doctor")
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        let change = try host.succeed(
          "daemon-store", "template", "add", "alpha", "--owner", "7:8", "--mode", "0750")
        #expect(change.lines.last?.hasSuffix("until: cryptohome mount \(Host.alice)") == true)
        let findings = try host.expect(["owner-drift", "owner-drift"], schema)
        #expect(
          findings[0].problem
            == "belongs to 5:60, mode 02770, and not to 7:8, mode 0750, as the template says")
        #expect(try host.script(findings[0].fix).status == 0)
        try host.expect([], schema)
      }
    }
  }

  /// A login is no half login while it is on its way, and is not kept from going on; nor is a logout,
  /// whoever else looks.
  @Test func whoLooksDisturbsNobodyAndIsNotDisturbed() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha", "bravo", "charlie")
        try host.login("alice", "bob")
        let doctor = "daemon-store doctor || touch /mnt/disturbed"
        let lookers = try [doctor, "daemon-store who alpha", "daemon-store tree"].map { command in
          try host.helpers.start(
            "sh", "-c",
            "PATH=$PATH:/mnt/programs; echo ready; while :; do \(command) >>/mnt/said; done")
        }
        for _ in 1...10 {
          try host.logout("alice")
          try host.login("alice")
        }
        for looker in lookers { try host.helpers.stop(looker) }
        #expect(!exists("/mnt/disturbed"), "\((try? readFile("/mnt/said")) ?? "")")
      }
    }
  }

  @Test func halfALoginIsFound() async {
    await #expect(processExitsWith: .success) {
      let schema = try Schema("doctor")
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        try host.boot("bravo")
        var findings = try host.expect(["user-incomplete"], schema)
        #expect(findings[0].evidence.count == 2, "\(findings)")
        #expect(findings[0].fix == "cryptohome mount \(Host.alice)")
        #expect(try host.script(findings[0].fix).status == 0)
        try host.expect([], schema)
        for home in ["user", "root"] { try unmountFilesystem("/home/\(home)/\(Host.alice)") }
        findings = try host.expect(["mounts-without-login"], schema)
        #expect(findings[0].severity == "critical")
        #expect(try host.script(findings[0].fix).status == 0)
        try host.expect([], schema)
      }
    }
  }

  @Test func keysAndVaultsThatAreNotAsTheyShouldBeAreFound() async {
    await #expect(processExitsWith: .success) {
      let schema = try Schema("doctor")
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice")
        try host.expect([], schema)
        try host.unlock("alice")
        try host.expect([], schema)
        // Somebody has unmounted everything, and forgotten the key.
        for mount in try host.table().naming(Host.alice).reversed() {
          try unmountFilesystem(mount.target)
        }
        #expect(try host.keyState(of: Host.alice) == "present")
        var findings = try host.expect(["stale-key"], schema)
        #expect(findings[0].fix == "cryptohome unmount \(Host.alice)")
        #expect(try host.script(findings[0].fix).status == 0)
        #expect(try host.keyState(of: Host.alice) == "absent")
        try host.expect([], schema)

        // A logout that was interrupted moved a directory out that another user had put in the way.
        let misplaced = "/home/.shadow/\(Host.alice)/.removed-7"
        try makeDirectory("\(misplaced)/others", mode: 0o700)
        findings = try host.expect(["misplaced-directory"], schema)
        #expect(findings[0].evidence[0].contains(misplaced), "\(findings)")
        let list = try host.script(findings[0].fix)
        #expect(list.status == 0 && list.output.contains("others"), "\(list)")
        try remove("\(misplaced)/others")
        try host.expect([], schema)
        try remove(misplaced)
        try makeLink(misplaced, to: "/etc")
        try host.expect(["misplaced-directory"], schema)
        try remove(misplaced)

        try remove("/home/.shadow/\(Host.alice)/vault.json")
        findings = try host.expect(["bad-vault"], schema)
        #expect(findings[0].evidence[0].contains("vault.json"), "\(findings)")
      }
    }
  }

  /// As a login through PAM records it, of a process that is gone.
  @Test func mountsForSessionsThatHaveEndedAreFound() async {
    await #expect(processExitsWith: .success) {
      let schema = try Schema("doctor")
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        let records = "/run/cryptohome/sessions/\(Host.alice)"
        try setMode("/run/cryptohome", 0o700)
        try makeDirectory("/run/cryptohome/sessions", mode: 0o700)
        try makeDirectory(records, mode: 0o700)
        let fields = try readFile("/proc/self/stat").split(separator: ")").last?.split(
          separator: " ")
        let start = try #require(fields?[19])
        for name in ["unmount", "\(getpid()).\(start)", "1.1"] {
          try writeFile("\(records)/\(name)", "")
        }
        try host.expect([], schema)
        try remove("\(records)/\(getpid()).\(start)")
        let findings = try host.expect(["mounts-without-login"], schema)
        #expect(findings[0].problem.contains("sessions have ended"), "\(findings)")
        #expect(exists("\(records)/1.1"), "nothing is changed")
        #expect(try host.script(findings[0].fix).status == 0)
        try host.expect([], schema)
      }
    }
  }

  /// In a pid namespace of its own: the other tests' doctors are not to find it.
  @Test func aServiceThatCannotEnterTheFirstNamespaceIsFound() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        for (without, kind) in [("kill", "healthy"), ("sys_admin", "cannot enter the first")] {
          let outcome = try host.script(
            "rm -f /run/cryptohome/control; exec unshare --pid --fork --kill-child sh -c '"
              + "mount -t proc proc /proc; setpriv --bounding-set -\(without) cryptohomed & "
              + "until test -S /run/cryptohome/control; do sleep 0.01; done; "
              + "daemon-store doctor; kill $!; umount /proc'")
          #expect(outcome.output.contains(kind), "\(outcome)")
          #expect(
            outcome.output.contains("CAP_SYS_ADMIN") == (without == "sys_admin"), "\(outcome)")
          let lines = outcome.lines.filter { !$0.hasPrefix(" ") }
          #expect(lines.count == (without == "sys_admin" ? 2 : 1), "\(outcome)")
        }
      }
    }
  }

  /// S29: any user can run a program of that name, or leave a zombie of it.
  @Test(.tags(.attack)) func processNamedLikeTheServiceIsNotTheService() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        let outcome = try host.script(
          "cp /bin/sleep /mnt/cryptohomed; exec unshare --pid --fork --kill-child sh -c '"
            + "mount -t proc proc /proc; "
            + "setpriv --reuid 1001 --clear-groups --bounding-set -all /mnt/cryptohomed 1000 & "
            + "until test $(cat /proc/$!/comm) = cryptohomed; do sleep 0.01; done; "
            + "daemon-store doctor; kill $!; umount --lazy /proc'")
        #expect(outcome.status == 0 && outcome.output.contains("healthy"), "\(outcome)")
      }
    }
  }
}
