import DaemonStore
import FoundationEssentials
import Kernel
import Testing

@testable import Cryptohome

@Suite struct KeySlotTests {
  private static let alice = "613ee4f28d2c6498c938ccbfdd85ea414586302a"
  private static let bob = "d09e6ca23c64d738ac3a6de2615bf8b654346632"

  /// RFC 7914, section 12: the first half of the second vector.
  @Test func scryptIsThatOfTheStandard() throws {
    let cost = ScryptCost(n: 1024, r: 8, p: 16)
    let key = try cost.key(
      from: Secret(copying: Array("password".utf8)), salt: Data("NaCl".utf8))
    let hex = key.withUnsafeBytes { bytes in
      bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }
    #expect(hex == "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162")
  }

  @Test func opensForItsUserLabelAndVaultOnly() throws {
    let user = try #require(ObfuscatedUsername(Self.alice))
    let other = try #require(ObfuscatedUsername(Self.bob))
    let key = try Secret(randomBytes: 64)
    let name = key.identifier()
    let identifier = try #require(name)
    let password = Secret(copying: Array("secret".utf8))
    let slot = try KeySlot(
      wrapping: key, under: password, label: .first, of: user, identifier, cost: .least)

    func opens(
      _ slot: KeySlot, _ user: ObfuscatedUsername, _ identifier: KeyIdentifier,
      password: String = "secret"
    ) throws -> Bool {
      let password = Secret(copying: Array(password.utf8))
      guard let opened = try slot.open(with: password, of: user, identifier) else { return false }
      let isTheKey = opened.equals(key)
      #expect(isTheKey)
      return true
    }
    #expect(try opens(slot, user, identifier))
    #expect(try !opens(slot, user, identifier, password: "Secret"))
    #expect(try !opens(slot, other, identifier))
    let elsewhere = try #require(KeyIdentifier([UInt8](repeating: 7, count: 16)))
    #expect(try !opens(slot, user, elsewhere))
    var renamed = slot
    renamed.label = "other"
    #expect(try !opens(renamed, user, identifier))
    for index in [0, slot.wrapped.count / 2, slot.wrapped.count - 1] {
      var damaged = slot
      damaged.wrapped[damaged.wrapped.startIndex + index] ^= 1
      #expect(try !opens(damaged, user, identifier))
    }
    var short = slot
    short.wrapped = Data([1, 2, 3])
    #expect(try !opens(short, user, identifier))

    let again = try KeySlot(
      wrapping: key, under: password, label: .first, of: user, identifier, cost: .least)
    #expect(again.salt != slot.salt && again.wrapped != slot.wrapped)
  }

  @Test func costIsNeverWeak() throws {
    let made = try ScryptCost.calibrated()
    #expect(made.isSound && made.n >= 1 << 15 && made.r == 8 && made.p >= 1)
    #expect(128 * made.n * made.r <= 64 << 20)
    for (n, r, p) in [
      (0, 8, 1), (-1, 8, 1), (.min, 8, 1), (1 << 14, 8, 1), (40_000, 8, 1), (1 << 21, 8, 1),
      (1 << 15, 7, 1), (1 << 15, 33, 1), (1 << 15, 8, 0), (1 << 15, 8, 65), (.max, .max, .max),
    ] {
      #expect(!ScryptCost(n: n, r: r, p: p).isSound, "\(n) \(r) \(p)")
    }
  }

  @Test func labelsAreNames() {
    for text in ["a", "A1", "0", "a.b-c_d", String(repeating: "x", count: 64)] {
      #expect(KeyLabel(text)?.description == text)
    }
    for text in ["", ".a", "-a", "a b", "a/b", "ä", "a\n", String(repeating: "x", count: 65)] {
      #expect(KeyLabel(text) == nil, "\(text)")
    }
  }

  /// No text makes it do anything else than say what is wrong.
  @Test func hostileFilesAreRefused() {
    let good = """
      {"version": 1, "policy": {"identifier": "00112233445566778899aabbccddeeff",
       "contents": "AES-256-XTS", "names": "AES-256-CTS", "padding": 32},
       "slots": [{"label": "a", "scrypt": {"n": 32768, "r": 8, "p": 1}, "salt": "AAAA",
                  "wrapped": "AAAA"}]}
      """
    #expect(throws: Never.self) { try VaultFile(Array(good.utf8), path: "/v") }
    for (old, new) in [
      ("\"version\": 1", "\"version\": 1e999"), ("\"version\": 1", "\"version\": -1"),
      ("32768", "9223372036854775808"), ("32768", "3.2768e4001"), ("32768", "-32768"),
      ("\"p\": 1", "\"p\": 0"), ("ff\"", "fg\""), ("ff\"", "f\""), ("ff\"", "FF\""),
      ("\"a\"", "\"\""), ("\"a\"", "null"), ("[{", "[],\"x\":[{"), ("AAAA", "A*AA"),
      ("\"padding\": 32", "\"padding\": 16"), ("\"slots\"", "\"slot\""),
      ("{\"version\"", String(repeating: "[", count: 100_000)),
      ("{\"version\"", String(repeating: "{\"a\":", count: 100_000)), ("AES", "\u{0}"),
    ] {
      let text = good.replacing(old, with: new, maxReplacements: 1)
      #expect(text != good, "\(old)")
      #expect(throws: Refusal.self, "\(new.prefix(40))") {
        try VaultFile(Array(text.utf8), path: "/v")
      }
    }
    #expect(throws: Refusal.self) { try VaultFile([0xff, 0xfe, 0x00], path: "/v") }
    #expect(throws: Refusal.self) { try VaultFile([], path: "/v") }
  }
}
