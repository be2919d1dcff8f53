import Cryptohome
import DaemonStore
import DaemonStoreKernel
import TestSupport
import Testing

@Suite(.needsRoot) struct SaltTests {
  private static let layout = Layout(root: "/mnt/root")
  private static let path = "/mnt/root/var/lib/system_salt"
  private static let legacy = "/mnt/root/home/.shadow/salt"

  private static func inRoot(_ body: () throws -> Void) {
    inMountNamespace {
      try makeDirectory("/mnt/root/var/lib")
      try makeDirectory("/mnt/root/home/.shadow", mode: 0o700)
      try body()
    }
  }

  @Test func isMadeOnce() async {
    await #expect(processExitsWith: .success) {
      Self.inRoot {
        #expect(throws: Refusal.self) { try Salt.read(Self.layout) }
        #expect(!exists(Self.path))
        let salt = try Salt.readOrMake(Self.layout)
        #expect(salt.bytes.count == 16 && attributes(Self.path) == "file 0:0 644")
        #expect(try Salt.readOrMake(Self.layout) == salt && Salt.read(Self.layout) == salt)
        try remove(Self.path)
        #expect(try Salt.readOrMake(Self.layout) != salt, "it is random")
      }
    }
  }

  @Test func olderPlaceCounts() async {
    await #expect(processExitsWith: .success) {
      Self.inRoot {
        let (new, old) = ("0123456789abcdef", "the salt of an older machine")
        try writeFile(Self.path, new)
        try writeFile(Self.legacy, old)
        #expect(try Salt.read(Self.layout).bytes == Array(new.utf8))
        try writeFile(Self.path, "")
        let error = #expect(throws: Refusal.self) { try Salt.readOrMake(Self.layout) }
        #expect(error?.path == FilePath(Self.path), "not the other one instead")
        try remove(Self.path)
        #expect(try Salt.read(Self.layout).bytes == Array(old.utf8))
      }
    }
  }

  @Test func isRefusedBesideUsersWhenAbsent() async {
    await #expect(processExitsWith: .success) {
      Self.inRoot {
        try makeDirectory("/mnt/root/home/.shadow/not-a-user")
        let user = "/mnt/root/home/.shadow/613ee4f28d2c6498c938ccbfdd85ea414586302a"
        try makeDirectory(user)
        let error = #expect(throws: Refusal.self) { try Salt.readOrMake(Self.layout) }
        #expect(error?.path == FilePath(Self.path) && !exists(Self.path))
        try remove(user)
        #expect(try Salt.readOrMake(Self.layout).bytes.count == 16)
      }
    }
  }

  @Test func whatCannotBeUsedIsNamedAndKept() async {
    await #expect(processExitsWith: .success) {
      for place in [Self.path, Self.legacy] {
        for size in [0, 15, (1 << 20) + 1, 16, 1 << 20] {
          Self.inRoot {
            try writeFile(place, [UInt8](repeating: 7, count: size))
            guard size < 16 || size > 1 << 20 else {
              #expect(try Salt.readOrMake(Self.layout).bytes.count == size)
              return
            }
            let error = #expect(throws: Refusal.self) { try Salt.readOrMake(Self.layout) }
            #expect(error?.path == FilePath(place), "\(size)")
            #expect(attributes(place) == "file 0:0 644")
          }
        }
      }
    }
  }

  /// A salt or a vault that is made then would be hidden by the file system, or hide what it has.
  @Test(arguments: ["fstab", "unit"])
  func nothingIsMadeWhileHomeIsNotMounted(lister: String) async {
    await #expect(processExitsWith: .success) { [lister] in
      Self.inRoot {
        let unit = "/mnt/root/etc/systemd/system/home.mount"
        try makeDirectory("/mnt/root/etc/systemd/system")
        try makeDirectory("/mnt/root/run")
        if lister == "unit" {
          try writeFile(unit, "[Mount]\nWhere=/home\n")
        } else {
          // The administrator's word counts: a masked unit is none.
          try makeLink(unit, to: "/dev/null")
          try writeFile("/mnt/root/etc/fstab", "# home\nUUID=1\t/\\150ome/ ext4 defaults 0 2\n")
        }
        let request = VaultRequest(name: "guest", kind: .plain, owner: Owner(user: 9, group: 9))
        let login = LoginRequest(
          username: .name("guest"), vault: .plain, owner: Owner(user: 9, group: 9))
        for hasSalt in [false, true] {
          if hasSalt { try writeFile(Self.path, "0123456789abcdef") }
          for attempt in [
            { _ = try Vaults.create(request, in: Self.layout) { throw Problem("asked") } },
            { _ = try Login.run(login, in: Self.layout) { throw Problem("asked") } },
          ] {
            let error = #expect(throws: Refusal.self) { try attempt() }
            #expect(error?.path == "/mnt/root/home", "\(String(describing: error))")
          }
          #expect(exists(Self.path) == hasSalt)
          #expect(try names(in: "/mnt/root/home/.shadow").isEmpty)
        }
        try remove(Self.path)
        let forced = VaultRequest(
          name: "guest", kind: .plain, owner: Owner(user: 9, group: 9), isForced: true)
        _ = try Vaults.create(forced, in: Self.layout) { throw Problem("asked") }
        #expect(exists(Self.path))
        try remove(Self.path)
        try mountFilesystem("home", "/mnt/root/home", "tmpfs", 0, "mode=0755")
        _ = try Vaults.create(request, in: Self.layout) { throw Problem("asked") }
        #expect(exists(Self.path))
      }
    }
  }
}
