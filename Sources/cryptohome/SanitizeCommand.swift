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
    if geteuid() == 0, case .name(let name) = try Username("\(user)") {
      print(try ObfuscatedUsername(of: name, salt: .readOrMake(.system)))
      return
    }
    print(try cryptohome.user(user))
  }
}
