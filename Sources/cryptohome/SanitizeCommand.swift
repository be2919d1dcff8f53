import ArgumentParser
import Cryptohome
import DaemonStore
import Program

struct SanitizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sanitize",
    abstract: "Print the obfuscated form of a user's name: the directory in a store.")

  @Argument(help: "A user's name; it need not exist.")
  var user: String

  func run() throws {
    print(try ObfuscatedUsername(of: user, salt: .read(.system)))
  }
}
