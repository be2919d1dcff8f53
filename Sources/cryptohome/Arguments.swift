import ArgumentParser
import Cryptohome
import DaemonStore
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram

extension VaultKind: ExpressibleByArgument {}

/// `UID:GID`.
struct OwnerArgument: ExpressibleByArgument {
  let owner: Owner

  init?(argument: String) {
    let ids = argument.utf8.split(
      separator: UInt8(ascii: ":"), omittingEmptySubsequences: false
    ).map { $0.number(as: uid_t.self) }
    // The largest number means "leave it as it is" to chown(2).
    guard ids.count == 2, let user = ids[0], let group = ids[1], user != .max, group != .max,
      argument.utf8.allSatisfy({ (48...58).contains($0) })
    else { return nil }
    owner = Owner(user: user, group: group)
  }
}

/// A size as tmpfs(5) takes it: bytes, or with K, M or G.
struct SizeArgument: ExpressibleByArgument {
  let bytes: UInt64

  init?(argument: String) {
    let digits = argument.utf8.prefix { (48...57).contains($0) }
    let unit = argument.dropFirst(digits.count)
    let shifts = ["": 0, "k": 10, "K": 10, "m": 20, "M": 20, "g": 30, "G": 30]
    guard let shift = shifts[String(unit)], let count = UInt64(Substring(digits)), count > 0,
      count <= UInt64(Int64.max) >> UInt64(shift)
    else { return nil }
    bytes = count << UInt64(shift)
  }
}

/// The user that a command is about.
func user(_ text: String) throws -> ObfuscatedUsername {
  try Username("\(text)").resolve(in: .system)
}

/// For cryptohomed, which may run in a namespace of its own.
struct NamespaceOption: ParsableArguments {
  @Flag(name: .customLong("init-namespace"), help: .hidden)
  var entersInitNamespace = false

  /// Enters the mount namespace of process 1, if that was asked for; else warns when this is another.
  /// Then locks the vaults of users whose sessions have all ended.
  ///
  /// - Returns: whether this is the namespace that the system sees.
  @discardableResult
  func enter(_ verb: String, _ consequence: String) throws -> Bool {
    if entersInitNamespace { try InitNamespace.enter() }
    guard !InitNamespace.warn("cryptohome: \(verb)", consequence) else { return false }
    lockEndedSessions()
    return true
  }
}
