import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// Sessions, as logins begin and end them: through libpam and the built module.
@Suite(.needsRoot) struct SessionTests {
  @Test(arguments: [false, true])
  func loginMountsAndLogoutUnmounts(isForeign: Bool) async {
    await #expect(processExitsWith: .success) { [isForeign] in
      inPamMachine { machine in
        let login = try machine.login("alice", isForeign: isForeign)
        #expect(try machine.mounts(of: Host.alice).count == 4, "where process 1 sees it")
        #expect(machine.records(of: Host.alice) == [try login.leaderName(), "unmount"])
        #expect(attributes("/run/cryptohome/sessions") == "0:0 700")
        #expect(!login.text.contains("daemon-store"), "\(login.text)")
        try login.logout()
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        #expect(try names(in: "/run/cryptohome/sessions").isEmpty)
        #expect(!login.text.contains("daemon-store"), "\(login.text)")
      }
    }
  }

  @Test func firstLogoutOfTwoLeavesTheMounts() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        let one = try machine.login("alice")
        let mounts = try machine.mounts(of: Host.alice)
        let two = try machine.login("alice")
        try one.logout()
        #expect(try machine.mounts(of: Host.alice) == mounts, "untouched")
        #expect(machine.records(of: Host.alice) == [try two.leaderName(), "unmount"])
        try two.logout()
        #expect(try machine.mounts(of: Host.alice).isEmpty)
      }
    }
  }

  @Test func deadLeaderEndsItsSession() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        let one = try machine.login("alice")
        let two = try machine.login("alice")
        one.kill()
        try machine.succeed("pam", "lock-ended")
        #expect(machine.records(of: Host.alice) == [try two.leaderName(), "unmount"])
        #expect(try machine.mounts(of: Host.alice).count == 4)
        two.kill()
        try machine.succeed("pam", "lock-ended", Host.alice)
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        #expect(machine.records(of: Host.alice).isEmpty)
      }
    }
  }

  @Test func everyVerbLocksAbandonedVaultsFirst() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        for verb in [["mount", "bob", "--vault", "plain"], ["unmount", "bob"]] {
          try machine.login("alice", isAlone: true).kill()
          #expect(try machine.mounts(of: Host.alice).count == 4)
          let outcome = try machine.host.script(
            (["nsenter"] + machine.words(["/mnt/programs/cryptohome"] + verb))
              .joined(separator: " "))
          #expect(outcome.status == 0, "\(outcome)")
          #expect(try machine.mounts(of: Host.alice).isEmpty, "\(verb)")
        }
        // A login acts for its own user only.
        try machine.login("alice", isAlone: true).kill()
        let bob = try machine.login("bob")
        #expect(try machine.mounts(of: Host.alice).count == 4)
        try bob.logout()
        #expect(try machine.mounts(of: Host.alice).count == 4)
        try machine.succeed("pam", "lock-ended")
        #expect(try machine.mounts(of: Host.alice).isEmpty)
      }
    }
  }

  /// A zombie is a process that has ended, and a number that another has now is not the leader's.
  @Test func leadersAreToldFromOthersOfTheirNumber() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        let login = try machine.login("alice")
        let name = try login.leaderName()
        let other = "\(name.split(separator: ".")[0]).1"
        try writeFile("/run/cryptohome/sessions/\(Host.alice)/\(other)", "")
        try machine.succeed("pam", "lock-ended")
        #expect(machine.records(of: Host.alice) == [name, "unmount"])
        Glibc.kill(login.dialogue.process, SIGKILL)
        let isZombie = try eventually {
          try readFile("/proc/\(login.dialogue.process)/stat").contains(") Z ")
        }
        #expect(isZombie)
        try machine.succeed("pam", "lock-ended")
        #expect(machine.records(of: Host.alice).isEmpty)
      }
    }
  }

  @Test func mountByHandStaysUntilUnmountByHand() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        // Before the session.
        try machine.succeed("mount", "alice")
        try machine.login("alice").logout()
        #expect(try machine.mounts(of: Host.alice).count == 4)
        try machine.succeed("unmount", "alice")
        // While there is one.
        let login = try machine.login("alice")
        try machine.succeed("mount", "alice")
        try login.logout()
        #expect(try machine.mounts(of: Host.alice).count == 4)
        // Unmounted by hand in the middle of one, and mounted by the next.
        let next = try machine.login("alice")
        try machine.succeed("unmount", "alice")
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        let last = try machine.login("alice")
        #expect(try machine.mounts(of: Host.alice).count == 4)
        try last.logout()
        #expect(try machine.mounts(of: Host.alice).count == 4, "the other session goes on")
        try next.logout()
        #expect(try machine.mounts(of: Host.alice).isEmpty)
      }
    }
  }

  @Test func busyLogoutIsNamedAndFinishedLater() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        let login = try machine.login("alice")
        let holder = try machine.host.helpers.fork(inside: machine.first) {
          try check("chdir", nil, chdir("/home/user/\(Host.alice)"))
        }
        try login.logout()
        let number = try PamMachine.leaderName(of: holder).split(separator: ".")[0]
        let words = "your daemon-store vault is not locked yet: still held by "
        #expect(login.text.contains(words) && login.text.contains("(pid \(number))"))
        #expect(machine.records(of: Host.alice) == ["unmount"])
        let outcome = try machine.run("/mnt/programs/cryptohome", "pam", "lock-ended")
        #expect(outcome.status == 3 && outcome.complains(of: "(pid \(number))"), "\(outcome)")
        try machine.host.helpers.stop(holder)
        try machine.succeed("pam", "lock-ended")
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        #expect(machine.records(of: Host.alice).isEmpty)
      }
    }
  }

  @Test func busyUnmountByHandIsFinishedToo() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        try machine.succeed("mount", "alice")
        let holder = try machine.host.helpers.fork(inside: machine.first) {
          try check("chdir", nil, chdir("/home/user/\(Host.alice)"))
        }
        let outcome = try machine.run("/mnt/programs/cryptohome", "unmount", "alice")
        #expect(outcome.status == 3, "\(outcome)")
        let login = try machine.login("alice")
        #expect(try machine.mounts(of: Host.alice).count == 4)
        try machine.host.helpers.stop(holder)
        try login.logout()
        #expect(try machine.mounts(of: Host.alice).isEmpty, "it was unmounted by hand")
      }
    }
  }

  @Test func manyAtOnceEndInNothing() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        try machine.succeed("mount", "bob", "--vault", "plain")
        try machine.succeed("unmount", "bob")
        let logins = try (0..<12).map { index in
          let user = index % 3 == 0 ? "bob" : "alice"
          let dialogue = try Dialogue(
            "nsenter",
            machine.words(
              ["pamtester", "login", user, "authenticate", "open_session", "close_session"]))
          try dialogue.tell(PamMachine.password)
          return dialogue
        }
        for (index, login) in logins.enumerated() {
          if index % 4 == 3 {
            login.kill()
          } else {
            let status = try login.end()
            #expect(status == 0 && !login.text.contains("daemon-store"), "\(login.text)")
          }
        }
        try machine.succeed("pam", "lock-ended")
        for user in [Host.alice, Host.bob] {
          #expect(try machine.mounts(of: user).isEmpty)
          #expect(machine.records(of: user).isEmpty)
        }
      }
    }
  }

  /// Killed at any change of the mount table, `cryptohome pam` leaves what the next finishes.
  @Test func killedInTheMiddleIsFinishedByTheNext() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        for attempt in 1...6 {
          let login = try Dialogue(
            "nsenter",
            machine.words(["pamtester", "login", "alice", "authenticate", "open_session"]))
          try login.tell(PamMachine.password)
          let isMounting = try eventually {
            try machine.mounts(of: Host.alice).count >= attempt % 4
              && !machine.records(of: Host.alice).isEmpty
          }
          #expect(isMounting)
          for child in try children(of: login.process) { Glibc.kill(child, SIGKILL) }
          let status = try login.end()
          #expect(status == 0, "a login is never refused: \(login.text)")
          try machine.succeed("pam", "lock-ended")
          #expect(try machine.mounts(of: Host.alice).isEmpty)
          #expect(machine.records(of: Host.alice).isEmpty)
        }
      }
    }
  }
}

/// The processes that one has started, as this test sees them.
func children(of process: pid_t) throws -> [pid_t] {
  try readFile("/proc/\(process)/task/\(process)/children").split(separator: " ")
    .compactMap { pid_t($0) }
}
