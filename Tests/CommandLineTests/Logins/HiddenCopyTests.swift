import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// Copies of a user's data that neither a process's mount table nor the device of a file shows.
@Suite(.needsRoot) struct HiddenCopyTests {
  enum Hiding: String, Codable, CaseIterable {
    /// In a namespace that nobody is in, and that a descriptor keeps.
    case byDescriptor
    /// In a namespace that nobody is in, mounted in another one.
    case byMountElsewhere
    /// Above the root directory of whoever is in the namespace.
    case aboveRoot
    /// Below a mount on the root of the namespace, where it is before everybody who enters.
    case belowMountOnRoot

    /// Whether the kernel has the call that tells: listmount(2) of another namespace, Linux 6.11.
    var canBeSeen: Bool {
      guard self == .belowMountOnRoot,
        let own = try? Descriptor(followingLinks: "/proc/self/ns/mnt", flags: O_RDONLY)
      else { return true }
      return (try? MountListing(of: own)) ?? nil != nil
    }

    func begin(_ host: Host, _ folder: String) throws -> pid_t {
      let keep = {
        try check("unshare", nil, linux_unshare(CLONE_NEWNS))
        try mountFilesystem("none", "/", nil, MS_REC | MS_PRIVATE)
        try makeDirectory("/mnt/keep")
        try bindMount(folder, "/mnt/keep")
      }
      switch self {
      case .byDescriptor:
        return try host.holder {
          let own = try check("open", nil, open("/proc/self/ns/mnt", O_RDONLY))
          try keep()
          try check("open", nil, open("/proc/self/ns/mnt", O_RDONLY))
          try check("setns", nil, linux_setns(own, CLONE_NEWNS))
          close(own)
        }
      case .byMountElsewhere:
        try makeDirectory("/mnt/keep")
        try writeFile("/mnt/namespace", "")
        return try host.helpers.start(
          "unshare", "--mount", "--propagation", "private", "sh", "-c",
          // Again: Linux 6.18 takes some new namespaces for older than the one around them.
          "mount --bind /mnt /mnt && mount --make-private /mnt && "
            + "until unshare --mount=/mnt/namespace --propagation private "
            + "mount --bind \(folder) /mnt/keep 2>/mnt/errors; do sleep 0.01; done && "
            + "echo ready; kill -STOP $$")
      case .belowMountOnRoot:
        return try host.holder {
          try keep()
          let own = try check("open", nil, open("/proc/self/ns/mnt", O_RDONLY))
          try mountFilesystem("over", "/", "tmpfs")
          try check("setns", nil, linux_setns(own, CLONE_NEWNS))
          close(own)
        }
      case .aboveRoot:
        return try host.holder {
          try keep()
          try makeDirectory("/mnt/root")
          try check("chroot", nil, chroot("/mnt/root"))
          try check("chdir", nil, chdir("/"))
        }
      }
    }
  }

