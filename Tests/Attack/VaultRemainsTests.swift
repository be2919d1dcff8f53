import Glibc
import TestSupport
import Testing

/// What is left of keys and files that should be gone, and what goes that should stay.
@Suite(.needsRoot, .tags(.attack)) struct VaultRemainsTests {
  /// The wrapped keys in vault.json.
  private static func wrappedKeys(of hash: String) throws -> [String] {
    try readFile("/home/.shadow/\(hash)/vault.json").split(separator: "\n")
      .filter { $0.contains("\"wrapped\"") }
      .compactMap { $0.split(separator: "\"").last(where: { $0.count > 40 }).map(String.init) }
  }

  private static func count(of text: String, _ host: Host) throws -> String {
    try host.script("sync; grep -caF '\(text)' /mnt/disk").lines.joined()
  }

  @Test func oldKeysAreNotLeftOnDisk() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice", "first")
        let added = try host.run(
          lines: "first", "second", arguments: "key", "add", "alice", "--label", "k2")
        #expect(added.status == 0, "\(added)")
        let keys = try Self.wrappedKeys(of: Host.alice)
        #expect(keys.count == 2)
        for key in keys { #expect(try Self.count(of: key, host) != "0", "it is there to be found") }
        try host.succeed("cryptohome", "key", "remove", "alice", "--label", "k2")
        #expect(try Self.count(of: keys[1], host) == "0")
        let passwd = try host.run(lines: "first", "third", arguments: "passwd", "alice")
        #expect(passwd.status == 0, "\(passwd)")
        #expect(try Self.count(of: keys[0], host) == "0")
        let last = try Self.wrappedKeys(of: Host.alice)
        try host.succeed("cryptohome", "remove", "alice", "--yes")
        for key in last { #expect(try Self.count(of: key, host) == "0") }
        // The control: a program that replaces a file and nothing more.
        try writeFile("/home/naive", "control-\(keys[0])")
        _ = try host.script("sync; echo new > /home/naive.new; mv /home/naive.new /home/naive")
        #expect(try Self.count(of: "control-\(keys[0])", host) != "0")
      }
    }
  }

  /// A backup made with hard links keeps its contents.
  @Test func removalLeavesHardLinkedBackups() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.login("alice")
        try writeFile("/home/user/\(Host.alice)/thesis", "years of work")
        try writeFile("/home/user/\(Host.alice)/marked", "kept as well")
        try host.logout("alice")
        let copied = try host.script(
          "mkdir /home/backup && cp -al /home/.shadow/\(Host.alice)/mount/user /home/backup/alice "
            + "&& cp -al /home/.shadow/\(Host.alice)/vault.json /home/backup/ "
            + "&& chattr +i /home/backup/alice/marked")
        #expect(copied.status == 0, "\(copied)")
        let record = try readFile("/home/backup/vault.json")
        try host.succeed("cryptohome", "remove", "alice", "--yes")
        #expect(try names(in: "/home/.shadow").isEmpty)
        #expect(try readFile("/home/backup/alice/thesis") == "years of work")
        #expect(try readFile("/home/backup/alice/marked") == "kept as well")
        #expect(try readFile("/home/backup/vault.json") == record)
        let marks = try host.script("lsattr /home/backup/alice/marked")
        #expect(marks.output.prefix(20).contains("i"), "\(marks)")
        _ = try host.script("chattr -i /home/backup/alice/marked")
      }
    }
  }

  /// With too few descriptors for the work: nothing was destroyed, or it says what is left.
  @Test(arguments: ["plain", "fscrypt"])
  func removalUnderLimitsTellsWhatItDid(kind: String) async {
    await #expect(processExitsWith: .success) { [kind] in
      inEncryptedHost { host in
        try host.boot("alpha")
        var statuses: Set<CInt> = []
        for limit in 4...24 {
          if kind == "fscrypt" {
            _ = try host.createWithKeyFile("alice")
          } else {
            try host.login("alice")
            try host.logout("alice")
          }
          let file = "/home/.shadow/\(Host.alice)/vault.json"
          let record = try readFile(file)
          let limited = try host.script("ulimit -n \(limit); cryptohome remove alice --yes")
          statuses.insert(limited.status)
          switch limited.status {
          case 0: #expect(try names(in: "/home/.shadow").isEmpty, "\(limit): \(limited)")
          case 3:
            let status = try host.succeed("cryptohome", "status", "alice")
            #expect(status.output.contains("removing"), "\(limit): \(status)")
            let again = try host.succeed("cryptohome", "remove", "alice", "--yes")
            #expect(again.lines == ["removed the vault of alice"], "\(again)")
          default:
            #expect(exists(file), "\(limit): \(limited)")
            #expect(try readFile(file) == record, "\(limit): \(limited)")
            if kind == "fscrypt" {
              try host.unlockWithKeyFile("alice")
            } else {
              try host.login("alice")
            }
            try host.logout("alice")
            try host.succeed("cryptohome", "remove", "alice", "--yes")
          }
          #expect(try names(in: "/home/.shadow").isEmpty, "\(limit)")
        }
        #expect(statuses.contains(0) && statuses.count > 1, "\(statuses)")
      }
    }
  }
}
