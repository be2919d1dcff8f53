import ArgumentParser
import Cryptohome
import DaemonStore
import DaemonStoreKernel
import DaemonStoreProgram

struct PasswdCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "passwd",
    abstract: "Change a password of a user's vault. Nothing is encrypted anew.",
    discussion: """
      Reads the old password and then the new one, each on a line of its own, or asks for them on \
      a terminal. After a forgotten password, --key-file FILE opens the vault with a recovery key \
      instead, and only the new password is read: it replaces the password of --label, or the first \
      one, or is added where there is none. The key of the file stays.

      Exit status: 0 changed, 1 nothing was changed, 2 usage.
      """)

  @Argument(help: "The user's name or 40-digit hash.")
  var user: String

  @OptionGroup var passwords: PasswordOptions

  @Option(
    help: "The password to be changed; else the first that the old one opens, of the first three.")
  var label: KeyLabel?

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    lockEndedSessions()
    let keys = try VaultKeys(of: Username("\(user)"), in: .system)
    try naming(user) {
      let old = try passwords.credential("Old password for the vault of \(user): ")
      let new = Credential.password(try passwords.newPassword("New password: "))
      let change = try keys.change(label, from: old, to: new)
      Program.say(change.line)
    }
  }
}

extension KeyChange {
  fileprivate var line: String {
    guard let fileLabel else { return "changed the password of the key \(label)" }
    let done = isAdded ? "added a password as the key" : "set a new password for the key"
    return "\(done) \(label); the key \(fileLabel) is as it was"
  }
}

struct KeyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "key",
    abstract: "Add, remove and list the keys of a user's vault: passwords and key files.",
    subcommands: [KeyAddCommand.self, KeyRemoveCommand.self, KeyListCommand.self])
}

struct KeyAddCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "add",
    abstract: "Add a password: for a second person, or to be kept in a safe.",
    discussion: """
      Reads a password that opens the vault, and then the new one. With --raw-key the new key is a file \
      of 32 to 64 random bytes, which mount --key-file opens the vault with.
      """)

  @Argument(help: "The user's name or 40-digit hash.")
  var user: String

  @Option(
    help: "What to call the new key: up to 64 letters, digits, and after the first . _ and -.")
  var label: KeyLabel

  @Option(
    help: ArgumentHelp("Add the key in this file instead of a password.", valueName: "file"),
    completion: .file())
  var rawKey: FilePath?

  @OptionGroup var passwords: PasswordOptions

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    lockEndedSessions()
    let keys = try VaultKeys(of: Username("\(user)"), in: .system)
    try naming(user) {
      let known = try passwords.credential("A password that opens the vault of \(user): ")
      let new =
        if let rawKey {
          try Credential.keyFile(Secret(keyFile: rawKey), at: rawKey)
        } else {
          Credential.password(try passwords.newPassword("New password for the key \(label): "))
        }
      try keys.add(label, knowing: known, new: new)
      Program.say("added the key \(label)")
    }
  }
}

struct KeyRemoveCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove",
    abstract: "Remove a key, but the last one: its password does not open the vault any more.",
    discussion: """
      The key slot is overwritten where the file system writes in place. A copy on the disk can remain \
      in the journal of the file system, on an SSD, and in snapshots and backups.
      """)

  @Argument(help: "The user's name or 40-digit hash.")
  var user: String

  @Option(help: "The key.")
  var label: KeyLabel

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    lockEndedSessions()
    try VaultKeys(of: Username("\(user)"), in: .system).remove(label)
    Program.say("removed the key \(label)")
  }
}

struct KeyListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "List the keys, in the order in which a login tries them.",
    discussion: "A key file is tried on all key files, a password on the first three passwords.")

  @Argument(help: "The user's name or 40-digit hash.")
  var user: String

  @Flag(help: "Print the result as JSON.")
  var json = false

  private struct Key: Encodable {
    struct Scrypt: Encodable {
      let n: Int
      let r: Int
      let p: Int
      /// In bytes.
      let memory: Int
      let weak: Bool
    }
    let label: String
    let type: String
    let version: Int64
    let scrypt: Scrypt?
    /// Seconds since 1970.
    let created: Int64?
    let lastUsed: Int64?

    init(_ key: KeyDescription) {
      label = key.label
      type = key.type
      version = key.version
      scrypt = key.work.map {
        Scrypt(n: $0.n, r: $0.r, p: $0.p, memory: $0.memory, weak: $0.isWeak)
      }
      created = key.created
      lastUsed = key.lastUsed
    }
  }

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    let keys = try VaultKeys(of: Username("\(user)"), in: .system).list()
    if json {
      return try printJSON(keys.map { Key($0) })
    }
    for key in keys { Program.say("\(key.label)  \(key.strength)") }
  }
}

extension KeyDescription {
  /// What a guess costs.
  fileprivate var strength: String {
    guard let work else { return "key file, 256 bits" }
    let text = "scrypt, \(work.memory >> 20) MiB for each guess"
    return work.isWeak || version < 2 ? text + "; made stronger when it is next used" : text
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
