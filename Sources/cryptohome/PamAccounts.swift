import DaemonStoreAccounts
import ArgumentParser
import Cryptohome
import DaemonStore
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram

/// For cryptohomed, which must not wait for a directory service.
struct PamNamesCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "names", abstract: "Print the names of users who are mounted.",
    shouldDisplay: false)

  @Argument(help: "The 40-digit hashes of users.")
  var users: [String]

  func run() throws {
    try PamCommand.begin()
    let salt = try Salt.read(.system)
    let hashes = users.compactMap { ObfuscatedUsername($0) }
    let owners = hashes.map { owner(of: $0) }
    // Modules of the name service run in this process from here on.
    try CapabilitySet().apply()
    for (hash, owner) in zip(hashes, owners) {
      Program.say("\(hash) \(name(of: hash, owner, salt))")
    }
  }

  /// Of the user's home; nil where it is not mounted.
  private func owner(of user: ObfuscatedUsername) -> uid_t? {
    guard let homes = try? Directory(opening: Layout.system.below("home/user")) else { return nil }
    return (try? homes.status(of: user.path))?.owner
  }

  /// That of the account that the home belongs to, if the hash is that name's, else the hash.
  private func name(of user: ObfuscatedUsername, _ owner: uid_t?, _ salt: Salt) -> String {
    guard let owner else { return user.description }
    let name = Account.name(of: owner)
    return (try? Username.name(name).resolve(salt: .known(salt), in: .system)) == user
      ? name.description : user.description
  }
}

/// For cryptohomed, too: whom a caller on the bus may mount.
struct PamAccountCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "account",
    abstract: "Print the number of a group, and the hash of the name of a user.",
    shouldDisplay: false)

  @Option(help: "The group.")
  var group: FilePath

  @Argument(help: "The number of the user.")
  var user: uid_t

  /// `-` for what there is not.
  func run() throws {
    try PamCommand.begin()
    // Where there is no salt, a user without an account is no error.
    let salt = Result { try Salt.read(.system) }
    // Modules of the name service run in this process from here on.
    try CapabilitySet().apply()
    let group = try Group.named(self.group)
    let name = try Account.named(user)
    let hash = try name.map {
      try Username.name($0).resolve(salt: .known(salt.get()), in: .system)
    }
    Program.say(group.map { "\($0)" } ?? "-")
    Program.say(hash?.description ?? "-")
  }
}
