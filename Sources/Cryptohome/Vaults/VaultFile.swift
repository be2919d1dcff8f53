import DaemonStore
import FoundationEssentials
import Glibc
import Kernel

/// `/home/.shadow/H/vault.json`: how the vault beside it is encrypted, and the slots that its key
/// lies in. It appears and changes as a whole, and is on the disk when the call returns.
struct VaultFile: Equatable {
  static let name = "vault.json"
  static let slotLimit = 32
  private static let sizeLimit = 1 << 20

  var policy: EncryptionPolicy
  /// Of the files of a user without a passwd entry.
  var owner: Owner?
  /// The passwd home directory, if `mount/user` is to be shown over it.
  var home: String?
  var slots: [KeySlot]

  /// What is in the file.
  private struct Record: Codable {
    struct Policy: Codable, Equatable {
      var identifier: String
      var contents = "AES-256-XTS"
      var names = "AES-256-CTS"
      var padding = 32
    }
    struct Ids: Codable {
      var user: UInt32
      var group: UInt32
    }
    var version = 1
    var policy: Policy
    var owner: Ids?
    var home: String?
    var slots: [KeySlot]
  }

  init(policy: EncryptionPolicy, owner: Owner?, home: String?, slots: [KeySlot]) {
    self.policy = policy
    self.owner = owner
    self.home = home
    self.slots = slots
  }

  /// Reads the one in a user's directory; nil when there is none.
  ///
  /// - Throws: ``Refusal`` for what is no such file of this version.
  static func read(in directory: borrowing Directory) throws -> VaultFile? {
    guard let status = try directory.status(of: name) else { return nil }
    let path = directory.path(of: name)
    guard status.mode & S_IFMT == S_IFREG else {
      throw Refusal(path: path, reason: "is \(status.kind), not a vault's file")
    }
    let file = try directory.file(name, flags: O_RDONLY | O_NONBLOCK)
    guard let bytes = try file.read(atMost: sizeLimit, shown: path) else {
      throw Refusal(path: path, reason: "is larger than 1 MiB, so it is no vault's file")
    }
    return try VaultFile(bytes, path: path)
  }

  init(_ bytes: [UInt8], path: String) throws {
    struct Version: Codable { var version: Int }
    let damaged = "is damaged; restore it from a backup"
    guard let version = try? JSONDecoder().decode(Version.self, from: Data(bytes)).version else {
      throw Refusal(path: path, reason: damaged)
    }
    guard version == 1 else {
      throw Refusal(
        path: path, reason: "is of version \(version), which this version cannot open")
    }
    guard let record = try? JSONDecoder().decode(Record.self, from: Data(bytes)) else {
      throw Refusal(path: path, reason: damaged)
    }
    guard let identifier = KeyIdentifier(hexadecimal: record.policy.identifier),
      record.policy == Record.Policy(identifier: "\(identifier)")
    else { throw Refusal(path: path, reason: "names a policy that this version does not know") }
    let labels = record.slots.map(\.label)
    guard (1...Self.slotLimit).contains(labels.count), Set(labels).count == labels.count,
      record.slots.allSatisfy({ KeyLabel($0.label) != nil && $0.scrypt.isSound })
    else { throw Refusal(path: path, reason: damaged) }
    policy = EncryptionPolicy(key: identifier)
    owner = record.owner.map { Owner(user: $0.user, group: $0.group) }
    home = record.home
    slots = record.slots
  }

  private var bytes: [UInt8] {
    get throws {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
      let record = Record(
        policy: .init(identifier: "\(policy.key)"),
        owner: owner.map { .init(user: $0.user, group: $0.group) }, home: home, slots: slots)
      return Array(try encoder.encode(record)) + [UInt8(ascii: "\n")]
    }
  }

  /// Puts it into a user's directory, in the place of the one that is there: root 0600, whole or
  /// not at all.
  func write(in directory: borrowing Directory) throws {
    try directory.replaceFile(Self.name, with: try bytes, mode: 0o600)
  }
}

extension KeyIdentifier {
  /// nil unless it is as ``description`` writes it.
  init?(hexadecimal text: String) {
    guard text.utf8.count == 2 * Self.size else { return nil }
    let digits = text.utf8.compactMap { digit -> UInt8? in
      switch digit {
      case 48...57: digit - 48
      case 97...102: digit - 87
      default: nil
      }
    }
    guard digits.count == 2 * Self.size else { return nil }
    self.init(stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] })
  }
}
