import CDaemonStoreLinux
import Glibc
import TestSupport
import Testing

/// A user has taken all of what a logout could need, so that root cannot lock a vault.
@Suite(.needsRoot, .serialized, .tags(.attack)) struct LogoutExhaustionTests {
  enum Shortage: String, Codable, CaseIterable {
    case descriptors, memory, disks, all

    var limits: [String] {
      let descriptors = ["--nofile=19:19"]
      let memory = ["--as=\(64 << 20):\(64 << 20)"]
      return switch self {
      case .descriptors: descriptors
      case .memory: memory
      case .disks: []
      case .all: descriptors + memory
      }
    }
  }

  private static let folder = "/run/daemon-store/open/\(Host.alice)"

  private static func prepare(_ host: Host) throws {
    let made = try host.script(
      "truncate -s 16M /mnt/disk && mkfs.ext4 -q -m 0 -N 256 -O encrypt /mnt/disk "
        + "&& mount -o loop /mnt/disk /home && rmdir /home/lost+found && mount --make-shared /home")
    guard made.status == 0 else { throw Problem("\(made)") }
    try host.template("open", owner: 5, group: 60, mode: 0o755)
    try host.succeed("daemon-store", "startup")
    _ = try host.createWithKeyFile("alice")
    try host.unlockWithKeyFile("alice")
    try writeFile("\(folder)/diary", "contents")
  }

  /// As mallory, takes the last inode and block of `/home`, and unless that is left out of `/run`, in
  /// directories that all users can write.
  private static func fill(_ host: Host, withRun: Bool = true) throws {
    let filled = try host.script(
      """
      set -e
      mallory() { setpriv --reuid=1009 --regid=1009 --clear-groups sh -c "$1"; }
      fill='touch blocks; n=0; while touch inode$n 2>/dev/null; do n=$((n + 1)); done
        cat /dev/zero >>blocks 2>/dev/null; ! touch one 2>/dev/null'
      mkdir -m 1777 /home/all /run/lock
      mallory "cd /home/all; $fill"
      \(withRun) || exit 0
      # A tmpfs of the size that a small machine has.
      inodes=$(df --output=iused /run | tail -n 1)
      mount -o remount,nr_inodes=$((inodes + 50)),size=$(($(df --output=used -k /run | tail -n 1) + 64))k \
        run /run
      mallory "cd /run/lock; $fill"
      """)
    guard filled.status == 0 else { throw Problem("\(filled)") }
  }

  @Test(arguments: Shortage.allCases)
  func keepsNoVaultOpen(shortage: Shortage) async {
    await #expect(processExitsWith: .success) { [shortage] in
      inHost(.shared) { host in
        try Self.prepare(host)
        if [.disks, .all].contains(shortage) { try Self.fill(host) }
        let outcome = try TestSupport.run(
          "prlimit", shortage.limits + ["/mnt/programs/cryptohome", "unmount", "alice"])
        #expect(outcome.status == 0, "\(outcome)")
        try host.expectGone(Host.alice, from: ["open"])
        #expect(try host.keyState(of: Host.alice) == "absent")
      }
    }
  }

  /// The control: a logout that makes a lock file and opens each process, with a table for as many as there
  /// can be, before it unmounts.
  @Test(arguments: Shortage.allCases)
  func stopsNaiveLogout(shortage: Shortage) async {
    await #expect(processExitsWith: .success) { [shortage] in
      inHost(.shared) { host in
        try Self.prepare(host)
        try writeFile("/etc/naive.py", Self.naive)
        let mallory = try host.helpers.start(
          "setpriv", "--reuid=1009", "--regid=1009", "--clear-groups", "sh", "-c",
          "for i in $(seq 20); do sleep 1000 & done; echo ready; wait")
        let words = ["python3", "/etc/naive.py", Self.folder]
        if [.disks, .all].contains(shortage) { try Self.fill(host) }
        let outcome = try TestSupport.run("prlimit", shortage.limits + words)
        #expect(outcome.status == 1, "\(outcome)")
        #expect(try host.table().at(Self.folder).count == 1)
        // With enough of all it ends well.
        _ = try host.script("rm -rf /run/lock")
        let alone = try TestSupport.run(words[0], Array(words.dropFirst()))
        #expect(alone.status == 0, "\(alone)")
        #expect(try host.table().at(Self.folder).isEmpty)
        let left = try host.script("pkill -KILL -P \(mallory)")
        #expect(left.status == 0, "\(left)")
      }
    }
  }

  private static let naive = """
    import ctypes, mmap, os, sys
    open('/run/naive.lock', 'w').write('locked')
    table = mmap.mmap(-1, 16 << 22)
    handles = [os.open('/proc/' + name, os.O_PATH) for name in os.listdir('/proc') if name.isdigit()]
    libc = ctypes.CDLL(None)
    sys.exit(libc.umount2(sys.argv[1].encode(), 0) != 0)
    """

  /// A directory that mallory keeps cannot be emptied without a new one: it is named, and the key is
  /// removed.
  @Test func removesTheKeyThoughADirectoryCannotBeEmptied() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try Self.prepare(host)
        let mallory = try host.helpers.start(
          "setpriv", "--reuid=1009", "--regid=1009", "--clear-groups", "sh", "-c",
          "cd \(Self.folder) && echo ready && kill -STOP $$")
        try Self.fill(host, withRun: false)
        // The control: what renews a directory before it removes the key fails here, and ends.
        let naive = try host.script("mkdir /home/.shadow/\(Host.alice)/mount/root/fresh")
        #expect(naive.status == 1 && naive.errors.contains("No space left"), "\(naive)")
        #expect(try host.keyState(of: Host.alice) == "present")
        let named = "directory root/open of the vault"
        try host.refuse(status: 3, [named], "cryptohome", "unmount", "alice")
        #expect(try host.keyState(of: Host.alice) != "present")
        try host.refuse(status: 3, [named], "cryptohome", "unmount", "alice")
        let freed = try host.script("rm -r /home/all")
        #expect(freed.status == 0, "\(freed)")
        try host.unlockWithKeyFile("alice")
        #expect(try readFile("\(Self.folder)/diary") == "contents")
        try host.helpers.stop(mallory)
        try host.logout("alice")
        #expect(try host.keyState(of: Host.alice) == "absent")
      }
    }
  }
}
