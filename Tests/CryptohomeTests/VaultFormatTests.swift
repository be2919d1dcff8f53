import DaemonStore
import DaemonStoreKernel
import Testing

@testable import Cryptohome

/// vault.json as bytes: no text makes the reader do anything else than say what is wrong.
@Suite struct VaultFormatTests {
  private static let directory: FilePath = "/home/.shadow/613ee4f28d2c6498c938ccbfdd85ea414586302a"
  private static let policy = """
    "policy": {"identifier": "00112233445566778899aabbccddeeff",
     "contents": "AES-256-XTS", "names": "AES-256-CTS", "padding": 32}
    """
  private static let first = """
    {"version": 1, \(policy),
     "slots": [{"label": "a", "scrypt": {"n": 32768, "r": 8, "p": 1}, "salt": "AAAA",
                "wrapped": "AAAA"}]}
    """
  private static let second = """
    {"version": 2, "format": "daemon-store vault", "kind": "fscrypt",
     "id": "000102030405060708090a0b0c0d0e0f", "account": {"uid": 1000, "name": "alice"},
     "seal": "\(String(repeating: "A", count: 43))=", \(policy),
     "slots": [{"id": "0f0e0d0c0b0a09080706050403020100", "type": "password", "version": 2,
       "label": "a", "created": 1, "scrypt": {"n": 131072, "r": 8, "p": 1},
       "salt": "\(String(repeating: "A", count: 43))=",
       "wrapped": "\(String(repeating: "A", count: 123))="}], "hint": {"x": [1, true, null]}}
    """

  private static func read(_ text: String) throws -> VaultFile {
    try VaultFile(Array(text.utf8), path: "/v", in: directory)
  }

  private static func reason(_ text: String) -> String {
    do {
      _ = try read(text)
      return ""
    } catch {
      return "\(error)"
    }
  }

  @Test func readsBothVersions() throws {
    let first = try Self.read(Self.first)
    #expect(first.kind == .fscrypt && first.identity == nil && first.slots.count == 1)
    #expect(first.slots[0].binding.version == 1 && first.slots[0].isOutdated)
    let second = try Self.read(Self.second)
    #expect(second.identity?.account == VaultAccount(user: 1000, name: "alice"))
    #expect(second.identity?.id == Array(0..<16))
    #expect(second.slots[0].binding == .vault && !second.slots[0].isOutdated)
    let plain = try Self.read(
      """
      {"version": 2, "format": "daemon-store vault", "kind": "plain",
       "id": "000102030405060708090a0b0c0d0e0f", "account": {"uid": 0, "name": "root"}}
      """)
    #expect(plain.kind == .plain && plain.slots.isEmpty)
  }

  /// Fields that are not known survive a change by this version.
  @Test func writesWhatItReads() throws {
    for text in [Self.first, Self.second] {
      let file = try Self.read(text)
      let again = try VaultFile(file.encoded.bytes, path: "/v", in: Self.directory)
      #expect(again == file)
      #expect(again.encoded.bytes == file.encoded.bytes)
    }
    let written = String(decoding: try Self.read(Self.second).encoded.bytes, as: UTF8.self)
    #expect(written.contains("\"hint\": {"), "\(written)")
  }

  @Test func refusesTheUnknownByName() throws {
    let changes: [(String, String, String)] = [
      ("\"version\": 2, \"f", "\"version\": 3, \"f", "version 3"),
      ("\"fscrypt\"", "\"luks\"", "kind luks"), ("\"password\"", "\"tpm2\"", "type tpm2"),
      ("\"password\", \"version\": 2", "\"password\", \"version\": 7", "key a of version 7"),
      ("\"hint\"", "\"critical\": [\"hint\"], \"hint\"", "critical field hint"),
      ("\"created\"", "\"critical\": [\"pin\"], \"pin\": 1, \"created\"", "critical field pin"),
    ]
    for (old, new, words) in changes {
      let text = Self.second.replacing(old, with: new, maxReplacements: 1)
      #expect(text != Self.second && Self.reason(text).contains(words), "\(Self.reason(text))")
    }
    let known = Self.second.replacing("\"hint\"", with: "\"critical\": [\"slots\"], \"hint\"")
    #expect(throws: Never.self) { try Self.read(known) }
  }

