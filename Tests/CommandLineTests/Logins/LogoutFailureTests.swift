import CDaemonStoreLinux
import FoundationEssentials
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// Logouts that meet more than a user who is still there.
@Suite(.needsRoot) struct LogoutFailureTests {
  private struct Output: Decodable {
    let user: String
    let complete: Bool
    let unmounted: [String]
    let problem: String?
  }

  @Test(arguments: Machine.allCases)
  func whatCannotBeRemovedDoesNotStopTheRest(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.login("alice", "bob")
        try setMode("/home/user", 0o777)
        let outcome = try host.refuse(
          status: 3, ["/home/user: ", "0777"], "cryptohome", "unmount", "alice", "--json")
        let output = try decode([Output].self, outcome.output)
        #expect(output.map(\.user) == [Host.alice] && output[0].unmounted.count == 4, "\(outcome)")
        #expect(!outcome.complains(of: "no process shows"), "\(outcome)")
        try host.expectGone(Host.alice, from: ["alpha"])
        try setMode("/home/user", 0o711)
        try host.logout("alice")

        // A user for whom nothing can be done is in the output, too.
        try setMode("/run", 0o777)
        let all = try host.run("cryptohome", "unmount", "--all", "--json")
        try setMode("/run", 0o755)
        let none = try decode([Output].self, all.output)
        #expect(none.map(\.user) == [Host.bob] && all.status == 3, "\(all)")
        #expect(none[0].problem?.contains("/run: ") == true && !none[0].complete, "\(all)")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func everybodyIsLoggedOutThoughNobodyReads(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.login("alice", "bob", "carol")
        let first = [Host.alice, Host.bob, Host.carol].sorted()[0]
        let holder = try host.holder {
          try check("chdir", nil, chdir("/home/user/\(first)"))
        }
        let outcome = try host.script(
          "(cryptohome unmount --all; echo $? >/mnt/status) 2>&1 | true")
        let isDone = try eventually {
          guard exists("/mnt/status") else { return false }
          return try readFile("/mnt/status") != ""
        }
        #expect(isDone && outcome.status == 0, "\(outcome)")
        let status = try readFile("/mnt/status")
        #expect(status == "3\n")
        let left = try host.table().filter { $0.target.hasPrefix("/home/user/") }
        #expect(left.map(\.target) == ["/home/user/\(first)"], "\(left)")
        try host.helpers.stop(holder)
        let full = try host.script("cryptohome unmount --all >/dev/full")
        #expect(full.status == 0 && full.complains(of: "standard output"), "\(full)")
        try host.expectGone(first, from: ["alpha"])
      }
    }
  }

  /// The last attempt comes at the deadline, and not before.
  @Test func waitsUntilTheDeadline() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        for milliseconds in [1, 750, 1_000, 1_250] {
          try host.login("alice")
          _ = try host.holder { try check("chdir", nil, chdir("/home/user/\(Host.alice)")) }
          let start = ContinuousClock.now
          try host.refuse(
            status: 3, ["working directory"], "cryptohome", "unmount", "alice", "--wait",
            "\(milliseconds)ms")
          let time = ContinuousClock.now - start
          #expect(time >= .milliseconds(milliseconds), "\(time)")
          host.helpers.stopAll()
          try host.logout("alice")
        }
      }
    }
  }

  @Test func waitsForTheLockNoLonger() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        let lock = "/run/cryptohome/\(Host.alice).lock"
        let holder = try host.holder {
          let file = try check("open", lock, open(lock, O_RDWR | O_CREAT, 0o600))
          try check("flock", lock, flock(file, LOCK_EX))
        }
        let start = ContinuousClock.now
        try host.refuse(
          [lock, "is held by"], "cryptohome", "unmount", "alice", "--wait", "300ms")
        let time = ContinuousClock.now - start
        #expect(time >= .milliseconds(300) && time < .seconds(20), "\(time)")
        try host.helpers.stop(holder)
        try host.succeed("cryptohome", "unmount", "alice", "--wait", "10s")
      }
    }
  }

  @Test(arguments: Machine.allCases, ["below", "on top"])
  func forceNamesWhatGoesAlong(machine: Machine, place: String) async {
    await #expect(processExitsWith: .success) { [machine, place] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.login("alice")
        let folder = "/run/daemon-store/alpha/\(Host.alice)"
        try makeDirectory("\(folder)/sub")
        let path = place == "below" ? "\(folder)/sub" : folder
        try mountFilesystem("other", path, "tmpfs")
        try host.refuse(status: 3, ["tmpfs mounted at \(path)"], "cryptohome", "unmount", "alice")
        let outcome = try host.refuse(
          status: 3, ["tmpfs mounted at \(path)", "detached with"], "cryptohome", "unmount",
          "alice", "--force")
        #expect(!outcome.complains(of: "no process shows"), "\(outcome)")
        try host.expectGone(Host.alice, from: ["alpha"])
        try host.logout("alice")
      }
    }
  }

  /// Root without CAP_DAC_OVERRIDE, as a service may run, and in a directory of a user's own.
  @Test(arguments: Machine.allCases)
  func worksInADirectoryThatRootMayNotSearch(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.login("alice")
        try makeDirectory("/mnt/own", owner: 1000, group: 1000, mode: 0o700)
        let script =
          "import os,sys\nos.seteuid(1000); os.chdir('/mnt/own'); os.seteuid(0)\n"
          + "c='-dac_override,-dac_read_search'\n"
          + "os.execvp('setpriv', ['setpriv', '--bounding-set', c, '--inh-caps', '-all']"
          + " + sys.argv[1:])"
        for words in [
          ["cryptohome", "unmount", "alice"], ["daemon-store", "shutdown", "--force"],
        ] {
          let outcome = try run(
            "python3", ["-c", script, "/mnt/programs/\(words[0])"] + words.dropFirst())
          // Processes of other users on this machine cannot be inspected without the capability.
          let others = outcome.complaints.filter { $0.contains("cannot inspect") }
          #expect(outcome.status == (others.isEmpty ? 0 : 3), "\(outcome)")
          #expect(outcome.complaints.count == others.count, "\(outcome)")
        }
        try host.expectGone(Host.alice, from: ["alpha"])
        #expect(try host.table().below("/run").count == 1)
      }
    }
  }
}
