import ArgumentParser
import Cryptohome
import DaemonStore
import Glibc
import DaemonStoreProgram

struct RemoveCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove",
    abstract: "Destroy a user's vault and everything in it.",
    discussion: """
      The user must be logged out. On a terminal you are asked; elsewhere say --yes. The key slots are \
      destroyed first. After an interruption the same command finishes the removal. What create --home \
      has moved out of the home directory is moved back.

      Exit status: 0 removed, 1 nothing was destroyed, 2 usage, 3 the vault cannot be opened any \
      more, but what is named on standard error is left of it.
      """)

  @Argument(help: "The user's name or 40-digit hash.")
  var user: String

  @Flag(help: "Do not ask.")
  var yes = false

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    lockEndedSessions()
    let username = try Username("\(user)")
    guard try yes || isConfirmed() else {
      throw Failure("\(user): nothing was removed")
    }
    let report = try Vaults.remove(username, in: .system)
    for note in report.notes { Program.say(note) }
    for problem in report.problems { Program.complain("cryptohome: remove: \(problem)") }
    guard report.problems.isEmpty else { throw Ending(.partial) }
    Program.say("removed the vault of \(user)")
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
