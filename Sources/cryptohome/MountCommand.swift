import ArgumentParser
import Cryptohome
import DaemonStore
import DaemonStoreKernel
import DaemonStoreProgram

struct MountCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "mount",
    abstract: "Open a user's vault and show it: the homes, and a folder in each store.",
    discussion: """
      Mounting twice changes nothing. A vault that is locked takes the user's password. Every running daemon that follows a store sees the user's \
      folder appear in it. Owners and modes that are not as they should be are repaired, and named; \
      the user's own home keeps the mode that its owner gives it.

      Exit status: 0 mounted in all stores, 1 nothing is mounted and nothing left behind, 2 usage, \
      3 mounted, but not in the stores that are named on standard error.
      """)

  @Argument(help: "The user's name, or the 40-digit hash of a user who has a vault.")
  var user: String

  @Option(
    help: ArgumentHelp(
      "Make a vault of this kind if the user has none: plain (a directory, not encrypted) or "
        + "ephemeral (in memory, gone at unmount). cryptohome create makes an encrypted one.",
      valueName: "kind"))
  var vault: VaultKind?

  @Option(
    help: ArgumentHelp("Size of an ephemeral vault: bytes, or with K, M, G.", valueName: "size"))
  var size: SizeArgument?

  @Option(
    help: ArgumentHelp(
      "Whom the files belong to, for a user without a passwd entry.", valueName: "uid:gid"))
  var owner: OwnerArgument?

  @OptionGroup var passwords: PasswordOptions

  @Option(
    help: "The key to be tried; else the first three passwords, or of a --key-file all key files.")
  var label: KeyLabel?

  @Flag(help: "Print the result as JSON.")
  var json = false

  @Flag(name: .customLong("for-session"), help: .hidden)
  var isForSession = false  // cryptohomed: by a session of the user's, and until its end

  @OptionGroup var namespace: NamespaceOption

  func validate() throws {
    if size != nil && vault != .ephemeral {
      throw ValidationError("--size is for --vault ephemeral")
    }
  }

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    let isSystem = try namespace.enter("mount", "the system does not see what is mounted here")
    let request = LoginRequest(
      username: try Username("\(user)"), vault: vault, owner: owner?.owner, size: size?.bytes,
      label: label, requester: namespace.entersInitNamespace ? .session : .root)
    let report = try login(request, isSystem ? (isForSession ? .sessions : .byHand) : nil)
    if json {
      try printJSON(MountOutput(report))
    } else {
      for repair in report.repairs { Program.say("repaired \(repair)") }
      let stores = report.storeCount
      Program.say(
        report.changedNothing
          ? "\(user) is mounted already"
          : "mounted \(user) in \(stores) \(stores == 1 ? "store" : "stores") as \(report.user)")
    }
    for problem in report.problems { Program.complain("cryptohome: mount: \(problem)") }
    if !report.problems.isEmpty { throw Ending(.partial) }
  }

  private func login(_ request: LoginRequest, _ lifetime: MountLifetime?) throws -> LoginReport {
    do {
      return try Login.run(request, in: .system, lifetime: lifetime) {
        try passwords.credential("Password for the vault of \(user): ")
      }
    } catch let error as WrongPassword {
      throw Failure("\(user): \(error); the vault stays locked")
    }
  }
}

extension LoginReport {
  /// The stores that have the user's folder, and whose cache stores have it too.
  fileprivate var storeCount: Int {
    let failed = folders.filter { if case .failed = $0.outcome { true } else { false } }
    return Set(folders.map(\.store)).subtracting(failed.map(\.store)).count
  }
}

/// `cryptohome mount --json`.
struct MountOutput: Encodable {
  struct Folder: Encodable {
    let store: String
    let path: String
    let mounted: Bool
    let problem: String?
  }

  let user: String
  let vault: String
  let changed: Bool
  let folders: [Folder]
  let repaired: [String]
  let problems: [String]

  init(_ report: LoginReport) {
    user = report.user.description
    vault = report.vault.rawValue
    changed = !report.changedNothing
    repaired = report.repairs
    problems = report.problems
    folders = report.folders.map { folder in
      var problem: String?
      if case .failed(let reason) = folder.outcome { problem = reason }
      return Folder(
        store: folder.store.description, path: folder.path.jsonText, mounted: problem == nil,
        problem: problem)
    }
  }
}
