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

  /// What mallory runs: as soon as the old directory is sealed, it gets another name, and the decoy
  /// has its name.
  private static func attack(_ decoy: Decoy) -> [String] {
    let make =
      decoy == .directory
      ? "os.mkdir('decoy'); open('decoy/full', 'w').close()" : "os.symlink('/etc', 'decoy')"
    let text = """
      import ctypes, os, signal, socket
      libc = ctypes.CDLL(None)
      os.umask(0)
      os.chdir('\(folder)'); os.mkdir('a'); os.chdir('a'); os.mkdir('sub'); \(make)
      for n in range(20000): open(f'sub/{n}', 'w').close()
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
        let mallory = try host.helpers.start("setpriv", Self.attack(decoy))
        let outcome = try host.run("cryptohome", "unmount", "alice")
        #expect([0, 3].contains(outcome.status), "\(outcome)")
        #expect(try host.keyState(of: Host.alice) != "present")
        try host.helpers.stop(mallory)
        let litter = try host.script("ls -A /home/.shadow/\(Host.alice)")
        #expect(!litter.output.contains("removed"), "\(litter)")
        try host.unlockWithKeyFile("alice")
        let kept = try host.script("cd \(Self.folder)/a; find . -type f -name '[0-9]*' | wc -l")
        #expect(kept.output == "20000\n", "\(kept)")
        try host.logout("alice")
        #expect(try host.keyState(of: Host.alice) == "absent")
      }
    }
  }

  /// A member of a store's group keeps alice's home, which is none of the store's.
  @Test func memberOfAStoresGroupKeepsNoHome() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost(megabytes: 32) { host in
        try Self.prepare(host)
        let mallory = try host.helpers.start(
          "setpriv", "--reuid=1009", "--regid=60", "--clear-groups", "python3", "-c",
          "import os, signal\nos.open('/home/user/\(Host.alice)', os.O_PATH)\n"
            + "os.chdir('\(Self.folder)')\nprint('ready', flush=True)\nsignal.pause()")
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
