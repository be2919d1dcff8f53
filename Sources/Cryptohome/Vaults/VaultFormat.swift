import Crypto
import DaemonStore
import FoundationEssentials
import Glibc
import DaemonStoreKernel

/// A member of the file that is not as it should be.
private struct Damage: Error {
  let reason: String
  static let damaged = Damage(reason: "is damaged; restore it from a backup")

  static func unknown(_ what: String) -> Damage {
    Damage(reason: "has \(what), which this version does not know; install a newer one")
  }
}

/// The members of an object: each is taken once, and what is left is not known here.
private struct Members {
  var rest: [[UInt8]: JSON]

  init(_ value: JSON?) throws(Damage) {
    guard case .object(let members) = value else { throw .damaged }
    rest = members
  }

  mutating func take(_ name: String) -> JSON? {
    let value = rest.removeValue(forKey: Array(name.utf8))
    return value == .null ? nil : value
  }

  /// The bytes of a text, which are compared as bytes.
  mutating func text(_ name: String, atMost limit: Int = 4096) throws(Damage) -> [UInt8]? {
    guard let value = take(name) else { return nil }
    guard let bytes = value.text, bytes.count <= limit else { throw .damaged }
    return bytes
  }

  /// A path, or a name of an account.
  mutating func path(_ name: String, atMost limit: Int = 4096) throws(Damage) -> FilePath? {
    guard let bytes = try text(name, atMost: limit) else { return nil }
    guard let path = FilePath(bytes) else { throw .damaged }
    return path
  }

  mutating func number(_ name: String, in range: ClosedRange<Int64>) throws(Damage) -> Int64? {
    guard let value = take(name) else { return nil }
    guard let number = value.number, range.contains(number) else { throw .damaged }
    return number
  }

  mutating func hexadecimal(_ name: String, count: Int) throws(Damage) -> [UInt8] {
    guard let text = try text(name), let bytes = bytes(hexadecimal: text),
      bytes.count == count
    else { throw .damaged }
    return bytes
  }

  mutating func base64(_ name: String, count: ClosedRange<Int>) throws(Damage) -> [UInt8] {
    guard let text = try text(name), let data = Data(base64Encoded: Data(text)),
      count.contains(data.count)
    else { throw .damaged }
    return Array(data)
  }

  /// Refuses a member that must be understood, and is not.
  mutating func requireNothingCritical() throws(Damage) {
    guard let value = take("critical") else { return }
    guard case .array(let names) = value else { throw .damaged }
    for name in names {
      guard let text = name.text else { throw .damaged }
      if rest[text] != nil { throw .unknown("the critical field \(shownBytes(text.prefix(64)))") }
    }
  }
}

extension VaultFile {
  private static let format = "daemon-store vault"
  private static let ids: ClosedRange<Int64> = 0...Int64(uid_t.max) - 1
  private static let seconds: ClosedRange<Int64> = 0...1 << 40

  /// Reads the contents of a file.
  ///
  /// - Parameters:
  ///   - path: what messages call it.
  ///   - directory: the user's, whose name the slots of version 1 are bound to.
  init(_ bytes: [UInt8], path: FilePath, in directory: FilePath) throws {
    do {
      // What a removal has overwritten.
      if !bytes.isEmpty, bytes.allSatisfy({ $0 == 0 }) {
        throw Damage(
          reason: "was overwritten by a removal that did not end; finish it with cryptohome remove")
      }
      self = try Self.parse(bytes, directory)
    } catch let damage as Damage {
      throw Refusal(path: path, reason: damage.reason)
    }
  }

  private static func parse(_ bytes: [UInt8], _ directory: FilePath) throws(Damage) -> VaultFile {
    guard bytes.count <= sizeLimit, let value = try? JSONParser.parse(bytes) else {
      throw .damaged
    }
    var members = try Members(value)
    switch try members.number("version", in: .min ... .max) {
    case 1: return try parseFirst(members, directory)
    case 2: return try parseSecond(members)
    case nil: throw .damaged
    case let version?: throw .unknown("the version \(version)")
    }
  }

  private static func parseFirst(
    _ members: Members, _ directory: FilePath
  ) throws(Damage) -> VaultFile {
    var members = members
    var file = VaultFile(kind: .fscrypt, identity: nil)
    file.policy = try policy(members.take("policy"))
    file.owner = try members.take("owner").map { value throws(Damage) in try owner(value) }
    file.home = try members.path("home")
    let user = directory.components.last.flatMap { ObfuscatedUsername($0) }
    guard case .array(let slots) = members.take("slots") else { throw .damaged }
    for slot in slots.prefix(slotLimit + 1) {
      file.slots.append(try firstSlot(slot, user))
    }
    try file.requireSlots()
    return file
  }

