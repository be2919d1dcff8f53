import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
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

  enum Loss: String, Codable, CaseIterable {
    /// It is where it was: a directory of another file system, bound to its place.
    case none
    case unmounted, moved, replaced

    func happen(_ host: Host) throws {
      let home = "/home/.shadow/\(Host.alice)"
      switch self {
      case .none: break
      case .unmounted: try unmountFilesystem(LostVaultTests.vault, lazily: true)
      case .moved, .replaced:
        let script =
          "mv \(home) /home/.shadow/old" + (self == .moved ? "" : "; mkdir -p \(home)/mount")
        let outcome = try host.script(script)
        #expect(outcome.status == 0, "\(outcome)")
      }
    }
  }

  @Test(arguments: Machine.allCases, Loss.allCases)
  func itsDirectoryHasAnotherName(machine: Machine, loss: Loss) async {
    await #expect(processExitsWith: .success) { [machine, loss] in
      inHost(machine) { host in
        try host.boot("alpha")
        if loss == .none || loss == .unmounted {
          for place in ["/mnt/data", Self.vault] { try makeDirectory(place, mode: 0o700) }
          try mountFilesystem("data", "/mnt/data", "tmpfs")
          try makeDirectory("/mnt/data/alices")
          try setMode("/home/.shadow/\(Host.alice)", 0o700)
          try bindMount("/mnt/data/alices", Self.vault)
          try setMode("/mnt/data/alices", 0o700)
          try setMode("/home/.shadow", 0o711)
          try host.succeed("cryptohome", "mount", "alice")
        } else {
          try host.login("alice")
        }
        try loss.happen(host)
        let status = try host.succeed("cryptohome", "status")
        #expect(status.output.contains("mounted in alpha"), "\(status)")
        let home = "/home/user/\(Host.alice)"
        let holder = try Self.privateHolder(host, home)
        try host.refuse(
          status: 3, ["held by \(try shownName(of: holder)): working directory"], "cryptohome",
          "unmount", "--all")
        let places = host.folders(of: Host.alice, in: ["alpha"]) + [home]
        for place in places { #expect(try host.table().at(place).isEmpty, "\(place)") }
        try host.helpers.stop(holder)
        for user in ["--all", "alice"] { try host.logout(user) }
      }
    }
  }

  /// A directory of the right name that a login has not mounted.
  @Test(arguments: Machine.allCases)
  func whatIsInDoubtIsNamedAndStays(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      inHost(machine) { host in
        try host.boot("alpha")
        try host.login("alice")
        try host.logout("alice")
        let home = "/home/user/\(Host.alice)"
        for place in ["/mnt/other/user", home] { try makeDirectory(place) }
        try bindMount("/mnt/other/user", home)
        let status = try host.succeed("cryptohome", "status")
        #expect(status.output.contains("\(Host.alice) (alice)  plain"), "\(status)")
        for user in ["--all", "alice"] {
          try host.refuse(
            status: 3, [home, "something else is mounted"], "cryptohome", "unmount", user)
        }
        _ = try host.mount(at: home)
      }
    }
  }
}
