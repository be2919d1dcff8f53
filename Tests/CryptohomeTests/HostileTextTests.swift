import DaemonStore
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

@testable import Cryptohome

/// vault.json, session files, the salt and key files with bytes that text gets wrong.
@Suite(.needsRoot) struct HostileTextTests {
  private static func vault(
    name: [UInt8] = Array("alice".utf8), home: [UInt8] = Array("/home/alice".utf8),
    kind: [UInt8] = Array("plain".utf8)
  ) throws -> VaultFile {
    let bytes =
      Array(#"{"version":2,"format":"daemon-store vault","kind":""#.utf8) + kind
      + Array(#"","id":"000102030405060708090a0b0c0d0e0f","account":{"uid":1,"name":""#.utf8)
      + name + Array(#""},"home":""#.utf8) + home + Array(#""}"#.utf8)
    return try VaultFile(bytes, path: "/v", in: "/d")
  }

  /// A name or a home is kept byte by byte, or the file is refused; never another one.
  @Test func vaultKeepsNamesByBytes() throws {
    var names: Set<FilePath> = []
    for bytes in HostileNames.names {
      let isText = String(validating: bytes, as: UTF8.self) != nil
      let isPlain = isText && bytes.allSatisfy { $0 >= 0x20 && $0 != UInt8(ascii: "\\") }
      guard isPlain else {
        #expect(throws: Refusal.self, "\(bytes)") { try Self.vault(name: bytes) }
        #expect(throws: Refusal.self, "\(bytes)") { try Self.vault(home: [0x2f] + bytes) }
        continue
      }
      let file = try Self.vault(name: bytes, home: [0x2f] + bytes)
      let name = try #require(file.identity?.account.name)
      #expect(Array(name.bytes) == bytes && file.home == "/\(name)")
      #expect(names.insert(name).inserted)
      let again = try VaultFile(file.encoded.bytes, path: "/v", in: "/d")
      #expect(again == file)
    }
    #expect(
      try Self.vault(name: Array("caf\u{e9}".utf8)).identity?.account
        != Self.vault(name: Array("cafe\u{301}".utf8)).identity?.account)
    #expect(throws: Refusal.self) { try Self.vault(name: Array(#"a\u0000b"#.utf8)) }
    #expect(throws: Refusal.self) { try Self.vault(home: Array(#"/a\u0000b"#.utf8)) }
  }

  @Test func wordsOfTheFormatAreExact() {
    for mark in ["\u{301}", "\u{200d}", "\u{fe0f}"] {
      #expect(throws: Refusal.self) { try Self.vault(kind: Array("plain\(mark)".utf8)) }
    }
  }

  @Test func labelsAndSessionsAreASCII() throws {
    for bytes in HostileNames.names + HostileNames.withNUL where bytes != [0x4b] {
      #expect(KeyLabel(bytes) == nil, "\(bytes)")
      // A path has no NUL: what is read as one ends there.
      guard let path = FilePath(bytes), !path.isEmpty else { continue }
      #expect(SessionRecord(path) == nil && SessionLeader(path) == nil, "\(bytes)")
      for text in ["12.34\(path)", "12\(path).34", "\(path)12.34", "12.34.\(path)"] as [FilePath] {
        #expect(SessionRecord(text) == nil, "\(text)")
      }
      let id: FilePath = "12.34.0123456789abcde\(path)"
      #expect(SessionRecord(id) == nil, "\(id)")
    }
    #expect(SessionRecord("12.34")?.path == "12.34")
    #expect(SessionRecord("012.34") == nil && SessionRecord("+12.34") == nil)
  }

  /// Different bytes are different users, and every salt is bytes.
  @Test func usersAndSaltsAreBytes() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try makeDirectory("/mnt/root/var/lib")
        let layout = Layout(root: "/mnt/root")
        var salts: Set<[UInt8]> = []
        for name in HostileNames.names + HostileNames.withNUL {
          let salt = name + [UInt8](repeating: 0x2d, count: 16)
          try writeFile("/mnt/root/var/lib/system_salt", salt)
          let read = try Salt.read(layout)
          #expect(read.bytes == salt && salts.insert(salt).inserted)
          let users = try HostileNames.paths.map { try ObfuscatedUsername(of: $0, salt: read) }
          // The letter K, and no other sign that looks or counts as one, is folded.
          #expect(Set(users).count == users.count)
        }
      }
    }
  }

  @Test func keyFilesMayHaveAnyName() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let directory = try Directory(opening: "/mnt" as FilePath)
        for name in HostileNames.paths {
          let file = try directory.file(name, flags: O_WRONLY | O_CREAT, mode: 0o600)
          try file.write([UInt8](repeating: 7, count: 64), shown: name)
          _ = try Secret(keyFile: directory.path(of: name))
        }
      }
    }
  }
}
