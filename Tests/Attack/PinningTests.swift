import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// Another user keeps something of a vault, so that it cannot be locked. mallory is not root, in no
/// group, and owns nothing here; alice and her daemons have left some directories open to all users.
@Suite(.needsRoot, .serialized, .tags(.attack)) struct PinningTests {
  /// No vault of another suite belongs to this user: a logout there would name the processes here,
  /// whose directories are on mounts that no namespace shows any more.
  private static let mallory: uid_t = 1009
  private static let home = "/home/user/\(Host.alice)"
  private static let folder = "/run/daemon-store/open/\(Host.alice)"
  private static let vault = "/home/.shadow/\(Host.alice)"

  enum Attack: String, Codable, CaseIterable {
    case descriptor, workingDirectory, innerDirectory, removedDirectory, sentDescriptor
    case privateNamespace, bindInNamespace, inotify, fanotify, setUserID, thousands

    /// What mallory runs, as Python.
    private var script: String {
      switch self {
      case .descriptor: "os.open(home, os.O_PATH)"
      case .workingDirectory: "os.chdir(folder)"
      case .innerDirectory: "os.chdir(folder + '/inner'); os.open('deeper', os.O_RDONLY)"
      case .removedDirectory: "os.chdir(folder + '/inner/gone')"
      case .sentDescriptor:
        "a, b = socket.socketpair(); socket.send_fds(a, [b'x'], [os.open(folder, os.O_RDONLY)])"
      case .inotify: "check(libc.inotify_add_watch(libc.inotify_init(), folder.encode(), 0xfff))"
      case .fanotify:
        "fd = check(libc.fanotify_init(0x200, 0)); "
          + "check(libc.fanotify_mark(fd, 1, ctypes.c_uint64(0x40000300), -100, folder.encode()))"
      case .setUserID:
        "os.chdir(folder); print('ready', flush=True); os.execv('/mnt/held', ['held', '1000'])"
      case .thousands:
        "names = [folder + f'/many/{n}' for n in range(200)]\n"
          + "for n in range(100):\n"
          + "  if os.fork() == 0: libc.prctl(1, 9, 0, 0, 0); os.chdir(names[n]); signal.pause()\n"
          + "import resource\n"
          + "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
          + "resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n"
          + "for name in names * 10: os.open(name, os.O_PATH)\n"
          + "fd = libc.inotify_init()\n"
          + "for name in names: check(libc.inotify_add_watch(fd, name.encode(), 0xfff))\n"
      case .privateNamespace, .bindInNamespace: ""
      }
    }

    func begin(_ host: Host) throws -> pid_t {
      let mallory = [
        "--reuid=\(PinningTests.mallory)", "--regid=\(PinningTests.mallory)", "--clear-groups",
      ]
      switch self {
      case .privateNamespace:
        return try host.helpers.start(
          "setpriv",
          mallory + [
            "unshare", "-Urm", "--propagation", "private", "sh", "-c", "echo ready; kill -STOP $$",
          ])
      case .bindInNamespace:
        return try host.helpers.start(
          "setpriv",
          mallory + [
            "unshare", "-Urm", "sh", "-c",
            "mount --bind \(folder) /mnt/a && mount --rbind /home /mnt/b && echo ready; "
              + "kill -STOP $$",
          ])
      default:
        let text =
          "import ctypes, os, signal, socket, sys\n"
          + "libc = ctypes.CDLL(None, use_errno=True)\n"
          + "def check(value):\n"
          + "  if value < 0: sys.exit(os.strerror(ctypes.get_errno()))\n"
          + "  return value\n"
          + "home, folder = '\(home)', '\(folder)'\n\(script)\n"
          + "print('ready', flush=True)\nsignal.pause()\n"
        return try host.helpers.start("setpriv", mallory + ["python3", "-c", text])
      }
    }
  }

  /// alice is logged in, and some of what she has is open to everybody.
  private static func prepare(_ host: Host) throws {
    try host.template("open", owner: 5, group: 60, mode: 0o755)
    try host.succeed("daemon-store", "startup")
    try host.create("alice")
    try host.unlock("alice")
    let made = try host.script(
      """
      set -e; cd \(folder); mkdir -p inner/deeper inner/gone many; chmod 0751 inner; chown 5:60 inner
      echo contents >inner/deeper/diary; setfattr -n user.note -v kept inner
      for n in $(seq 0 199); do mkdir many/$n; echo x >many/$n/secret; done
      echo contents >\(home)/diary
      mkdir /mnt/a /mnt/b; cp /bin/sleep /mnt/held; chmod 04755 /mnt/held
      """)
    guard made.status == 0 else { throw Problem("\(made)") }
  }

  /// What root can read of names and contents that only the key shows.
  private static func expectNothingToSee(_ host: Host, _ attacker: pid_t) throws {
    let seen = try host.script(
      "cd /proc/\(attacker); find \(vault) fd/*/ root/mnt/a root/mnt/b -maxdepth 5 2>/dev/null; "
        + "test -e cwd/etc || find cwd/")
    for name in ["diary", "inner", "deeper", "secret", "many"] {
      let shown = seen.lines.filter {
        $0.utf8.split(separator: UInt8(ascii: "/")).contains { $0.elementsEqual(name.utf8) }
      }
      #expect(shown.isEmpty, "\(shown)")
    }
    let file = try host.script("cat \(vault)/mount/user/diary")
    #expect(file.status != 0, "\(file)")
  }

  @Test(arguments: Attack.allCases)
  func keepsNoVaultOpen(attack: Attack) async {
    await #expect(processExitsWith: .success) { [attack] in
      inEncryptedHost(megabytes: 32) { host in
        try Self.prepare(host)
        let attacker = try attack.begin(host)
        if attack == .removedDirectory { try remove("\(Self.folder)/inner/gone") }
        let start = ContinuousClock.now
        let outcome = try host.run("cryptohome", "unmount", "alice")
        let time = ContinuousClock.now - start
        #expect(outcome.status == 0 && time < .seconds(30), "\(time): \(outcome)")
        try host.expectGone(Host.alice, from: ["open"])
        #expect(try host.keyState(of: Host.alice) != "present")
        try Self.expectNothingToSee(host, attacker)
        // Again, and with the attacker still there: it stays so.
        let again = try host.run("cryptohome", "unmount", "alice")
        #expect(again.status == 0, "\(again)")
        if attack == .bindInNamespace {
          #expect(again.complaints.contains { $0.contains("by a mount at /mnt/a") }, "\(again)")
        }

        try host.unlock("alice")
        let kept = try host.script(
          "cat \(Self.home)/diary \(Self.folder)/inner/deeper/diary; "
            + "getfattr --only-values -n user.note \(Self.folder)/inner")
        #expect(kept.output == "contents\ncontents\nkept", "\(kept)")
        #expect(attributes("\(Self.folder)/inner") == "5:60 751")
        #expect(attributes(Self.folder) == "5:60 755" && attributes(Self.home) == "1000:1000 700")
        try Self.end(attacker, host)
        try host.logout("alice")
        #expect(try host.keyState(of: Host.alice) == "absent")
      }
    }
  }

  /// Ends the attacker with all that it has forked.
  private static func end(_ attacker: pid_t, _ host: Host) throws {
    try host.helpers.stop(attacker)
    let rest = "grep -lsE '^Uid:.\(mallory)' /proc/[0-9]*/status"
    #expect(try eventually { try host.script(rest).lines.isEmpty })
  }

  /// Each move takes a second, so there is no time for all: the key is removed all the same.
  @Test func removesTheKeyWhenTheTimeIsOver() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost(megabytes: 32) { host in
        try Self.prepare(host)
        let attacker = try Attack.thousands.begin(host)
        let start = ContinuousClock.now
        let outcome = try TestSupport.run(
          "strace",
          [
            "-f", "-o", "/dev/null", "-e", "trace=renameat2", "-e",
            "inject=renameat2:delay_enter=1000000", "/mnt/programs/cryptohome", "unmount", "alice",
          ])
        let time = ContinuousClock.now - start
        #expect(outcome.status == 3 && time < .seconds(30), "\(time): \(outcome)")
        let named = outcome.complaints.filter { $0.contains("could not be emptied") }
        #expect(named.count == 16, "\(outcome)")
        #expect(outcome.complaints.contains { $0.contains("more directories") }, "\(outcome)")
        #expect(try host.keyState(of: Host.alice) != "present")

        // The next login completes the move that was interrupted, and nothing is lost.
        try host.unlock("alice")
        let kept = try host.script(
          "cd \(Self.folder)/many; ls | wc -l; cat */secret | wc -l")
        #expect(kept.output == "200\n200\n", "\(kept)")
        try Self.end(attacker, host)
        try host.logout("alice")
        #expect(try host.keyState(of: Host.alice) == "absent")
      }
    }
  }

  /// A loop device that root has made for mallory, as udisks does, on a file that all users can read.
  @Test(arguments: ["", "--read-only"])
  func isNamedWithALoopDevice(option: String) async {
    await #expect(processExitsWith: .success) { [option] in
      inEncryptedHost(megabytes: 32) { host in
        try Self.prepare(host)
        let image = "\(Self.folder)/image"
        let made = try host.script(
          "truncate -s 1M \(image); exec losetup \(option) --find --show \(image)")
        let device = try #require(made.lines.first, "\(made)")
        // Once only: a second time it may be the device of another test.
        var isAttached = true
        defer { if isAttached { _ = try? TestSupport.run("losetup", ["--detach", device]) } }
        try host.refuse(
          status: 3, ["loop device \(device)"], "cryptohome", "unmount", "alice")
        #expect(try host.keyState(of: Host.alice) != "present")
        // Again, when the name of its file cannot be read any more.
        try host.refuse(
          status: 3, ["loop device \(device)"], "cryptohome", "unmount", "alice")
        isAttached = false
        let detached = try TestSupport.run("losetup", ["--detach", device])
        #expect(detached.status == 0, "\(detached)")
        try host.logout("alice")
        #expect(try host.keyState(of: Host.alice) == "absent")
      }
    }
  }

  /// A swap file in the vault. The kernel has no swap files on encrypted files: so it must refuse this
  /// one, or the logout name it.
  @Test func keepsNothingBySwapFile() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost(megabytes: 32) { host in
        try Self.prepare(host)
        let swap = "\(Self.folder)/swap"
        let outcome = try host.script(
          "head -c 2M /dev/zero >\(swap); chmod 600 \(swap); mkswap -q \(swap); swapon \(swap)")
        if outcome.status == 0 {
          let held = try host.run("cryptohome", "unmount", "alice")
          #expect(held.status == 3, "\(held)")
          let off = try host.script("swapoff -a")
          #expect(off.status == 0, "\(off)")
        }
        try host.logout("alice")
        #expect(try host.keyState(of: Host.alice) == "absent")
      }
    }
  }

  /// The control: util-linux cannot unmount what mallory keeps.
  @Test func keepsAMountBusyForUmount() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost(megabytes: 32) { host in
        try Self.prepare(host)
        let attacker = try Attack.descriptor.begin(host)
        let umount = try run("umount", [Self.home])
        #expect(umount.status != 0 && umount.errors.contains("busy"), "\(umount)")
        try host.helpers.stop(attacker)
        try host.logout("alice")
      }
    }
  }

  /// A file is another matter: who may read it has it, and is named.
  @Test func isNamedWithAnOpenFile() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost(megabytes: 32) { host in
        try Self.prepare(host)
        let attacker = try host.helpers.start(
          "setpriv", "--reuid=\(Self.mallory)", "--regid=\(Self.mallory)", "--clear-groups",
          "sh", "-c",
          "exec 3<\(Self.folder)/inner/deeper/diary; echo ready; kill -STOP $$")
        try host.refuse(
          status: 3, [try shownName(of: attacker), "open file"], "cryptohome", "unmount", "alice")
        try host.helpers.stop(attacker)
        try host.logout("alice")
      }
    }
  }

  /// The name of a process that inspects others, on a set-user-ID program: both are in a user's power.
  @Test func isNamedWhatIsCalledAsAnInspection() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost(megabytes: 32) { host in
        try Self.prepare(host)
        // As sudo does, it sets its real user id too.
        let made = try host.script(
          "cp -L /usr/bin/python3 /mnt/held; chmod 4755 /mnt/held; ln -s held '/mnt/look 1'")
        #expect(made.status == 0, "\(made)")
        let attacker = try host.helpers.start(
          "setpriv", "--reuid=\(Self.mallory)", "--regid=\(Self.mallory)", "--clear-groups",
          "sh", "-c",
          "exec 3<\(Self.folder)/inner/deeper/diary; exec '/mnt/look 1' -IS -c "
            + "'import os, signal; os.setuid(0); print(\"ready\", flush=True); signal.pause()'")
        #expect(try readFile("/proc/\(attacker)/comm") == "look 1\n")
        try host.refuse(
          status: 3, [try shownName(of: attacker), "open file"], "cryptohome", "unmount", "alice")
        try host.helpers.stop(attacker)
        try host.logout("alice")
      }
    }
  }

  /// Whoever copies the mounts of a home directory that stays when it is unmounted.
  @Test(arguments: ["empty", "full"])
  func keepsNoHomeOfPasswd(below: String) async {
    await #expect(processExitsWith: .success) { [below] in
      inEncryptedHost(megabytes: 32) { host in
        try host.boot("alpha")
        try writeFile(
          "/etc/passwd",
          "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n")
        try makeDirectory("/home/alice", owner: 1000, group: 1000, mode: 0o750)
        let made = try host.run(lines: "secret", arguments: "create", "alice", "--home")
        #expect(made.status == 0, "\(made)")
        if below == "full" { try writeFile("/home/alice/below", "in clear") }
        let before = attributes("/home/alice")
        try host.unlock("alice")
        try writeFile("/home/alice/diary", "contents")
        let attacker = try Attack.privateNamespace.begin(host)
        let outcome = try host.run("cryptohome", "unmount", "alice")
        #expect(outcome.status == 0, "\(outcome)")
        let copies = try mountTable(of: attacker).filter { $0.root.hasSuffix("/user") }
        #expect(copies.isEmpty, "\(copies)")
        #expect(try host.keyState(of: Host.alice) == "absent")
        #expect(attributes("/home/alice") == before, "\(attributes("/home/alice")) \(before)")
        // The login moved it away: nothing stays in clear below the home.
        #expect(!exists("/home/alice/below"))
        let homes = try names(in: "/home")
        #expect(homes == ["alice", "root", "user"], "\(homes)")
        try host.unlock("alice")
        #expect(try readFile("/home/alice/diary") == "contents")
        let moved = try host.script("grep -rls 'in clear' /home/.shadow/\(Host.alice) /home/alice")
        #expect(moved.lines.isEmpty == (below == "empty"), "\(moved)")
        try host.helpers.stop(attacker)
        try host.logout("alice")
      }
    }
  }

  /// A FUSE server of mallory's, mounted on a directory that alice lets all users write.
  @Test func keepsNothingByMountingFuse() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost(megabytes: 32) { host in
        try Self.prepare(host)
        try makeDirectory("\(Self.folder)/shared", mode: 0o777)
        let server = try host.holder {
          let device = try check("open", "/dev/fuse", open("/dev/fuse", O_RDWR))
          try mountFilesystem(
            "server", "\(Self.folder)/shared", "fuse", MS_NOSUID | MS_NODEV,
            "fd=\(device),rootmode=40000,user_id=\(Self.mallory),group_id=\(Self.mallory)")
          try check("setresuid", nil, linux_setresuid(Self.mallory))
        }
        let outcome = try host.run("cryptohome", "unmount", "alice")
        #expect(outcome.status == 0, "\(outcome)")
        #expect(try host.keyState(of: Host.alice) == "absent")
        try host.helpers.stop(server)
      }
    }
  }

  /// A kill at any moment of the move loses nothing: the next login completes it.
  @Test func losesNothingInAMoveThatIsKilled() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost(megabytes: 32) { host in
        try Self.prepare(host)
        for (call, last) in [("renameat2", 6), ("fchownat", 2), ("mkdirat", 3), ("unlinkat", 7)] {
          for time in 1...last {
            let attacker = try Attack.innerDirectory.begin(host)
            _ = try run(
              "strace",
              [
                "-o", "/dev/null", "-e", "trace=\(call)", "-e",
                "inject=\(call):signal=KILL:when=\(time)", "/mnt/programs/cryptohome", "unmount",
                "alice",
              ])
            try host.unlock("alice")
            let kept = try host.script(
              "cat \(Self.folder)/inner/deeper/diary; ls \(Self.folder)/many | wc -l")
            #expect(kept.output == "contents\n200\n", "\(call) \(time): \(kept)")
            #expect(attributes("\(Self.folder)/inner") == "5:60 751", "\(call) \(time)")
            let litter = try host.script("ls -A \(Self.vault) \(Self.vault)/mount")
            #expect(!litter.output.contains("moving") && !litter.output.contains("removed"))
            try host.helpers.stop(attacker)
            try host.logout("alice")
            try host.unlock("alice")
          }
        }
      }
    }
  }
}
