import Cryptohome
import DaemonStore
import DaemonStoreKernel
import TestSupport
import Testing

@Suite(.needsRoot) struct UsernameTests {
  /// The hashes are Python's: `hashlib.sha1(salt + name.encode()).hexdigest()`.
  @Test func isTheHashOfSaltAndFoldedName() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let binary: [UInt8] = [0, 255, 10, 13, 0, 255, 10, 13, 0, 255, 10, 13, 0, 255, 10, 13]
        let plain = Array("0123456789abcdef".utf8)
        for (salt, name, hash) in [
          (plain, "alice", "613ee4f28d2c6498c938ccbfdd85ea414586302a"),
          (plain, "aLICE", "613ee4f28d2c6498c938ccbfdd85ea414586302a"),
          (binary, "user@example.com", "a483d3324419effdbf24dd891bfbde016807e031"),
          (binary, "User@Example.COM", "a483d3324419effdbf24dd891bfbde016807e031"),
          (plain, "\u{e9}mile", "d4a307fdd58198e9f6da4ee13d999c45ed2c4162"),
          (plain, "\u{e9}MILE", "d4a307fdd58198e9f6da4ee13d999c45ed2c4162"),
          (plain, "\u{c9}mile", "a515f813b5e66c179a01f7be8aab9c103839eb3a"),
        ] {
          try makeDirectory("/mnt/root/var/lib")
          try writeFile("/mnt/root/var/lib/system_salt", salt)
          let read = try Salt.read(Layout(root: "/mnt/root"))
          #expect(read.bytes == salt)
          #expect(
            try ObfuscatedUsername(of: FilePath(name), salt: read).description == hash, "\(name)")
          for path in ["/var/lib/system_salt", "/var/lib", "/var", ""] {
            try remove("/mnt/root\(path)")
          }
        }
      }
    }
  }

  @Test func differentBytesAreDifferentUsers() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try makeDirectory("/mnt/root/var/lib")
        try writeFile("/mnt/root/var/lib/system_salt", "salt of 16 bytes")
        let salt = try Salt.read(Layout(root: "/mnt/root"))
        // Composed, decomposed, with blanks, and the Turkish dotless i: nothing is folded but A-Z.
        let names = ["\u{e9}", "e\u{301}", "e", "e ", " e", "i", "\u{131}", "\u{130}", "["]
        let hashes = try Set(names.map { try ObfuscatedUsername(of: FilePath($0), salt: salt) })
        #expect(hashes.count == names.count)
        #expect(throws: Refusal.self) { try ObfuscatedUsername(of: "", salt: salt) }
      }
    }
  }
}

@Suite struct UsernameArgumentTests {
  @Test func hashesAndNamesAreToldApart() throws {
    let hash = "613ee4f28d2c6498c938ccbfdd85ea414586302a"
    #expect(try Username(FilePath(hash)) == .hash(#require(ObfuscatedUsername(hash))))
    for name in ["alice", "a", String(hash.dropLast()), hash + "0", " " + hash, "\u{e9}"] {
      #expect(try Username(FilePath(name)) == .name(FilePath(name)))
    }
    for text in ["", hash.uppercased(), "F" + hash.dropFirst()] {
      #expect(throws: Refusal.self, "\(text)") { try Username(FilePath(text)) }
    }
  }
}