  private static func parseSecond(_ members: Members) throws(Damage) -> VaultFile {
    var members = members
    guard let format = try members.text("format"), format.elementsEqual(Self.format.utf8) else {
      throw .damaged
    }
    guard let name = try members.text("kind") else { throw .damaged }
    let kinds = VaultKind.allCases.filter { $0 != .ephemeral }
    guard let kind = kinds.first(where: { name.elementsEqual($0.rawValue.utf8) }) else {
      throw .unknown("the kind \(shownBytes(name.prefix(64)))")
    }
    var file = VaultFile(kind: kind, identity: nil)
    let id = try members.hexadecimal("id", count: VaultIdentity.idSize)
    let account = try account(members.take("account"))
    var seal: [UInt8]?
    if kind == .fscrypt {
      seal = try members.base64("seal", count: VaultIdentity.sealSize...VaultIdentity.sealSize)
      file.policy = try policy(members.take("policy"))
    }
    file.identity = VaultIdentity(id: id, account: account, seal: seal)
    file.owner = try members.take("owner").map { value throws(Damage) in try owner(value) }
    file.home = try members.path("home")
    file.before = try members.take("before").map { value throws(Damage) in try before(value) }
    if let slots = members.take("slots") {
      guard case .array(let slots) = slots else { throw .damaged }
      for slot in slots.prefix(slotLimit + 1) { file.slots.append(try secondSlot(slot)) }
    }
    try members.requireNothingCritical()
    file.others = members.rest
    if kind == .fscrypt { try file.requireSlots() } else if !file.slots.isEmpty { throw .damaged }
    return file
  }

  private func requireSlots() throws(Damage) {
    let isPlausible =
      (1...Self.slotLimit).contains(slots.count)
      && Set(slots.map(\.label)).count == slots.count && Set(slots.map(\.id)).count == slots.count
    guard isPlausible else { throw .damaged }
  }

  private static func policy(_ value: JSON?) throws(Damage) -> EncryptionPolicy {
    var members = try Members(value)
    guard let text = try members.text("identifier"),
      let bytes = bytes(hexadecimal: text), let key = KeyIdentifier(bytes)
    else { throw .unknown("a policy") }
    guard try members.text("contents")?.equals("AES-256-XTS") == true,
      try members.text("names")?.equals("AES-256-CTS") == true,
      try members.number("padding", in: .min ... .max) == 32
    else { throw .unknown("a policy") }
    return EncryptionPolicy(key: key)
  }

  private static func owner(_ value: JSON) throws(Damage) -> Owner {
    var members = try Members(value)
    guard let user = try members.number("user", in: ids),
      let group = try members.number("group", in: ids)
    else { throw .damaged }
    return Owner(user: uid_t(user), group: gid_t(group))
  }

  private static func before(_ value: JSON) throws(Damage) -> HomeAttributes {
    var members = try Members(value)
    guard let mode = try members.number("mode", in: 0...0o7777) else { throw .damaged }
    return HomeAttributes(owner: try owner(value), mode: mode_t(mode))
  }

  private static func account(_ value: JSON?) throws(Damage) -> VaultAccount {
    var members = try Members(value)
    guard let user = try members.number("uid", in: ids),
      let name = try members.path("name"), VaultAccount.isName(name)
    else { throw .damaged }
    let sealed = try members.path("sealedName")
    guard sealed.map(VaultAccount.isName) ?? true else { throw .damaged }
    try members.requireNothingCritical()
    return VaultAccount(user: uid_t(user), name: name, sealedName: sealed)
  }

  private static func label(_ members: inout Members) throws(Damage) -> KeyLabel {
    guard let text = try members.text("label"), let label = KeyLabel(text) else { throw .damaged }
    return label
  }

  private static func cost(_ value: JSON?) throws(Damage) -> ScryptCost {
    var members = try Members(value)
    let range: ClosedRange<Int64> = 1...1 << 32
    guard let n = try members.number("n", in: range), let r = try members.number("r", in: range),
      let p = try members.number("p", in: range)
    else { throw .damaged }
    let cost = ScryptCost(n: Int(n), r: Int(r), p: Int(p))
    guard cost.isSound else { throw .damaged }
    return cost
  }

