import DaemonStore
import FoundationEssentials
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

@testable import Cryptohome

@Suite struct KeySlotTests {
  private static let alice = "613ee4f28d2c6498c938ccbfdd85ea414586302a"
  private static let bob = "d09e6ca23c64d738ac3a6de2615bf8b654346632"

  /// RFC 7914, section 12: the first half of the second vector.
  @Test func scryptIsThatOfTheStandard() throws {
    let cost = ScryptCost(n: 1024, r: 8, p: 16)
    let key = try cost.derive(
      from: Secret(copying: Array("password".utf8)), salt: Data("NaCl".utf8))
    let hex = key.withUnsafeBytes { bytes in
      bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }
    #expect(hex == "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162")
  }

  @Test func opensForItsVaultTypeAndLabelOnly() throws {
    let key = try Secret(randomBytes: 64)
    let name = key.identifier()
    let policy = try #require(name)
    let vault = VaultIdentifiers(id: randomBytes(16), policy: policy)
    let secret = Secret(copying: Array("0123456789abcdef0123456789abcdef".utf8))
    let slot = try KeySlot(wrapping: key, under: secret, .raw, label: .first, in: vault)

    func opens(_ slot: KeySlot, _ vault: VaultIdentifiers, key text: String? = nil) throws -> Bool {
      let bytes = Array((text ?? "0123456789abcdef0123456789abcdef").utf8)
      guard let opened = try slot.open(with: Secret(copying: bytes), in: vault) else {
        return false
      }
      let isTheKey = opened.equals(key)
      #expect(isTheKey)
      return true
    }
    #expect(try opens(slot, vault))
    #expect(try !opens(slot, vault, key: "0123456789abcdef0123456789abcdeg"))
    var other = vault
    other.id = randomBytes(16)
    #expect(try !opens(slot, other), "another vault")
    let changes: [(inout KeySlot) -> Void] = [
      { $0.label = KeyLabel("other") ?? .first }, { $0.id = randomBytes(16) },
      { $0.salt[0] ^= 1 }, { $0.wrapped[0] ^= 1 }, { $0.wrapped[40] ^= 1 },
      { $0.wrapped[91] ^= 1 }, { $0.wrapped = [1, 2, 3] },
    ]
    for change in changes {
      var changed = slot
      change(&changed)
      #expect(try !opens(changed, vault))
    }
    let again = try KeySlot(wrapping: key, under: secret, .raw, label: .first, in: vault)
    #expect(again.salt != slot.salt && again.wrapped != slot.wrapped && again.id != slot.id)
  }

  /// A slot of version 1 is bound to the user's hash, and a password to its slot.
  @Test func slotOfTheFirstVersionOpensForItsUserOnly() throws {
    let user = try #require(ObfuscatedUsername(Self.alice))
    let other = try #require(ObfuscatedUsername(Self.bob))
    let key = try Secret(randomBytes: 64)
    let name = key.identifier()
    let policy = try #require(name)
    let vault = VaultIdentifiers(id: nil, policy: policy)
    let password = Secret(copying: Array("secret".utf8))
    let cost = ScryptCost(n: 1 << 15, r: 8, p: 1)
    let slot = try KeySlot(
      wrapping: key, under: password, .password(cost), label: .first, in: vault, .user(user))
    #expect(slot.isOutdated)
    let isOpen = try slot.open(with: password, in: vault) != nil
    var moved = slot
    moved.binding = .user(other)
    let opensElsewhere = try moved.open(with: password, in: vault) != nil
    #expect(isOpen && !opensElsewhere)
  }

  @Test func costMeetsTheFloorOfTheMachine() throws {
    let floors: [(Int, Int, Int)] = [
      (64 << 30, 1 << 17, 1), (1 << 30, 1 << 17, 1), ((1 << 30) - 1, 1 << 16, 2),
      (512 << 20, 1 << 16, 2), (256 << 20, 1 << 15, 3), (1 << 20, 1 << 15, 3), (0, 1 << 15, 3),
    ]
    for (memory, n, p) in floors {
      #expect(ScryptCost.floor(memory: memory) == ScryptCost(n: n, r: 8, p: p), "\(memory)")
    }
    for floor in ScryptCost.floors { #expect(!floor.isWeak && floor.isSound) }
    for (n, p): (Int, Int) in [(1 << 15, 1), (1 << 15, 2), (1 << 16, 1)] {
      #expect(ScryptCost(n: n, r: 8, p: p).isWeak, "\(n) \(p)")
    }
  }

  /// However busy the machine is: the time is that of the thread.
  @Test func loadMakesNoSlotWeaker() throws {
    let count = Int(sysconf(CInt(_SC_NPROCESSORS_ONLN)))
    let helpers = Helpers()
    defer { helpers.stopAll() }
    for _ in 0..<count {
      _ = try helpers.start("sh", "-c", "echo ready; while :; do :; done")
    }
    let cost = try ScryptCost.calibrated()
    #expect(cost.isSound && !cost.isWeak, "\(cost)")
    #expect(cost.n >= 1 << 17 || cost.p >= 2)
  }

  @Test func costIsBounded() throws {
    let costs: [(Int, Int, Int)] = [
      (0, 8, 1), (-1, 8, 1), (.min, 8, 1), (1 << 14, 8, 1), (40_000, 8, 1), (1 << 21, 8, 1),
      (1 << 15, 7, 1), (1 << 15, 33, 1), (1 << 15, 8, 0), (1 << 15, 8, 65), (.max, .max, .max),
      (1 << 20, 9, 1), (1 << 20, 8, 5), (1 << 19, 16, 5),
    ]
    for (n, r, p) in costs {
      #expect(!ScryptCost(n: n, r: r, p: p).isSound, "\(n) \(r) \(p)")
      let password = Secret(copying: [1])
      #expect(throws: Refusal.self) {
        try ScryptCost(n: n, r: r, p: p).key(from: password, salt: Data([1]))
      }
    }
    #expect(ScryptCost(n: 1 << 20, r: 8, p: 4).isSound)
  }

  @Test func labelsAreNames() {
    for text in ["a", "A1", "0", "a.b-c_d", String(repeating: "x", count: 64)] {
      #expect(KeyLabel(text)?.description == text)
    }
    for text in ["", ".a", "-a", "a b", "a/b", "ä", "a\n", String(repeating: "x", count: 65)] {
      #expect(KeyLabel(text) == nil, "\(text)")
    }
  }
}
