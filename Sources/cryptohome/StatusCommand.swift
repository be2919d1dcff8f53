import ArgumentParser
import Cryptohome
import DaemonStore
import DaemonStoreKernel
import DaemonStoreProgram

struct StatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "Say who is mounted, in which stores, and what is missing: from the kernel alone.")

  @Argument(help: "The user's name or 40-digit hash; everybody when left out.")
  var user: String?

  @Flag(help: "Print the result as JSON.")
  var json = false

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    let users =
      try user.map { [try UserStatus.of(cryptohome.user($0), .system)] }
      ?? UserStatus.all(.system)
    if json {
      try printJSON(users.map { StatusOutput($0) })
      return
    }
    if users.isEmpty { Program.say("no user has a vault here") }
    for user in users {
      Program.say(user.line)
      if let problem = user.problem { Program.say("  cannot be opened: \(problem)") }
      for path in user.missing { Program.say("  missing: \(path)") }
      for path in user.remaining { Program.say("  still mounted: \(path)") }
    }
  }
}

extension UserStatus {
  fileprivate var line: String {
    var kind = [vault?.rawValue ?? "no vault", lock?.rawValue].compactMap { $0 }
    if isRemoving { kind = ["removing"] + (vault == nil ? [] : kind) }
    let shown = name.map { "\(user) (\($0))" } ?? "\(user)"
    return "\(shown)  \(kind.joined(separator: ", "))  \(place)"
  }

  private var place: String {
    guard isMounted else { return "not mounted" }
    guard remaining.isEmpty else { return "logout unfinished" }
    let names = stores.isEmpty ? "no store" : stores.map(\.description).joined(separator: " ")
    return "mounted in \(names)"
  }
}

/// `cryptohome status --json`: one for each user.
struct StatusOutput: Encodable {
  let user: String
  /// Of the account that the vault belongs to.
  let name: String?
  let vault: String?
  /// `locked`, `unlocked` or `busy`, of an encrypted vault.
  let lock: String?
  /// A removal of the vault was interrupted.
  let removing: Bool
  let mounted: Bool
  let stores: [String]
  let missing: [String]
  /// While a logout is not finished: what is still mounted.
  let stillMounted: [String]
  /// Why the vault cannot be opened.
  let problem: String?

  init(_ status: UserStatus) {
    user = status.user.description
    vault = status.vault?.rawValue
    lock = status.lock?.rawValue
    removing = status.isRemoving
    mounted = status.isMounted
    stores = status.stores.map(\.description)
    missing = status.missing.map(\.jsonText)
    name = status.name?.jsonText
    stillMounted = status.remaining.map(\.jsonText)
    problem = status.problem
  }
}
