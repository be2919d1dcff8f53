import ArgumentParser
import Cryptohome
import Program

struct SanitizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sanitize",
    abstract: "Print the obfuscated form of a user's name: the directory in a store.")

  @Argument(help: "A user's name, which need not exist; a 40-digit hash is itself.")
  var user: String

  func run() throws {
    print(try cryptohome.user(user))
  }
}