  @Test(arguments: Machine.allCases, Hiding.allCases)
  func isFoundWhereverItIsKept(machine: Machine, hiding: Hiding) async {
    await #expect(processExitsWith: .success) { [machine, hiding] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.login("alice")
        let keeper = try hiding.begin(host, "/run/daemon-store/alpha/\(Host.alice)")
        for _ in 1...2 where hiding.canBeSeen {
          try host.refuse(
            status: 3, [try shownName(of: keeper), "mount namespace", "/mnt/keep"], "cryptohome",
            "unmount", "alice")
        }
        if !hiding.canBeSeen { try host.logout("alice") }
        try host.expectGone(Host.alice, from: ["alpha"])
        try host.helpers.stop(keeper)
        try host.logout("alice")
      }
    }
  }

  /// On an overlay the kernel gives out no file handles, and with `xino=off` files have another
  /// device than directories. Both are looked for again when no mount shows them any more.
  @Test(arguments: ["", ",xino=off"], ["file", "deleted", "directory"])
  func onAnOverlayIsFoundByItsFiles(options: String, hold: String) async {
    await #expect(processExitsWith: .success) { [options, hold] in
      inHost(.shared) { host in
        for place in ["low", "high"] {
          try makeDirectory("/mnt/\(place)")
          try mountFilesystem(place, "/mnt/\(place)", "tmpfs")
        }
        for place in ["lower", "upper", "work"] {
          try makeDirectory("/mnt/\(place == "lower" ? "low" : "high")/\(place)")
        }
        try mountFilesystem(
          "overlay", "/home", "overlay", 0,
          "lowerdir=/mnt/low/lower,upperdir=/mnt/high/upper,workdir=/mnt/high/work\(options)")
        try host.boot("alpha")
        try host.login("alice", "bob")
        let file = "/run/daemon-store/alpha/\(Host.alice)/file"
        try writeFile(file, "secret")
        let holder = try host.holder {
          try check("unshare", nil, linux_unshare(CLONE_NEWNS))
          try mountFilesystem("none", "/", nil, MS_REC | MS_PRIVATE)
          let place = hold == "directory" ? "/home/root/\(Host.alice)/alpha" : file
          try check("open", place, open(place, O_RDONLY))
          if hold == "deleted" { try remove(file) }
        }
        let words = "open file"
        for _ in 1...2 {
          try host.refuse(
            status: 3, ["held by \(try shownName(of: holder)): \(words)"], "cryptohome",
            "unmount", "alice")
        }
        // Of a file that was removed nobody can tell whose it was.
        if hold != "deleted" { try host.logout("bob") }
        try host.helpers.stop(holder)
        try host.logout("alice")
      }
    }
  }

  @Test(arguments: Machine.allCases, [true, false])
  func asTheLayerOfAnOverlayIsNamed(machine: Machine, isElsewhere: Bool) async {
    await #expect(processExitsWith: .success) { [machine, isElsewhere] in
      inHost(machine) { host in
        try host.boot("alpha")
        // Another name for each case: a layer is known by its path, whoever else has the same.
        let user = "user-\(machine)-\(isElsewhere)"
        try host.succeed("cryptohome", "mount", user, "--vault", "plain", "--owner", "9:9")
        let hash = try host.succeed("cryptohome", "sanitize", user).lines[0]
        let folder = "/run/daemon-store/alpha/\(hash)"
        try writeFile("\(folder)/file", "secret")
        for place in ["empty", "merged"] { try makeDirectory("/mnt/\(place)") }
        let layer = {
          try mountFilesystem(
            "overlay", "/mnt/merged", "overlay", 0, "lowerdir=/mnt/empty:\(folder)")
        }
        var keeper: pid_t?
        if isElsewhere {
          keeper = try host.holder {
            try check("unshare", nil, linux_unshare(CLONE_NEWNS))
            try mountFilesystem("none", "/", nil, MS_REC | MS_PRIVATE)
            try layer()
          }
        } else {
          try layer()
        }
        for _ in 1...2 {
          let who = try keeper.map { try shownName(of: $0) } ?? "held by overlay"
          try host.refuse(
            status: 3, [who, "overlay mounted at /mnt/merged"], "cryptohome", "unmount", user)
        }
        if let keeper {
          try host.helpers.stop(keeper)
        } else {
          try unmountFilesystem("/mnt/merged")
        }
        try host.logout(user)
      }
    }
  }

  /// A descriptor that was sent and not received is open in no process.
  @Test(arguments: ["plain", "ephemeral"], [0, 1])
  func onTheWayBetweenProcessesIsFound(vault: String, before: Int) async {
    await #expect(processExitsWith: .success) { [vault, before] in
      inHost(.shared) { host in
        try host.boot("alpha")
        // Of a user of its own for each case: what is unseen counts for whoever runs as the user.
        let owner = uid_t(7_000 + 2 * before + (vault == "plain" ? 0 : 1))
        try host.succeed(
          "cryptohome", "mount", "guest", "--vault", vault, "--owner", "\(owner):9")
        let file = "/home/user/\(Host.guest)/file"
        try writeFile(file, "secret")
        let holder = try host.holder {
          try check("unshare", nil, linux_unshare(CLONE_NEWNS))
          try mountFilesystem("none", "/", nil, MS_REC | MS_PRIVATE)
          var ends: [CInt] = [-1, -1]
          let kind = CInt(SOCK_DGRAM.rawValue)
          try check("socketpair", nil, socketpair(AF_UNIX, kind, 0, &ends))
          for path in Array(repeating: "/etc/passwd", count: before) + [file] {
            let descriptor = try check("open", path, open(path, O_RDONLY))
            try send(descriptor, over: ends[0])
            close(descriptor)
          }
          try check("setresuid", nil, linux_setresuid(owner))
          try check("prctl", nil, linux_prctl(4, 1, 0, 0))  // PR_SET_DUMPABLE
        }
        let words = before == 0 ? "which was sent to it" : "perhaps a descriptor on the way to it"
        for _ in 1...2 {
          try host.refuse(
            status: 3, ["held by \(try shownName(of: holder)): ", words], "cryptohome", "unmount",
            "guest")
        }
        try host.helpers.stop(holder)
        try host.logout("guest")
      }
    }
  }

  /// A detached copy of a tree of mounts is in no namespace.
  @Test func inADetachedTreeIsNotExcluded() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.succeed("cryptohome", "mount", "guest", "--vault", "plain", "--owner", "7078:9")
        let holder = try host.holder {
          try check("unshare", nil, linux_unshare(CLONE_NEWNS))
          try mountFilesystem("none", "/", nil, MS_REC | MS_PRIVATE)
          try mountFilesystem("keep", "/mnt", "tmpfs")
          try makeDirectory("/mnt/keep")
          try bindMount("/home/user/\(Host.guest)", "/mnt/keep")
          let flags = UInt32(OPEN_TREE_CLONE) | UInt32(LINUX_AT_RECURSIVE)
          try check("open_tree", nil, open_tree(AT_FDCWD, "/mnt", flags))
          try unmountFilesystem("/mnt", lazily: true)
          try check("setresuid", nil, linux_setresuid(7078))
          try check("prctl", nil, linux_prctl(4, 1, 0, 0))  // PR_SET_DUMPABLE
        }
        for _ in 1...2 {
          try host.refuse(
            status: 3, [try shownName(of: holder), "perhaps a mount in directory /"], "cryptohome",
            "unmount", "guest")
        }
        try host.helpers.stop(holder)
        try host.logout("guest")
      }
    }
  }
}