  @Test func refusesDamage() {
    let changes: [(String, String, String)] = [
      (Self.first, "\"version\": 1", "\"version\": 1e999"),
      (Self.first, "\"version\": 1", "\"version\": -1"),
      (Self.first, "32768", "9223372036854775808"), (Self.first, "32768", "3.2768e4001"),
      (Self.first, "32768", "-32768"), (Self.first, "\"p\": 1", "\"p\": 0"),
      (Self.first, "ff\"", "fg\""), (Self.first, "ff\"", "f\""), (Self.first, "ff\"", "FF\""),
      (Self.first, "\"a\"", "\"\""), (Self.first, "\"a\"", "null"),
      (Self.first, "[{", "[],\"x\":[{"), (Self.first, "AAAA", "A*AA"),
      (Self.first, "\"padding\": 32", "\"padding\": 16"), (Self.first, "\"slots\"", "\"slot\""),
      (Self.first, "{\"version\"", String(repeating: "[", count: 100_000)),
      (Self.first, "{\"version\"", String(repeating: "{\"a\":", count: 100_000)),
      (Self.first, "AES", "\u{0}"), (Self.second, "\"uid\": 1000", "\"uid\": -1"),
      (Self.second, "\"uid\": 1000", "\"uid\": 4294967295"),
      (Self.second, "\"uid\": 1000", "\"uid\": \"1000\""),
      (Self.second, "\"alice\"", "\"\""), (Self.second, "\"alice\"", "\"a:b\""),
      (Self.second, "\"alice\"", "\"a\\nb\""), (Self.second, "\"alice\"", "\"a\\u0000\""),
      (Self.second, "\"alice\"", "\"\\ud800\""), (Self.second, "0d0e0f\"", "0d0e\""),
      (Self.second, "\"seal\"", "\"sea\""), (Self.second, "\"seal\": \"A", "\"seal\": \""),
      (Self.second, "\"hint\"", "\"kind\": \"fscrypt\", \"hint\""),
      (Self.second, "\"hint\"", "\"critical\": 1, \"hint\""),
      (Self.second, "\"n\": 131072", "\"n\": 2097152"), (Self.second, "\"p\": 1", "\"p\": 65"),
      (Self.second, "\"n\": 131072, \"r\": 8, \"p\": 1", "\"n\": 1048576, \"r\": 8, \"p\": 5"),
      (Self.second, "\"kind\": \"fscrypt\"", "\"kind\": \"plain\""),
      (Self.second, "\"format\": \"daemon-store vault\", ", ""),
      (Self.second, "null]}}", "null]}}}"),
    ]
    for (text, old, new) in changes {
      let damaged = text.replacing(old, with: new, maxReplacements: 1)
      #expect(damaged != text, "\(old)")
      #expect(throws: Refusal.self, "\(new.prefix(40))") { try Self.read(damaged) }
    }
    for bytes: [UInt8] in [[0xff, 0xfe, 0x00], [], [0], Array(repeating: 0, count: 900)] {
      #expect(throws: Refusal.self) { try VaultFile(bytes, path: "/v", in: Self.directory) }
    }
  }

  /// Every byte of a good file changed, and every cut: a file or one clear refusal, never anything
  /// else.
  @Test func anyBytesAreAFileOrARefusal() {
    for text in [Self.first, Self.second] {
      let good = Array(text.utf8)
      var read = 0
      func attempt(_ bytes: [UInt8]) {
        do {
          _ = try VaultFile(bytes, path: "/v", in: Self.directory)
          read += 1
        } catch {
          #expect(error is Refusal, "\(error)")
        }
      }
      for index in good.indices {
        for byte: UInt8 in [0, 0x22, 0x5c, good[index] ^ 1] {
          var bytes = good
          bytes[index] = byte
          attempt(bytes)
        }
        attempt(Array(good[..<index]))
      }
      #expect(read > 0, "what is no field may change")
    }
  }
}
