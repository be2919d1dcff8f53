import ArgumentParser
import Cryptohome
import DaemonStore
import Glibc
import DaemonStoreProgram

struct SanitizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sanitize",
    abstract: "Print the obfuscated form of a user's name: the directory in a store.")

  @Argument(help: "A user's name, which need not exist; a 40-digit hash is itself.")
  var user: String

  func run() throws {
    // Root's makes the salt, where there is none yet.
    let salt = geteuid() == 0 ? SaltSource.makingMissing() : .existing
    print(try Username("\(user)").resolve(salt: salt, in: .system))
  }
}
