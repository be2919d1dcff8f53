import ArgumentParser
import Cryptohome
import DaemonStore
import Kernel
import Program

struct PasswdCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "passwd",
    abstract: "Change a password of a user's vault. Nothing is encrypted anew.",
    discussion: """
      Reads the old password and then the new one, each on a line of its own, or asks for them on \
      a terminal.

      Exit status: 0 changed, 1 nothing was changed, 2 usage.
      """)

  @Argument(help: "The user's name or 40-digit hash.")
  var user: String

  @OptionGroup var passwords: PasswordOptions

  @Option(help: "The key that the old password belongs to; else the first that it opens.")
  var label: KeyLabel?

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    settleSessions()
    let hash = try cryptohome.user(user)
    _ = try VaultKeys.list(of: hash, .system)  // before anybody types a password
    try naming(user) {
      let old = try passwords.password("Old password for the vault of \(user): ")
      let new = try passwords.newPassword("New password: ")
      let changed = try VaultKeys.change(of: hash, .system, label: label, from: old, to: new)
      Program.say("changed the password of the key \(changed)")
    }
  }
}

struct KeyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "key",
    abstract: "Add, remove and list the keys of a user's vault: each a password of its own.",
    subcommands: [KeyAddCommand.self, KeyRemoveCommand.self, KeyListCommand.self])
}

struct KeyAddCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "add",
    abstract: "Add a password: for a second person, or to be kept in a safe.",
    discussion: "Reads a password that opens the vault, and then the new one.")

  @Argument(help: "The user's name or 40-digit hash.")
  var user: String

  @Option(
    help: "What to call the new key: up to 64 letters, digits, and after the first . _ and -.")
  var label: KeyLabel

  @OptionGroup var passwords: PasswordOptions

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    settleSessions()
    let hash = try cryptohome.user(user)
    _ = try VaultKeys.list(of: hash, .system)
    try naming(user) {
      let known = try passwords.password("A password that opens the vault of \(user): ")
      let new = try passwords.newPassword("New password for the key \(label): ")
      try VaultKeys.add(label, of: hash, .system, knowing: known, new: new)
      Program.say("added the key \(label)")
    }
  }
}

struct KeyRemoveCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove", abstract: "Remove a key, but the last one: its password opens no more.")

  @Argument(help: "The user's name or 40-digit hash.")
  var user: String

  @Option(help: "The key.")
  var label: KeyLabel

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    settleSessions()
    try VaultKeys.remove(label, of: cryptohome.user(user), .system)
    Program.say("removed the key \(label)")
  }
}

struct KeyListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List the keys, in the order in which a login tries them.")

  @Argument(help: "The user's name or 40-digit hash.")
  var user: String

  @Flag(help: "Print the result as JSON.")
  var json = false

  private struct Key: Encodable {
    let label: String
    /// In bytes.
    let memory: Int
  }

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    let keys = try VaultKeys.list(of: cryptohome.user(user), .system)
    if json {
      return try printJSON(keys.map { Key(label: $0.label, memory: $0.memory) })
    }
    for key in keys {
      Program.say("\(key.label)  scrypt, \(key.memory >> 20) MiB for each guess")
    }
  }
}

/// Names the user in front of an error that does not.
func naming(_ user: String, _ body: () throws -> Void) throws {
  do {
    try body()
  } catch let error as WrongPassword {
    throw Failure("\(user): \(error)")
  }
}
