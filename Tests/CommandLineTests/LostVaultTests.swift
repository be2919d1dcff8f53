import CLinux
import Glibc
import Kernel
import TestSupport
import Testing

/// Logouts where the vault's directory does not say any more what is mounted.
@Suite(.needsRoot) struct LostVaultTests {
  private static let vault = "/home/.shadow/\(Host.alice)/mount"

  /// A process with a copy of all mounts of its own, and its working directory in a home.
  private static func privateHolder(_ host: Host, _ home: String) throws -> pid_t {
    try host.holder {
      try check("unshare", nil, linux_unshare(CLONE_NEWNS))
      try mountFilesystem("none", "/", nil, MS_REC | MS_PRIVATE)
      try check("chdir", home, chdir(home))
    }
  }

  @Test(arguments: Machine.allCases)
  func itsFileSystemWasUnmountedBefore(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.login("alice")
        try host.logout("alice")
        for name in try names(in: Self.vault) { _ = try host.script("rm -r \(Self.vault)/\(name)") }
        try mountFilesystem("encrypted", Self.vault, "tmpfs", 0, "mode=0700")
        try host.login("alice")
        try unmountFilesystem(Self.vault, lazily: true)
        let holder = try Self.privateHolder(host, "/home/user/\(Host.alice)")
        try host.refuse(
          status: 3, ["held by \(try shownName(of: holder)): working directory"], "cryptohome",
          "unmount", "alice")
        try host.expectGone(Host.alice, from: ["alpha"])
        try host.helpers.stop(holder)
        try host.logout("alice")
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func itsDirectoryWasRemoved(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.login("alice", "bob")
        let bob = try host.table().naming(Host.bob)
        let holder = try Self.privateHolder(host, "/home/user/\(Host.alice)")
        _ = try host.script("rm -r /home/.shadow/\(Host.alice)")
        try host.refuse(
          status: 3, ["held by \(try shownName(of: holder)): working directory"], "cryptohome",
          "unmount", Host.alice)
        try host.expectGone(Host.alice, from: ["alpha"])
        #expect(try host.table().naming(Host.bob) == bob)
      }
    }
  }

  @Test(arguments: Machine.allCases)
  func whatOthersMountedThereStays(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        let places = ["/home/user/\(Host.carol)", "/run/daemon-store/alpha/\(Host.carol)"]
        try makeDirectory(places[0])
        try mountFilesystem("foreign", places[0], "tmpfs")
        let made = try host.script(
          "mount -o remount,bind,rw /run/daemon-store/alpha && mkdir \(places[1]) && "
            + "mount --bind /etc \(places[1])")
        #expect(made.status == 0, "\(made)")
        for options in [[], ["--force"]] {
          let outcome = try run("/mnt/programs/cryptohome", ["unmount", "carol"] + options)
          #expect(outcome.status == 3, "\(outcome)")
          for place in places {
            #expect(outcome.complains(of: place, "something else is mounted"), "\(outcome)")
            _ = try host.mount(at: place)
          }
          #expect(!outcome.complains(of: "still held"), "\(outcome)")
        }
      }
    }
  }
}
