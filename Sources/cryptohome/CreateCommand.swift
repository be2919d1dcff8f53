import ArgumentParser
import Cryptohome
import DaemonStore
import DaemonStoreProgram

struct CreateCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "create",
    abstract: "Make a user's vault: encrypted by the kernel, and locked until the user logs in.",
    discussion: """
      The vault is there as a whole or not at all, whatever happens meanwhile. Its key is random; \
      vault.json beside it holds the key, wrapped with the password. Keep a copy of that file: \
      without it nobody can open the vault again. With --key-file no password is asked for, and the \
      vault opens with that file alone, until key add adds a password.

      With --home, what is in the home directory of the passwd entry is moved to the directory before \
      beside vault.json, where it stays in clear for root, and an empty directory that the user cannot \
      write to takes its place. No process may use the directory meanwhile. An interrupted create \
      --home is finished by the same command.

      Nothing is made while /home is not mounted, though fstab or a mount unit lists it.

      Exit status: 0 made, 1 not made and nothing left behind, 2 usage, 3 made, but perhaps not on the \
      disk.
      """)

  @Argument(help: "The user's name, as at login.")
  var user: String

  @Option(
    help: ArgumentHelp(
      "fscrypt (encrypted, ext4 or f2fs) or plain (a directory that somebody else encrypts, or "
        + "nobody).", valueName: "kind"))
  var vault: VaultKind = .fscrypt

  @OptionGroup var passwords: PasswordOptions

  @Option(
    help: ArgumentHelp(
      "What to call the first key: up to 64 letters, digits, and after the first . _ and -; else "
        + "password, or key-file."))
  var label: KeyLabel?

  @Option(
    help: ArgumentHelp(
      "Whom the files belong to, for a user without a passwd entry.", valueName: "uid:gid"))
  var owner: OwnerArgument?

  @Flag(
    help: ArgumentHelp(
      "Show the user's files over the home directory of the passwd entry too, while logged in."))
  var home = false

  @Flag(help: "Make it although /home is not mounted and should be.")
  var force = false

  func validate() throws {
    if vault == .ephemeral {
      throw ValidationError(
        "an ephemeral vault is made by cryptohome mount --vault ephemeral")
    }
    if home && vault != .fscrypt { throw ValidationError("--home is for --vault fscrypt") }
  }

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    lockEndedSessions()
    guard case .name(let name) = try Username("\(user)") else {
      throw Failure("\(user): is a hash; give the user's name, from which the hash is made")
    }
    let request = VaultRequest(
      name: name, kind: vault, owner: owner?.owner, label: label, coversHome: home, isForced: force)
    let made = try Vaults.create(request, in: .system) {
      try passwords.newCredential("New password for the vault of \(name): ")
    }
    if !made.isNew {
      Program.say("\(name) has the vault \(made.user) already, and its home is prepared now")
    } else {
      Program.say(
        vault == .fscrypt
          ? "made an encrypted vault for \(name) as \(made.user); it is locked"
          : "made a plain vault for \(name) as \(made.user)")
    }
    if let moved = made.moved { try report(moved, "create") }
  }
}
