import ArgumentParser
import Cryptohome
import DaemonStore
import DaemonStoreKernel
import DaemonStoreProgram

struct UnmountCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "unmount",
    abstract: "Take a user's mounts away, here and in every jail, and tell whether all is gone.",
    discussion: """
      What is free is removed, what is in use stays and is named with those who use it; run it \
      again when they are gone. Status 0 means that no mount namespace shows the user's data and \
      no process uses any of it.

      Exit status: 0 all is gone, 1 nothing was done, 2 usage, 3 all but what is named on standard \
      error is gone.
      """)

  @Argument(help: "The user's name or 40-digit hash.")
  var user: String?

  @Flag(help: "Every user who is mounted.")
  var all = false

  @Option(
    help: ArgumentHelp(
      "Try again for so long (5s, 500ms, 2m) while it is in use, or while another command works "
        + "on the user.", valueName: "time"), transform: DurationArgument.init)
  var wait: DurationArgument?

  @Flag(
    help: ArgumentHelp(
      "Detach what is in use: out of sight, but alive until its last user lets go. What others "
        + "have mounted on it goes with it, and is named."))
  var force = false

  @Flag(help: "Print the result as JSON.")
  var json = false

  @OptionGroup var namespace: NamespaceOption

  func validate() throws {
    guard (user != nil) != all else {
      throw ValidationError("Name one user, or give --all")
    }
  }

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    try namespace.enter(
      "unmount", "the system's own mounts of the user are detached and not unmounted")
    for error in Configuration(of: .system).errors {
      Program.complain("cryptohome: unmount: warning: \(error)")
    }
    var reports: [LogoutReport] = []
    var outputs: [UnmountOutput] = []
    let users = try users()
    var failures = 0
    for (name, user) in users {
      let report: LogoutReport
      do {
        report = try announced(user, .system) {
          try Logout.run(user, in: .system, lazily: force, timeout: wait?.duration)
        }
      } catch  where all {
        Program.complain("cryptohome: unmount: \(name): \(error)")
        outputs.append(UnmountOutput(user, failed: "\(error)"))
        failures += 1
        continue
      }
      reports.append(report)
      outputs.append(UnmountOutput(report))
      if !json { printText(report, name: name) }
      for line in report.complaints {
        Program.complain("cryptohome: unmount: \(name): \(line)")
      }
    }
    if json { try printJSON(outputs) }
    if failures > 0 || !reports.allSatisfy(\.isComplete) { throw Ending(.partial) }
  }

  private func users() throws -> [(name: String, user: ObfuscatedUsername)] {
    guard let user else {
      return try UserStatus.all(.system).filter {
        $0.isMounted || $0.vault == .ephemeral || ($0.lock ?? .locked) != .locked
      }
      .map { ($0.user.description, $0.user) }
    }
    return [(user, try cryptohome.user(user))]
  }

  private func printText(_ report: LogoutReport, name: String) {
    for copies in report.detachedCopies {
      let count = copies.paths.count
      Program.say(
        "detached \(count) private \(count == 1 ? "copy" : "copies") of \(name)'s mounts in the "
          + "mount namespace of \(copies.keeper)")
    }
    for process in report.ended { Program.say("ended \(process), which held files of \(name)") }
    for pin in report.pins {
      let line = pin.description(isEmpty: report.unemptied.isEmpty)
      Program.complain("cryptohome: unmount: \(name): warning: \(line)")
    }
    guard report.isComplete else { return }
    let locked = report.lock == .locked ? ", and the vault is locked" : ""
    Program.say((report.wasMounted ? "unmounted \(name)" : "\(name) is not mounted") + locked)
  }
}

extension LogoutReport {
  /// What is wrong with the key, where nobody is to blame who is named anyway.
  private var keys: [String] {
    if let lockProblem { return ["the vault's key: \(lockProblem)"] }
    return switch lock {
    case .unlocked: ["the vault's key is still there: somebody else logged the user in meanwhile"]
    case .busy where holders.isEmpty: ["locked, but still open where it is mounted"]
    default: []
    }
  }

  /// The directories that could not be emptied, each in one line, and the number of those beyond 16.
  private var unemptiedLines: [String] {
    let lines = unemptied.prefix(16).map {
      "directory \($0) of the vault: other users keep it, and it could not be emptied; end their "
        + "processes and run cryptohome unmount again"
    }
    return unemptied.count > 16 ? lines + ["and \(unemptied.count - 16) more directories"] : lines
  }

  /// What is not gone, each in one line.
  var complaints: [String] {
    let stuck = removals.compactMap { removal -> String? in
      switch removal.outcome {
      case .removed: nil
      case .detached: "\(removal.path): detached"
      case .busy(let reason), .failed(let reason): reason
      }
    }
    let isDetached = removals.contains { $0.outcome == .detached }
    let along = detachedAlong.map { "\($0) was detached with the user's mounts" }
    let words = (isDetached ? "detached, " : "") + "still held by"
    let verdict = lock == .busy ? "locked, but still open in" : words
    let held = holders.map { $0.isUninspected ? "\($0)" : "\(verdict) \($0)" }
    return stuck + problems + unemptiedLines + along + held + keys
  }
}

/// `cryptohome unmount --json`: one for each user.
struct UnmountOutput: Encodable {
  let user: String
  let complete: Bool
  /// `locked`, `unlocked` or `busy`, of an encrypted vault.
  let lock: String?
  let unmounted: [String]
  let detached: [String]
  let held: [String]
  let detachedCopies: [CopiesOutput]
  /// What others had mounted upon the user's mounts, and went with them.
  let detachedAlong: [String]
  let holders: [HolderOutput]
  /// What other users keep of the user's directories, which are empty.
  let pins: [String]
  /// The directories below the vault that other users keep and that could not be emptied.
  let unemptied: [String]
  /// The processes that were ended because they held files.
  let ended: [String]
  /// What has failed beside that, or why nothing was done for this user.
  let problem: String?

  init(_ user: ObfuscatedUsername, failed problem: String) {
    self.user = user.description
    complete = false
    lock = nil
    unmounted = []
    detached = []
    held = []
    detachedCopies = []
    detachedAlong = []
    holders = []
    pins = []
    unemptied = []
    ended = []
    self.problem = problem
  }

  init(_ report: LogoutReport) {
    user = report.user.description
    complete = report.isComplete
    lock = report.lock?.rawValue
    unmounted = report.removals.filter { $0.outcome == .removed }.map(\.path.jsonText)
    detached = report.removals.filter { $0.outcome == .detached }.map(\.path.jsonText)
    held = report.removals.filter(\.isHeld).map(\.path.jsonText)
    detachedCopies = report.detachedCopies.map {
      CopiesOutput(keeper: $0.keeper.description, paths: $0.paths.map(\.jsonText))
    }
    detachedAlong = report.detachedAlong.map(\.description)
    holders = report.holders.map { HolderOutput($0) }
    pins = report.pins.map(\.description)
    unemptied = report.unemptied.map(\.description)
    ended = report.ended.map(\.description)
    let problems = report.problems + [report.lockProblem].compactMap { $0 }
    problem = problems.isEmpty ? nil : problems.joined(separator: "; ")
  }
}

struct CopiesOutput: Encodable {
  let keeper: String
  let paths: [String]
}

struct HolderOutput: Encodable {
  let pid: Int32?
  let program: String?
  let what: String

  init(_ holder: Holder) {
    if case .process(let process) = holder.keeper {
      pid = process.pid
      program = process.program
    } else {
      pid = nil
      program = nil
    }
    what = holder.description
  }
}
