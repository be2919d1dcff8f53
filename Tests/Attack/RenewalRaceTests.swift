import CDaemonStoreLinux
import Glibc
import TestSupport
import Testing

/// mallory is in a store's group, so he may rename in some of alice's directories, also while a logout
/// renews one that he keeps.
@Suite(.needsRoot, .serialized, .tags(.attack)) struct RenewalRaceTests {
  enum Decoy: String, Codable, CaseIterable {
    case directory, link
  }

  private static let folder = "/run/daemon-store/photos/\(Host.alice)"

  private static func prepare(_ host: Host) throws {
    try host.template("photos", owner: 5, group: 60, mode: 0o2770)
    try host.succeed("daemon-store", "startup")
    _ = try host.createWithKeyFile("alice")
    try host.unlockWithKeyFile("alice")
  }

  /// `a/sub` with many files, all of it mallory's.
  private static func makeDirectories(in place: String) throws {
    let made = try TestSupport.run(
      "setpriv",
      [
        "--reuid=1009", "--regid=1009", "--groups=60", "sh", "-c",
        "umask 0; mkdir -p \(place)/a/sub && cd \(place)/a/sub && seq \(files) | xargs touch 2>/dev/null",
      ])
    guard made.status == 0 else { throw Problem("\(made)") }
  }

  private static let files = 20000
  /// One try showed the race with 95 %; ten times as many are made.
  private static let tries = 10

  /// What mallory runs: as soon as the old directory is sealed, it gets another name, and the decoy
  /// has its name.
  private static func attack(_ decoy: Decoy, in folder: String = folder) -> [String] {
    let make =
      decoy == .directory
      ? "os.mkdir('decoy'); open('decoy/full', 'w').close()" : "os.symlink('/etc', 'decoy')"
    let text = """
      import ctypes, os, signal, socket
      libc = ctypes.CDLL(None)
      os.umask(0)
      os.chdir('\(folder)/a'); \(make)
      sub = os.open('sub', os.O_PATH)
      a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
      null, place = os.open('/dev/null', 0), os.open('.', os.O_RDONLY)
      socket.send_fds(a, [b'1'], [null]); socket.send_fds(a, [b'2'], [place])
      os.close(place); os.chdir('/')
      print('ready', flush=True)
      while os.fstat(sub).st_uid != 0: pass
      socket.recv_fds(b, 1, 1); place = socket.recv_fds(b, 1, 1)[1][0]
      libc.renameat2(place, b'sub', place, b'decoy', 2)
      signal.pause()
      """
    return ["--reuid=1009", "--regid=1009", "--groups=60", "python3", "-c", text]
  }

  @Test(arguments: Decoy.allCases)
  func keepsNoVaultFromOpening(decoy: Decoy) async {
    await #expect(processExitsWith: .success) { [decoy] in
      inEncryptedHost(megabytes: 128) { host in
        try Self.prepare(host)
        try Self.makeDirectories(in: Self.folder)
        for time in 1...Self.tries {
          let mallory = try host.helpers.start("setpriv", Self.attack(decoy))
          let outcome = try host.run("cryptohome", "unmount", "alice")
          #expect([0, 3].contains(outcome.status), "\(time): \(outcome)")
          #expect(try host.keyState(of: Host.alice) != "present")
          try host.helpers.stop(mallory)
          let litter = try host.script("ls -A /home/.shadow/\(Host.alice)")
          #expect(!litter.output.contains("removed"), "\(time): \(litter)")
          try host.unlockWithKeyFile("alice")
          let kept = try host.script("cd \(Self.folder)/a; find . -type f -name '[0-9]*' | wc -l")
          #expect(kept.output == "\(Self.files)\n", "\(time): \(kept)")
          // Whichever directory has the files is the next one.
          let next = try host.script(
            "cd \(Self.folder)/a && full=$(dirname $(find . -name 1)) && { [ $full = ./sub ] || { "
              + "rm -rf sub && mv $full sub; }; } && rm -rf decoy && chmod 777 sub")
          #expect(next.status == 0, "\(time): \(next)")
        }
        try host.logout("alice")
        #expect(try host.keyState(of: Host.alice) == "absent")
      }
    }
  }

  /// The control: a program that seals a directory, moves its entries and replaces it, by their names.
  @Test(arguments: Decoy.allCases)
  func naiveRenewalLosesItsDirectory(decoy: Decoy) async {
    await #expect(processExitsWith: .success) { [decoy] in
      inHost(.shared) { host in
        try makeDirectory("/mnt/all", mode: 0o1777)
        try writeFile("/etc/naive.py", Self.naive)
        for isAttacked in [false, true] {
          _ = try host.script("rm -rf /mnt/all/a")
          try Self.makeDirectories(in: "/mnt/all")
          let mallory =
            isAttacked
            ? try host.helpers.start("setpriv", Self.attack(decoy, in: "/mnt/all")) : nil
          let outcome = try TestSupport.run("python3", ["/etc/naive.py", "/mnt/all/a"])
          #expect((outcome.status == 0) != isAttacked, "\(outcome)")
          if let mallory { try host.helpers.stop(mallory) }
        }
      }
    }
  }

  private static let naive = """
    import os, sys
    os.chdir(sys.argv[1])
    os.mkdir('fresh')
    os.chown('sub', 0, 0)
    for name in os.listdir('sub'): os.rename('sub/' + name, 'fresh/' + name)
    os.rmdir('sub')
    os.rename('fresh', 'sub')
    """

  /// A member of a store's group keeps alice's home, which is none of the store's.
  @Test func memberOfAStoresGroupKeepsNoHome() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost(megabytes: 32) { host in
        try Self.prepare(host)
        let mallory = try host.helpers.start(
          "setpriv", "--reuid=1009", "--regid=60", "--clear-groups", "python3", "-c",
          "import os, signal\nos.open('/home/user/\(Host.alice)', os.O_PATH)\n"
            + "os.chdir('\(Self.folder)')\nprint('ready', flush=True)\nsignal.pause()")
        // The control: umount(8) cannot unmount what he keeps.
        let naive = try TestSupport.run("umount", ["/home/user/\(Host.alice)"])
        #expect(naive.status != 0 && naive.errors.contains("busy"), "\(naive)")
        let outcome = try host.run("cryptohome", "unmount", "alice")
        #expect(outcome.status == 0 && outcome.complains(of: "empty directory"), "\(outcome)")
        #expect(try host.keyState(of: Host.alice) != "present")
        try host.helpers.stop(mallory)
        try host.unlockWithKeyFile("alice")
        try host.logout("alice")
      }
    }
  }
}
