import ArgumentParser
import Cryptohome
import DaemonStore
import Glibc
import Program

struct RemoveCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove",
    abstract: "Destroy a user's vault and everything in it.",
    discussion: """
      The user must be logged out. On a terminal you are asked; elsewhere say --yes.

      Exit status: 0 removed, 1 nothing was done, 2 usage, 3 the vault is gone, but what is named \
      on standard error is left of its files.
      """)

  @Argument(help: "The user's name or 40-digit hash.")
  var user: String

  @Flag(help: "Do not ask.")
  var yes = false

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    settleSessions()
    let hash = try cryptohome.user(user)
    guard try yes || isConfirmed() else {
      throw Failure("\(user): nothing was removed")
    }
    let errors = try Vaults.remove(hash, .system)
    Program.say("removed the vault of \(user)")
    for error in errors { Program.complain("cryptohome: remove: \(error)") }
    if !errors.isEmpty { throw Ending(.partial) }
  }

  private func isConfirmed() throws -> Bool {
    guard isatty(STDIN_FILENO) == 1 else {
      throw Failure("\(user): this destroys all files of the user; say --yes")
    }
    print("Destroy the vault of \(user) and all files in it? Type yes: ", terminator: "")
    fflush(nil)
    return readLine() == "yes"
  }
}
