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
    for hash in users.compactMap({ ObfuscatedUsername($0) }) {
      Program.say("\(hash) \(name(of: hash, salt))")
    }
  }

  /// That of the account that the home belongs to, if the hash is that name's, else the hash.
  private func name(of user: ObfuscatedUsername, _ salt: Salt) -> String {
    guard let homes = try? Directory(opening: Layout.system.below("home/user")),
      let home = try? homes.status(of: user.path)
    else { return user.description }
    let name = Account.name(of: home.owner)
    return (try? ObfuscatedUsername(of: name, salt: salt)) == user
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
    let group = try Group.named(self.group)
    let name = try Account.named(user)
    let hash = try name.map { try ObfuscatedUsername(of: $0, salt: .read(.system)) }
    Program.say(group.map { "\($0)" } ?? "-")
    Program.say(hash?.description ?? "-")
  }
}
