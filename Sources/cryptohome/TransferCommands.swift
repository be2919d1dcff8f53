import ArgumentParser
import Cryptohome
import DaemonStore
import DaemonStoreKernel
import DaemonStoreProgram

struct RenameCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "rename",
    abstract: "Give the vault of a renamed account the new name.",
    discussion: """
      Run it after usermod -l OLD, while the user is logged out. It takes no password, but for a vault of \
      an older version that was not opened since. With --home the files are shown over the home \
      directory that the account has now. An interrupted rename is finished by the same command.

      Exit status: 0 renamed, 1 nothing was changed, 2 usage, 3 renamed, but perhaps not on the disk.
      """)

  @Argument(help: "The account's former name.")
  var old: String

  @Argument(help: "The account's name now.")
  var new: String

  @OptionGroup var passwords: PasswordOptions

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    lockEndedSessions()
    try naming(old) {
      let place = try VaultTransfer.rename("\(old)", to: "\(new)", in: .system) {
        try passwords.credential("Password for the vault of \(old): ")
      }
      Program.say("the vault of \(old) belongs to \(new) now, as \(place)")
    }
  }
}

struct AdoptCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "adopt",
    abstract: "Give a vault to the account that has its name now, with another uid.",
    discussion: """
      For an account that was deleted and made again, or whose uid was changed, when the person is the \
      same. It takes a password of an encrypted vault, as the uid is sealed with the vault's key. The \
      files in the vault keep their owner.

      Exit status: 0 given, 1 nothing was changed, 2 usage, 3 given, but perhaps not on the disk.
      """)

  @Argument(help: "The user's name.")
  var user: String

  @OptionGroup var passwords: PasswordOptions

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    lockEndedSessions()
    try naming(user) {
      let adopted = try VaultTransfer.adopt("\(user)", in: .system) {
        try passwords.credential("Password for the vault of \(user): ")
      }
      Program.say("the vault belongs to \(user) now")
      if let former = adopted.former {
        let name = adopted.name
        Program.say(
          "files in it may still belong to the uid \(former); when it is mounted, give them to \(name) "
            + "with: find \(adopted.home) -uid \(former) -exec chown -h \(name): {} +")
      }
    }
  }
}

struct RepairHomeCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "repair-home",
    abstract: "Move what lies in clear below the home of an encrypted vault away.",
    discussion: """
      For a vault that was made with --home: what is in the home directory of the passwd entry while the \
      vault is locked is moved to the directory before beside vault.json, and an empty directory that \
      the user cannot write to takes its place.

      Exit status: 0 nothing lies there in clear any more, 1 nothing was changed, 2 usage, 3 moved, but \
      the processes named on standard error could go on writing in clear.
      """)

  @Argument(help: "The user's name or 40-digit hash.")
  var user: String

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    lockEndedSessions()
    guard let moved = try Vaults.repairHome(Username("\(user)"), in: .system) else {
      Program.say("\(user): nothing lies in clear below the vault's home")
      return
    }
    try report(moved, "repair-home")
  }
}

/// What became of the files in a home directory.
func report(_ moved: MovedHome, _ command: String) throws {
  Program.say("\(moved)")
  for problem in moved.problems { Program.complain("cryptohome: \(command): \(problem)") }
  if !moved.problems.isEmpty { throw Ending(.partial) }
}
