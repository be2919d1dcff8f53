import CDaemonStoreLinux
import DaemonStoreClient
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// The code of the error that `body` throws; nil when it throws none.
func errorCode(_ body: () throws -> Void) throws -> CInt? {
  do {
    try body()
    return nil
  } catch let error as StoreClientError {
    return error.code
  }
}

@Suite struct PathNameTests {
  private let hash = "0123456789abcdef0123456789abcdef01234567"

  @Test func aHashIsItself() throws {
    let folder = try UserFolder(of: hash, in: "notes")
    #expect(folder.path == "/run/daemon-store/notes/\(hash)")
    let cache = try UserFolder(of: hash, in: "notes", cache: true)
    #expect(cache.path == "/run/daemon-store-cache/notes/\(hash)")
    #expect(try StoreDirectory("a.b-c_D").path == "/run/daemon-store/a.b-c_D")
    #expect(try StoreDirectory("n", cache: true).path == "/run/daemon-store-cache/n")
    let long = String(repeating: "n", count: 255)
    #expect(
      try UserFolder(of: hash, in: long, cache: true).path
        == "/run/daemon-store-cache/\(long)/\(hash)")
  }

  @Test(arguments: ["", ".", "..", ".lock", "a/b", "a b", "-a", "é", "a\0b", "a\n"])
  func noNameOfAStore(store: String) throws {
    #expect(try errorCode { _ = try StoreDirectory(store) } == EINVAL)
    #expect(try errorCode { _ = try UserFolder(of: hash, in: store) } == EINVAL)
  }

  @Test func noNameOfAUser() throws {
    for user in ["", hash.uppercased(), "a\0b"] {
      #expect(try errorCode { _ = try UserFolder(of: user, in: "notes") } == EINVAL, "\(user)")
    }
    let long = String(repeating: "n", count: 256)
    #expect(try errorCode { _ = try StoreDirectory(long) } == EINVAL)
  }

  @Test func aPathEndsAtNoZeroByte() throws {
    let folder = UserFolder(path: "/proc\0x")
    #expect(try errorCode { _ = try folder.isMounted() } == EINVAL)
    #expect(try errorCode { _ = try StoreWatch(StoreDirectory(path: "/proc\0x")) } == EINVAL)
  }

  @Test func errorsSayTheWayOut() {
    let error = StoreClientError(code: ENOTSUP, subject: "/run/daemon-store/notes")
    #expect(
      "\(error)".hasPrefix("/run/daemon-store/notes: there is no /proc of this process"), "\(error)"
    )
  }
}

@Suite(.needsRoot) struct SaltedPathTests {
  private static func hash(_ user: String) throws -> String {
    let path = try UserFolder(of: user, in: "notes").path
    return String(path.split(separator: "/").last ?? "")
  }

  @Test func aNameIsHashedAsEverybodyHashesIt() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        #expect(try Self.hash("alice") == Host.alice)
        #expect(try Self.hash("ALice") == Host.alice)
        #expect(try Self.hash("bob") == Host.bob)
        #expect(try Self.hash("guest") == Host.guest)
        // Every length around the ends of SHA-1's blocks, against another SHA-1.
        let script = """
          import hashlib
          for n in range(1, 200):
              print(hashlib.sha1(b'\(Host.salt)' + b'u' * n).hexdigest())
          """
        let expected = try run("python3", ["-c", script])
        #expect(expected.lines.count == 199, "\(expected)")
        for (count, hash) in zip(1..., expected.lines) {
          #expect(try Self.hash(String(repeating: "u", count: count)) == hash, "\(count)")
        }
        for name in ["Ä", "a b", "x@example.org"] {
          let program = try host.succeed("cryptohome", "sanitize", name)
          #expect(try [Self.hash(name)] == program.lines, "\(name)")
        }
      }
    }
  }

  @Test func theSaltThatCounts() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        // The largest there may be, and one more.
        try writeFile("/var/lib/system_salt", [UInt8](repeating: 7, count: 1 << 20))
        let large = try host.succeed("cryptohome", "sanitize", "alice")
        #expect(try [Self.hash("alice")] == large.lines)
        try writeFile("/var/lib/system_salt", [UInt8](repeating: 7, count: 1 << 20 + 1))
        #expect(try errorCode { _ = try Self.hash("alice") } == ENODATA)
        try writeFile("/var/lib/system_salt", "")
        #expect(try errorCode { _ = try Self.hash("alice") } == ENODATA)
        try remove("/var/lib/system_salt")
        #expect(try errorCode { _ = try Self.hash("alice") } == ENODATA)
        try makeDirectory("/var/lib/system_salt")
        #expect(try errorCode { _ = try Self.hash("alice") } == ENODATA)
        try remove("/var/lib/system_salt")
        try makeLink("/var/lib/system_salt", to: "/etc/passwd")
        #expect(try errorCode { _ = try Self.hash("alice") } == ELOOP)

        try remove("/var/lib/system_salt")
        try writeFile("/var/lib/system_salt", "cut")
        #expect(try errorCode { _ = try Self.hash("alice") } == ENODATA)

        // The older place counts where the other does not exist.
        try remove("/var/lib/system_salt")
        try makeDirectory("/home/.shadow", mode: 0o700)
        try writeFile("/home/.shadow/salt", Host.salt)
        #expect(try Self.hash("alice") == Host.alice)
        try writeFile("/home/.shadow/salt", "")
        #expect(try errorCode { _ = try Self.hash("alice") } == ENODATA)
        // Who may not see whether there is one is told so.
        try remove("/home/.shadow/salt")
        #expect(setegid(65534) == 0 && seteuid(65534) == 0)
        #expect(try errorCode { _ = try Self.hash("alice") } == EACCES)
        #expect(seteuid(0) == 0 && setegid(0) == 0)
      }
    }
  }
}
