import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// Each way to start a daemon that docs/daemon-authors.md shows, with the real tool and the real
/// daemon: a user who is there before is seen, one who comes later arrives, and both leave.
@Suite(.needsRoot) struct AuthorsStartTests {
  private static let store = "/run/daemon-store/notes"

  @Test func minijail0() async {
    await #expect(processExitsWith: .success) {
      Self.eachUserIsOneMount { _, name in
        try AuthorsPage.command(below: "minijail0")
          .replacing("/usr/local/sbin/notes-daemon", with: "/usr/local/sbin/\(name)")
      }
    }
  }

  @Test func bubblewrap() async {
    await #expect(processExitsWith: .success) {
      Self.eachUserIsOneMount { _, name in
        try AuthorsPage.command(below: "Bubblewrap")
          .replacing("/usr/local/sbin/notes-daemon", with: "/usr/local/sbin/\(name)")
      }
    }
  }

  @Test func podman() async {
    await #expect(processExitsWith: .success) {
      Self.eachUserIsOneMount { _, name in
        let words = try AuthorsPage.command(below: "Podman and Docker").split(separator: " ")
        let volume = words.indices.filter { words[$0] == "--volume" }
          .map { "--volume \(words[$0 + 1])" }.joined(separator: " ")
        // An image made of this machine's programs. It has the daemon's user, as an image would.
        for place in ["usr", "etc", "proc", "sys", "dev", "run", "tmp"] {
          try makeDirectory("/mnt/image/\(place)")
        }
        for place in ["bin", "sbin", "lib", "lib64"] {
          try makeLink("/mnt/image/\(place)", to: "usr/\(place)")
        }
        try bindMount("/usr", "/mnt/image/usr", recursively: true)
        // Without cgroups, networks and limits: what the machine of a test does not have.
        try mountFilesystem("cgroup", "/sys/fs/cgroup", "cgroup2")
        try makeDirectory("/var/tmp")
        return "podman --root /var/lib/containers --runroot /run/containers "
          + "--cgroup-manager cgroupfs run --cgroups disabled --network none "
          + "--ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --user 901:901 \(volume) "
          + "--rootfs /mnt/image /usr/local/sbin/\(name)"
      }
    }
  }

  @Test func systemd() async {
    await #expect(processExitsWith: .success) {
      Self.eachUserIsOneMount { _, name in try Self.systemd(name) { $0 } }
    }
  }

  /// What the page warns of.
  @Test func systemdWithABindAloneMountsTwice() async {
    await #expect(processExitsWith: .success) {
      Self.eachUserIsOneMount(times: 2) { _, name in
        try Self.systemd(name) {
          $0.replacing(
            "TemporaryFileSystem=/run/daemon-store:ro /run/daemon-store-cache:ro",
            with: "PrivateMounts=yes")
        }
      }
    }
  }

  /// The page's unit, run by a systemd that has no other. It is a manager of a user, root, since
  /// one of a system would set up the whole machine anew; both start a service in the same way.
  private static func systemd(
    _ name: String, _ change: (String) -> String
  ) throws -> String {
    let unit = try AuthorsPage.page().file("/etc/systemd/system/notes.service")
      .replacing("/usr/local/sbin/notes-daemon", with: "/usr/local/sbin/\(name)")
    try makeDirectory("/run/units")
    try writeFile("/run/units/notes.service", change(unit) + "StandardOutput=append:/mnt/said\n")
    try writeFile(
      "/run/units/daemon-store-startup.service",
      "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/true\n"
        + "RemainAfterExit=yes\n")
    try writeFile(
      "/run/units/basic.target", "[Unit]\nDefaultDependencies=no\n")
    try writeFile("/run/units/shutdown.target", "[Unit]\nDefaultDependencies=no\n")
    try makeDirectory("/run/user")
    try makeDirectory("/run/systemd/system")  // what tells systemd that it is in charge
    try mountFilesystem("tmp", "/tmp", "tmpfs")
    try mountFilesystem("cgroup", "/sys/fs/cgroup", "cgroup2")
    let group = "/sys/fs/cgroup/\(name)"
    try makeDirectory(group)
    try writeFile("\(group)/cgroup.procs", "\(getpid())")
    return "unshare --pid --fork --kill-child --mount-proc --propagation slave "
      + "env XDG_RUNTIME_DIR=/run/user HOME=/run/user SYSTEMD_UNIT_PATH=/run/units "
      + "SYSTEMD_GENERATOR_PATH=/run/none SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/run/none "
      + "sh -c '/usr/lib/systemd/systemd --user --unit=notes.service; exit'"
  }

  /// Starts the daemon with the command that `prepare` returns, and logs users in and out.
  private static func eachUserIsOneMount(
    times: Int = 1, _ prepare: (Host, String) throws -> String
  ) {
    do {
      let workshop = try Workshop()
      let name = workshop.name
      inHost(.shared) { host in
        try host.prepareNotes()
        try mountFilesystem("sbin", "/usr/local/sbin", "tmpfs", 0, "mode=0755")
        let copy = try run("cp", ["\(workshop.path)/\(name)", "/usr/local/sbin/"])
        #expect(copy.status == 0, "\(copy)")
        try writeFile("/mnt/said", "", mode: 0o666)
        let home = try readFile("/proc/self/cgroup").split(separator: "\n")
          .first { $0.hasPrefix("0::") }?.dropFirst(3)
        let command = try prepare(host, name)
        let launched = try Launched(
          "sh", ["-c", "PATH=/mnt/programs:$PATH exec \(command) >>/mnt/said 2>&1"])
        defer {
          for process in (try? processes(named: name)) ?? [] { kill(process, SIGKILL) }
          launched.kill()
          leaveGroup(name, for: home ?? "/")
        }
        try host.login("bob")
        guard try eventually({ try processes(named: name).count == 1 }) else {
          throw Problem("\(command) started nothing: \(try readFile("/mnt/said"))")
        }
        let daemon = try processes(named: name)[0]
        _ = try eventually { try readFile("/mnt/said").contains("arrived") }
        try host.login("alice")
        for hash in [Host.bob, Host.alice] {
          let mounts = try mountTable(of: daemon).at("\(store)/\(hash)")
          #expect(mounts.count == times, "\(mounts)")
          for mount in mounts {
            #expect(mount.root.hasSuffix("\(hash)/mount/root/notes"), "\(mount)")
            #expect(mount.options.isSuperset(of: dataFlags.union(["rw"])), "\(mount)")
          }
        }
        let own = try mountTable(of: daemon).at(store)
        #expect(own.count == times && own.allSatisfy { $0.options.contains("ro") }, "\(own)")
        // From inside, nothing of another daemon's: neither a store nor a cache store.
        for tree in ["daemon-store", "daemon-store-cache"] where times == 1 {
          let stores = try names(in: "/proc/\(daemon)/root/run/\(tree)")
          #expect(stores == ["notes"], "\(tree): \(stores)")
        }
        #expect(try readFile("/proc/\(daemon)/status").contains("Uid:\t901\t901\t901\t901"))
        for user in ["bob", "alice"] { try host.logout(user) }
        let left = try mountTable(of: daemon)
        #expect(left.naming(Host.alice).isEmpty && left.naming(Host.bob).isEmpty, "\(left)")
        let said = [
          "ready", "arrived \(store)/\(Host.bob)", "arrived \(store)/\(Host.alice)",
          "left \(store)/\(Host.bob)", "left \(store)/\(Host.alice)",
        ]
        let isSaid = try eventually {
          try readFile("/mnt/said").split(separator: "\n").map(String.init)
            .filter { line in said.contains(line) } == said
        }
        let text = try readFile("/mnt/said")
        #expect(isSaid, "\(text)")
      }
    } catch {
      Issue.record("\(error)")
    }
  }

  /// Those of this machine that have this name: it is no other test's.
  private static func processes(named name: String) throws -> [pid_t] {
    try names(in: "/proc").compactMap { pid_t($0) }
      .filter { (try? programName(of: $0)) == name }
  }

  /// Takes down the cgroup of a test: the kernel has it for the whole machine.
  private static func leaveGroup(_ name: String, for home: Substring) {
    let group = "/sys/fs/cgroup/\(name)"
    guard exists(group) else { return }
    try? writeFile("/sys/fs/cgroup\(home)/cgroup.procs", "\(getpid())")
    _ = eventually {
      _ = try? TestSupport.run(
        "find", [group, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])
      return !exists(group)
    }
  }
}
