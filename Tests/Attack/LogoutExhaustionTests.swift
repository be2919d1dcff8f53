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

  /// No inode and no block is left on `/home`, nor, unless that is left out, on `/run`.
  private static func fill(_ host: Host, withRun: Bool = true) throws {
    let filled = try host.script(
      """
      set -e
      touch /home/blocks
      n=0; while touch /home/inode$n 2>/dev/null; do n=$((n + 1)); done
      cat /dev/zero >>/home/blocks 2>/dev/null || true
      ! touch /home/one 2>/dev/null
      \(withRun) || exit 0
      inodes=$(df --output=iused /run | tail -n 1)
      mount -o remount,nr_inodes=$((inodes)),size=$(df --output=used -k /run | tail -n 1 | tr -d ' ')k \
        run /run
      ! touch /run/one 2>/dev/null
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
        let named = "directory root/open of the vault"
        try host.refuse(status: 3, [named], "cryptohome", "unmount", "alice")
        #expect(try host.keyState(of: Host.alice) != "present")
        try host.refuse(status: 3, [named], "cryptohome", "unmount", "alice")
        let freed = try host.script("rm /home/blocks /home/inode*")
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
