import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// The whole job with the three programs, from boot to logout, as the kernel tells it.
@Suite(.needsRoot) struct FlowTests {
  /// What stands in a store's place and is none is not shown as one.
  @Test(arguments: [
    "mount -t tmpfs foreign /run/daemon-store/notes",
    "mount --make-private /run/daemon-store/notes",
    "mount -o remount,bind,rw /run/daemon-store-cache/notes",
    "umount /run/daemon-store-cache/notes",
  ])
  func aJailRefusesWhatIsNoStore(_ mishap: String) async {
    await #expect(processExitsWith: .success) { [mishap] in
      inHost(.shared) { host in
        try host.boot("notes")
        let line = "minijail0 --daemon-store notes -- /bin/true"
        #expect(try host.script(line).status == 0)
        let outcome = try host.script("\(mishap) && \(line)")
        #expect(outcome.status == 1, "\(outcome)")
        #expect(outcome.complains(of: "run `daemon-store startup`"), "\(outcome)")
      }
    }
  }

  /// How a daemon's jail holds the store `notes`: ours, and what the documentation of the original
  /// prints for an Upstart job and for a jail that keeps the host's tree.
  enum Import: String, Codable, CaseIterable {
    case daemonStore, daemonStoreInProfile, upstart, slaveTree

    var options: [String] {
      let bind = "/run/daemon-store/notes,/run/daemon-store/notes,none,MS_BIND|MS_REC"
      return switch self {
      case .daemonStore: ["--daemon-store", "notes"]
      case .daemonStoreInProfile:
        ["--profile", "minimalistic-mountns-nodev", "--daemon-store", "notes"]
      case .upstart:
        [
          "-v", "-Kslave", "--profile", "minimalistic-mountns-nodev", "-b", "/mnt", "-k",
          "tmpfs,/run,tmpfs,MS_NODEV|MS_NOEXEC|MS_NOSUID,mode=755,size=10M", "-k", bind,
        ]
      case .slaveTree:
        [
          "-v", "-Kslave", "-P", "/mnt/root", "-b", "/", "-b", "/proc", "-k",
          "tmpfs,/run,tmpfs,MS_NOSUID|MS_NODEV|MS_NOEXEC", "-k", bind,
        ]
      }
    }

    /// The trees that the jail holds: the lines from elsewhere bring no cache.
    var trees: [String] {
      switch self {
      case .daemonStore, .daemonStoreInProfile: ["daemon-store", "daemon-store-cache"]
      case .upstart, .slaveTree: ["daemon-store"]
      }
    }
  }

  @Test(arguments: Machine.allCases, Import.allCases)
  func usersArriveAndLeave(machine: Machine, form: Import) async {
    await #expect(processExitsWith: .success) { [machine, form] in
      inHost(machine) { host in
        try makeDirectory("/mnt/root")
        try host.template("notes", owner: 901, group: 901)
        try host.template("other", owner: 902, group: 902, mode: 0o3770)
        try host.succeed("daemon-store", "startup")
        try host.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        let daemon = try host.start(form)
        defer { kill(daemon, SIGKILL) }  // it outlives its launcher

        try expect(daemon, form, sees: [Host.alice])
        try host.succeed("cryptohome", "mount", "bob", "--vault", "ephemeral")
        try expect(daemon, form, sees: [Host.alice, Host.bob])
        try expectOneMountEach(host, users: 2)
        try host.succeed("daemon-store", "startup")
        try host.succeed("cryptohome", "unmount", "alice")
        try expect(daemon, form, sees: [Host.bob])
        try host.succeed("cryptohome", "mount", "alice")
        try expect(daemon, form, sees: [Host.alice, Host.bob])
        try host.succeed("cryptohome", "unmount", "--all")
        try expect(daemon, form, sees: [])
        try expectOneMountEach(host, users: 0)
        for hash in [Host.alice, Host.bob] {
          #expect(try mountTable(of: daemon).naming(hash).isEmpty)
        }
      }
    }
  }
}

/// The jail shows exactly one mount per user and tree, a slave with the attributes of the host's,
/// and the directory of nobody else.
private func expect(_ daemon: pid_t, _ form: FlowTests.Import, sees users: [String]) throws {
  let table = try mountTable(of: daemon)
  for tree in form.trees {
    let store = "/run/\(tree)/notes"
    let folders = table.below(store).filter { $0.target != store }
    #expect(Set(folders.map(\.target)) == Set(users.map { "\(store)/\($0)" }), "\(table)")
    #expect(folders.count == users.count, "\(folders)")
    for folder in folders {
      #expect(folder.master != nil && folder.peerGroup == nil, "\(folder)")
      #expect(
        folder.options.isSuperset(of: ["nosuid", "nodev", "noexec", "nosymfollow"]), "\(folder)")
    }
    let names = try Directory(followingLinks: "/proc/\(daemon)/root\(store)").names()
    #expect(names == users.sorted().map { FilePath($0) })
  }
  #expect(!table.contains { $0.target.contains("/other") }, "\(table)")
}

/// On the host each user has one mount in each of the two stores and their twins.
private func expectOneMountEach(_ host: Host, users: Int) throws {
  let folders = try host.table().filter {
    $0.target.hasPrefix("/run/daemon-store") && $0.target.split(separator: "/").count == 4
  }
  #expect(folders.count == users * 4, "\(folders)")
}

extension Host {
  /// Starts a daemon in its jail, and waits until it runs; the process that is the daemon.
  fileprivate func start(_ form: FlowTests.Import) throws -> pid_t {
    let launcher = try helpers.start(
      "/mnt/programs/minijail0",
      ["-u", "901", "-g", "901", "-l", "--uts", "--logging=stderr"]
        + form.options + ["--", "/bin/sh", "-c", "echo ready; while :; do sleep 1; done"])
    let children = try readFile("/proc/\(launcher)/task/\(launcher)/children")
    guard let daemon = children.split(separator: " ").first.flatMap({ pid_t($0) }) else {
      throw Problem("minijail0 has no child: \(children)")
    }
    return daemon
  }
}
