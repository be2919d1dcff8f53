import Cryptohome
import DaemonStore
import Kernel
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
        try writeFile(Self.path, "new")
        try writeFile(Self.legacy, "old")
        #expect(try Salt.read(Self.layout).bytes == Array("old".utf8))
        try writeFile(Self.legacy, "")
        let error = #expect(throws: Refusal.self) { try Salt.readOrMake(Self.layout) }
        #expect(error?.path == FilePath(Self.legacy), "not the other one instead")
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
        for size in [0, (1 << 20) + 1, 1, 1 << 20] {
          Self.inRoot {
            try writeFile(place, [UInt8](repeating: 7, count: size))
            guard size == 0 || size > 1 << 20 else {
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
}