  /// A slot of a file of version 1. It gets an identifier that is the same at each reading.
  private static func firstSlot(
    _ value: JSON, _ user: ObfuscatedUsername?
  ) throws(Damage) -> KeySlot {
    guard let user else { throw .damaged }
    var members = try Members(value)
    let label = try label(&members)
    let cost = try cost(members.take("scrypt"))
    let salt = try members.base64("salt", count: 1...1024)
    let wrapped = try members.base64("wrapped", count: 1...1024)
    let id = SHA256.hash(data: salt + Array(label.description.utf8)).prefix(KeySlot.idSize)
    return KeySlot(
      id: Array(id), label: label, method: .password(cost), salt: salt, wrapped: wrapped,
      binding: .user(user))
  }

  private static func secondSlot(_ value: JSON) throws(Damage) -> KeySlot {
    var members = try Members(value)
    let id = try members.hexadecimal("id", count: KeySlot.idSize)
    let label = try label(&members)
    guard let type = try members.text("type") else { throw .damaged }
    let binding: SlotBinding
    switch try members.number("version", in: .min ... .max) {
    case 1:
      guard let user = try members.text("user").flatMap({ ObfuscatedUsername($0) }) else {
        throw .damaged
      }
      binding = .user(user)
    case 2: binding = .vault
    case nil: throw .damaged
    case let version?: throw .unknown("the key \(label) of version \(version)")
    }
    let method: KeyMethod
    if type.equals("password") {
      method = .password(try cost(members.take("scrypt")))
    } else if type.equals("raw") {
      method = .raw
    } else {
      throw .unknown("the key \(label) of the type \(shownBytes(type.prefix(64)))")
    }
    let isBound = binding == .vault
    var slot = KeySlot(
      id: id, label: label, method: method,
      salt: try members.base64("salt", count: isBound ? 32...32 : 1...1024),
      wrapped: try members.base64("wrapped", count: isBound ? 92...92 : 1...1024),
      binding: binding)
    slot.created = try members.number("created", in: seconds)
    slot.lastUsed = try members.number("lastUsed", in: seconds)
    try members.requireNothingCritical()
    slot.others = members.rest
    return slot
  }
}

extension VaultFile {
  /// As version 2 has it, which needs an ``identity``; as version 1 else.
  var encoded: JSON {
    var members = others
    func put(_ name: String, _ value: JSON?) {
      members[Array(name.utf8)] = value
    }
    put("version", .number(identity == nil ? 1 : 2))
    if let identity {
      put("format", .text(Self.format))
      put("kind", .text(kind.rawValue))
      put("id", .text(hexadecimal(identity.id)))
      put("account", identity.account.encoded)
      put("seal", identity.seal.map { .text(Data($0).base64EncodedString()) })
    }
    if let policy {
      put(
        "policy",
        .object([
          Array("identifier".utf8): .text("\(policy.key)"),
          Array("contents".utf8): .text("AES-256-XTS"), Array("names".utf8): .text("AES-256-CTS"),
          Array("padding".utf8): .number(32),
        ]))
    }
    put("owner", owner.map { .object($0.members) })
    put("home", home.map { .text($0) })
    put(
      "before",
      before.map {
        var members = $0.owner.members
        members[Array("mode".utf8)] = .number(Int64($0.mode))
        return .object(members)
      })
    if kind == .fscrypt { put("slots", .array(slots.map { $0.encoded(in: self) })) }
    return .object(members)
  }
}

extension VaultAccount {
  fileprivate var encoded: JSON {
    var members: [[UInt8]: JSON] = [
      Array("uid".utf8): .number(Int64(user)), Array("name".utf8): .text(name),
    ]
    if let sealedName { members[Array("sealedName".utf8)] = .text(sealedName) }
    return .object(members)
  }
}

extension Owner {
  fileprivate var members: [[UInt8]: JSON] {
    [Array("user".utf8): .number(Int64(user)), Array("group".utf8): .number(Int64(group))]
  }
}

extension KeySlot {
  fileprivate func encoded(in file: VaultFile) -> JSON {
    var members = others
    func put(_ name: String, _ value: JSON?) { members[Array(name.utf8)] = value }
    put("label", .text(label.description))
    put("salt", .text(Data(salt).base64EncodedString()))
    put("wrapped", .text(Data(wrapped).base64EncodedString()))
    if case .password(let cost) = method {
      put(
        "scrypt",
        .object([
          Array("n".utf8): .number(Int64(cost.n)), Array("r".utf8): .number(Int64(cost.r)),
          Array("p".utf8): .number(Int64(cost.p)),
        ]))
    }
    guard file.identity != nil else { return .object(members) }
    put("id", .text(hexadecimal(id)))
    put("type", .text(method.name))
    put("version", .number(binding.version))
    if case .user(let user) = binding { put("user", .text(user.description)) }
    put("created", created.map { .number($0) })
    put("lastUsed", lastUsed.map { .number($0) })
    return .object(members)
  }
}
