import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// What is heard of logins and logouts that are done elsewhere than on the bus.
@Suite(.needsRoot) struct BusSignalTests {
  static let login = [
    "StoreMounted alpha alice", "StoreMounted bravo alice", "UserMounted alice",
    "SessionStateChanged started",
  ]
  static let logout = [
    "SessionStateChanged stopping", "StoreUnmounting alpha alice", "StoreUnmounting bravo alice",
    "StoreUnmounted alpha alice", "StoreUnmounted bravo alice", "UserUnmounted alice",
    "SessionStateChanged stopped",
  ]

  @Test func shellIsHeardAlsoAfterAKill() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        var service = try machine.startService()
        let listener = try machine.listen()
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        listener.expect(Self.login)
        let mounts = try machine.mounts(of: Host.alice)

        service.kill()
        #expect(try machine.mounts(of: Host.alice) == mounts)
        service = try machine.startService()
        #expect(try machine.mounts(of: Host.alice) == mounts)
        // What was there before is no news.
        try machine.succeed("cryptohome", "unmount", "alice")
        listener.expect(Self.login + Self.logout)

        service.kill()
        // Without the service both work as well.
        try machine.succeed("cryptohome", "mount", "alice")
        try machine.succeed("cryptohome", "unmount", "alice")
        service = try machine.startService()
        try machine.succeed("cryptohome", "mount", "alice")
        listener.expect(Self.login + Self.logout + Self.login)
        service.kill()
        #expect(machine.log == "")
      }
    }
  }

  /// The kernel tells that a lock file was closed before it lets the lock go.
  @Test(arguments: ["close", "unlock"]) func endOfLoginIsHeard(_ end: String) async {
    await #expect(processExitsWith: .success) { [end] in
      inBusMachine { machine in
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        // A login that is under way.
        let login = try machine.host.helpers.start(
          "python3", "-c",
          """
          import fcntl, os, time
          lock = os.open('/run/cryptohome/\(Host.alice).lock', os.O_RDWR)
          fcntl.flock(lock, fcntl.LOCK_EX)
          os.write(1, b'ready')
          while not os.path.exists('/run/go'): time.sleep(0.01)
          if '\(end)' == 'close':
            os.close(os.open('/run/cryptohome/\(Host.alice).lock', os.O_RDWR))
            time.sleep(0.3)
          fcntl.flock(lock, fcntl.LOCK_UN)
          time.sleep(100)
          """)
        let service = try machine.startService()
        let listener = try machine.listen()
        #expect(
          try machine.run(["busctl", "--system", "get-property"] + Self.state).lines == [
            "s \"stopped\""
          ])
        try writeFile("/run/go", "")
        if end == "close" {
          listener.expect(["UserMounted alice", "SessionStateChanged started"])
        } else {
          // Nothing tells; whoever asks hears it.
          let directory = try Directory(opening: "/run/cryptohome")
          while try FileLock.isHeld("\(Host.alice).lock", in: directory) {
            pause(.milliseconds(1))
          }
          #expect(
            try machine.run(["busctl", "--system", "get-property"] + Self.state).lines == [
              "s \"started\""
            ])
        }
        try machine.host.helpers.stop(login)
        service.kill()
        #expect(machine.log == "")
      }
    }
  }

  private static let state = [
    BusMachine.manager, "/org/daemonstore/Manager1", "org.daemonstore.Manager1", "SessionState",
  ]

  @Test func umountIsHeard() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        let listener = try machine.listen()
        func umount(_ places: String...) throws {
          let outcome = try machine.run(["umount"] + places.map { "\($0)/\(Host.alice)" })
          #expect(outcome.status == 0, "\(outcome)")
        }
        try umount("/run/daemon-store/alpha")
        listener.expect(["StoreUnmounted alpha alice"])
        try machine.expect(
          "('/run/daemon-store/alpha/\(Host.alice)', false)", from: "Manager1.GetStore", "alpha",
          "alice")
        try machine.succeed("cryptohome", "mount", "alice")
        listener.expect(["StoreUnmounted alpha alice", "StoreMounted alpha alice"])
        try umount("/run/daemon-store-cache/bravo")
        try umount("/run/daemon-store/alpha", "/run/daemon-store-cache/alpha")
        try umount("/run/daemon-store/bravo", "/home/user", "/home/root")
        listener.expect([
          "StoreUnmounted alpha alice", "StoreMounted alpha alice", "StoreUnmounted alpha alice",
          "StoreUnmounted bravo alice", "UserUnmounted alice", "SessionStateChanged stopped",
        ])
        service.kill()
        #expect(machine.log == "")
      }
    }
  }

  /// `stopping` and `stopped` are for the last user; `started` is for each.
  @Test func twoUsersAreOneState() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        let listener = try machine.listen()
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        try machine.succeed("cryptohome", "mount", "bob", "--vault", "ephemeral")
        try machine.succeed("cryptohome", "unmount", "alice")
        try machine.expect("('started',)", from: "SessionManagerInterface.RetrieveSessionState")
        try machine.succeed("cryptohome", "unmount", "bob")
        try machine.expect("('stopped',)", from: "SessionManagerInterface.RetrieveSessionState")
        listener.expect(
          Self.login + Self.login.map { $0.replacing("alice", with: "bob") }
            + Self.logout.dropFirst().dropLast()
            + Self.logout.map { $0.replacing("alice", with: "bob") })
        service.kill()
        #expect(machine.log == "")
      }
    }
  }

  /// A logout that others keep from its end is `stopping` until it is over.
  @Test func busyLogoutStaysStopping() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        let holder = try machine.client("hold", "/run/daemon-store/alpha/\(Host.alice)")
        try holder.wait(for: "held")
        let outcome = try machine.run(["/mnt/programs/cryptohome", "unmount", "alice"])
        #expect(outcome.status == 3, "\(outcome)")
        try machine.expect("('stopping',)", from: "SessionManagerInterface.RetrieveSessionState")
        // The service finishes it, when that is possible.
        holder.kill()
        let isOver = try eventually { try machine.mounts(of: Host.alice).isEmpty }
        #expect(isOver, "\(machine.log)")
        let isStopped = try eventually {
          try machine.call("SessionManagerInterface.RetrieveSessionState").output
            == "('stopped',)\n"
        }
        #expect(isStopped)
        service.kill()
      }
    }
  }

  @Test func storesThatAreDelayedWait() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService("--delay", "20s")
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        // The signals of the login come before this answer, and so before there is a listener.
        let isStarted = try eventually {
          try machine.call("SessionManagerInterface.RetrieveSessionState").output
            == "('started',)\n"
        }
        #expect(isStarted)
        let listener = try machine.listen()
        let holder = try machine.client("delay", "alpha", "a page is being written")
        try holder.wait(for: "done")
        let other = try machine.client("delay", "alpha", "another too")
        try other.wait(for: "done")
        let logout = try machine.client("run", "cryptohome", "unmount", "alice")
        listener.expect(Array(Self.logout.prefix(3)))
        // Only when both have let go, by closing it or by their end.
        try holder.tell("close")
        try holder.wait(for: "closed")
        try machine.expect("('stopping',)", from: "SessionManagerInterface.RetrieveSessionState")
        #expect(try machine.mounts(of: Host.alice).count == 6)
        other.kill()
        try logout.wait(for: "unmounted alice")
        listener.expect(Self.logout)
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        service.kill()
        #expect(machine.log == "")
      }
    }
  }

  @Test func delaysEnd() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService("--delay", "50ms")
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        let holder = try machine.client("delay", "alpha", "never\ndone")
        try holder.wait(for: "done")
        let outcome = try machine.run(["/mnt/programs/cryptohome", "unmount", "alice"])
        #expect(
          outcome.status == 0
            && outcome.complaints == [
              "cryptohomed: not waiting any longer for the store alpha: never\\u{0a}done"
            ], "\(outcome)")
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        service.kill()
        #expect(machine.log == "")
      }
    }
  }

  /// Whoever dies while logging a user out has not logged the user out.
  @Test func announcementIsTakenBack() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService("--delay", "20s")
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        let holder = try machine.client("delay", "alpha", "for ever")
        try holder.wait(for: "done")
        let listener = try machine.listen()
        let logout = try machine.client("run", "cryptohome", "unmount", "alice")
        listener.expect(Array(Self.logout.prefix(3)))
        try logout.tell("kill")
        try logout.wait(for: "killed")
        listener.expect(Self.logout.prefix(3) + ["SessionStateChanged started"])
        service.kill()
        #expect(machine.log == "")
      }
    }
  }

  /// The session's leader is a process that is killed: nobody closes the session.
  @Test func sessionEndsWithItsLeader() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        try machine.succeed("cryptohome", "unmount", "alice")
        let service = try machine.startService()
        let listener = try machine.listen()
        let session = try machine.client("session", "alice")
        try session.wait(for: "open")
        listener.expect(Self.login)
        try session.tell("kill the leader")
        listener.expect(Self.login + Self.logout)
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        service.kill()
        #expect(machine.log == "")
      }
    }
  }
}
