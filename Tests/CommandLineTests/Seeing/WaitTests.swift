import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

extension Launched {
  /// Whether it waits for the mount table to change: it has the file open, and sleeps.
  var isWaiting: Bool {
    guard let files = try? Directory(opening: "/proc/\(process)/fd").names(),
      files.contains(where: {
        (try? linkTarget(of: "/proc/\(process)/fd/\($0)"))?.dropping(suffix: "/mountinfo") != nil
      })
    else { return false }
    let fields = (try? readFile("/proc/\(process)/stat"))?.split(separator: ")").last
    return fields?.hasPrefix(" S") == true
  }
}

@Suite(.needsRoot) struct WaitTests {
  private static let wait = "/mnt/programs/daemon-store"

  /// The path of a folder of the store alpha.
  private static func folder(_ user: String) -> String { "/run/daemon-store/alpha/\(user)" }

  @Test(arguments: Machine.allCases)
  func returnsAtOnceOrWhenItIsSo(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.succeed("daemon-store", "wait", "alpha", "alice", "--gone")
        let waiting = try ["alice", Host.alice].enumerated().map { number, user in
          try Launched(Self.wait, ["wait", "alpha", user], output: "/mnt/out\(number)")
        }
        #expect(eventually { waiting.allSatisfy { $0.isWaiting } })
        try host.login("bob")  // wakes them, and is somebody else
        #expect(eventually { waiting.allSatisfy { $0.isWaiting } })
        try host.login("alice")
        for (number, one) in waiting.enumerated() {
          #expect(try one.finish() == 0)
          #expect(try readFile("/mnt/out\(number)") == "\(Self.folder(Host.alice))\n")
        }
        try host.succeed("daemon-store", "wait", "alpha", "alice", "--timeout", "0")
        let cache = try host.succeed("daemon-store", "wait", "alpha", "alice", "--cache")
        #expect(cache.lines == ["/run/daemon-store-cache/alpha/\(Host.alice)"])

        let gone = try Launched(Self.wait, ["wait", "alpha", "alice", "--gone"])
        #expect(eventually { gone.isWaiting })
        try host.logout("alice")
        #expect(try gone.finish() == 0)
      }
    }
  }

  /// The mount point may be there, and the folder not.
  @Test func aDirectoryIsNoFolder() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try makeDirectory("/mnt/run")
        try bindMount("/run", "/mnt/run")
        try makeDirectory("/mnt/run/daemon-store/alpha/\(Host.alice)")
        #expect(exists(Self.folder(Host.alice)))
        let words = [Self.folder(Host.alice), "not mounted when the time was over"]
        try host.refuse(words, "daemon-store", "wait", "alpha", "alice", "--timeout", "1ms")
        try host.succeed("daemon-store", "wait", "alpha", "alice", "--gone")
      }
    }
  }

  /// The mount table is polled and never read, and nothing is asked again before it changes.
  @Test func theTableIsNotRead() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        let outcome = try run(
          "strace",
          [
            "-y", "-o", "/mnt/trace", Self.wait, "wait", "alpha", Host.alice, "--timeout", "300ms",
          ])
        #expect(outcome.status == 1, "\(outcome)")
        let calls = try readFile("/mnt/trace").split(separator: "\n").filter {
          $0.contains("mountinfo") || $0.contains(Host.alice)
        }
        let names = calls.map { $0.prefix { $0 != "(" } }.filter { $0 != "execve" && $0 != "write" }
        let wanted = ["statx", "openat", "fstatfs", "statx", "poll", "statx", "close"]
        #expect(names.map(String.init) == wanted, "\(calls)")
      }
    }
  }

  /// As the daemon's user, in the jail that is ours, and in one with a root of its own.
  @Test(arguments: [[], ["-p"], ["--mount-dev", "-r"]])
  func inAJailAsAnOrdinaryUser(options: [String]) async {
    await #expect(processExitsWith: .success) { [options] in
      inHost(.shared) { host in
        try host.boot("alpha")
        let arguments =
          ["-u", "nobody", "-g", "nogroup"] + options + [
            "--daemon-store", "alpha", "--", Self.wait,
          ]
        let words = ["wait", "alpha"]
        let arriving = try ["alice", Host.alice].map {
          try Launched("/mnt/programs/minijail0", arguments + words + [$0])
        }
        usleep(100_000)  // whether it waits already is the same to it
        try host.login("alice")
        for one in arriving { #expect(try one.finish() == 0) }
        let leaving = try Launched(
          "/mnt/programs/minijail0", arguments + words + [Host.alice, "--gone"])
        usleep(100_000)
        try host.logout("alice")
        #expect(try leaving.finish() == 0)
      }
    }
  }

  @Test func becomesACommand() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        try makeDirectory("/mnt/here")
        let command =
          "echo $DAEMON_STORE_PATH $PWD $(ulimit -Sn) $1 $2; kill -PIPE $$; echo not reached"
        let outcome = try host.script(
          "cd /mnt/here; ulimit -Sn 99; exec daemon-store wait alpha alice --exec "
            + "sh -c '\(command)' name --gone --help")
        #expect(outcome.lines == ["\(Self.folder(Host.alice)) /mnt/here 99 --gone --help"])
        #expect(outcome.status == -SIGPIPE, "\(outcome)")
        let failed = try host.run("daemon-store", "wait", "alpha", "alice", "--exec", "false")
        #expect(failed.status == 1 && failed.output.isEmpty && failed.errors.isEmpty)
        for (command, status, words) in [
          ("/nowhere", 127, ["exec", "/nowhere", "ENOENT"]), ("nowhere", 127, ["exec", "nowhere"]),
          ("/mnt/here", 126, ["exec", "/mnt/here", "EACCES"]),
        ] as [(String, CInt, [String])] {
          try host.refuse(
            status: status, words, "daemon-store", "wait", "alpha", "alice", "--exec", command)
        }
        try host.refuse(
          status: 2, ["--exec", "command"], "daemon-store", "wait", "alpha", "alice", "--exec")
        try host.succeed(
          "daemon-store", "wait", "alpha", "bob", "--gone", "--exec", "sh", "-c",
          "test $DAEMON_STORE_PATH = \(Self.folder(Host.bob))")
      }
    }
  }

  @Test func saysWhatCanNeverBe() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        let store = ["/run/daemon-store/alpha", "no store here", "minijail0 --daemon-store alpha"]
        try host.succeed("daemon-store", "startup")
        for bare in [false, true] {
          if bare { try makeDirectory("/run/daemon-store/alpha") }
          try host.refuse(store, "daemon-store", "wait", "alpha", "alice")
          try host.refuse(store, "daemon-store", "watch", "alpha")
        }
        try remove("/run/daemon-store/alpha")
        try host.boot("alpha")
        try host.refuse(
          ["upper-case"], "daemon-store", "wait", "alpha", Host.alice.uppercased())
        for bad in [".alpha", "a/b", ""] {
          #expect(try host.run("daemon-store", "wait", bad, "alice").status == 2)
        }
        try setMode("/var/lib/system_salt", 0o600)
        let named = try host.runAsNobody("daemon-store", "wait", "alpha", "alice")
        #expect(
          named.status == 1 && named.complains(of: "cryptohomed", "40-digit hash"), "\(named)")
        try host.login("alice")
        let hashed = try host.runAsNobody("daemon-store", "wait", "alpha", Host.alice)
        #expect(hashed.status == 0, "\(hashed)")
        // A jail without /proc, or with files that are called so: nobody would tell.
        let now = [["wait", "alpha", Host.alice], ["wait", "alpha", Host.bob, "--gone"]]
        let later = [["wait", "alpha", Host.bob], ["wait", "alpha", Host.alice, "--gone"]]
        _ = try? unmountFilesystem("/proc", lazily: true)
        for round in 0...1 {
          for verb in later + [["watch", "alpha"]] {
            let blind = try run("timeout", ["10", Self.wait] + verb)
            #expect(
              blind.status == 1 && blind.complains(of: "/proc/self/mountinfo", "minijail0 -p"),
              "\(round) \(blind)")
          }
          for verb in now { #expect(try run(Self.wait, verb).status == 0, "\(verb)") }
          for verb in later {
            let over = try run(Self.wait, verb + ["--timeout", "0"])
            #expect(over.status == 1 && over.complains(of: "time was over"), "\(over)")
          }
          if round == 1 { break }
          try mountFilesystem("x", "/proc", "tmpfs")
          for directory in ["/proc/self", "/proc/thread-self"] {
            try makeDirectory(directory)
            try writeFile("\(directory)/mountinfo", "")
          }
        }
      }
    }
  }
}
