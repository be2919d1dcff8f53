import ArgumentParser
import DaemonStore
import DaemonStoreKernel
import DaemonStoreProgram

struct ShutdownCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "shutdown",
    abstract: "Unmount every user's folders, then the stores.",
    discussion: """
      A jail that follows a store would never see a login again after it, so while one does, \
      nothing is done and it is named.

      Exit status: 0 all is unmounted, 1 nothing was done, 2 usage, 3 all but what is named on \
      standard error is unmounted.
      """)

  @Flag(help: "Go on although jails follow the stores, and cut them off.")
  var force = false

  @Flag(help: "Print the result as JSON.")
  var json = false

  @Option(help: "Work on the system below this directory.", completion: .directory)
  var root: FilePath = "/"

  func run() throws {
    try Program.requireRoot()
    let layout = Layout(root: try Directory(followingLinks: root).path)
    try Program.leaveWorkingDirectory()
    let report = try Shutdown.run(layout, force: force)
    if json { try printJSON(ShutdownOutput(report)) }
    for follower in report.followers {
      Program.complain(
        "daemon-store: shutdown: \(follower) follows a store and would never see a login again; "
          + "stop it first, or use --force")
    }
    if !report.followers.isEmpty { throw Ending(.failed) }
    if !json {
      for copies in report.detachedCopies {
        let count = copies.paths.count
        Program.say(
          "detached \(count) private \(count == 1 ? "copy" : "copies") of users' folders in the "
            + "mount namespace of \(copies.keeper)")
      }
      for removal in report.removals where !removal.isHeld {
        Program.say("unmounted \(removal.path)")
      }
    }
    for line in report.held + report.holders.map({ "still held by \($0)" }) + report.problems {
      Program.complain("daemon-store: shutdown: \(line)")
    }
    if !report.isComplete { throw Ending(.partial) }
  }
}

/// `daemon-store shutdown --json`.
struct ShutdownOutput: Encodable {
  let followers: [String]
  let unmounted: [String]
  /// The mount namespaces whose private copies were detached.
  let detachedCopies: [String]
  let held: [String]
  let holders: [String]
  let problems: [String]

  init(_ report: ShutdownReport) {
    followers = report.followers.map(\.description)
    unmounted = report.removals.filter { !$0.isHeld }.map(\.path.jsonText)
    detachedCopies = report.detachedCopies.map { $0.keeper.description }
    held = report.held
    holders = report.holders.map(\.description)
    problems = report.problems
  }
}
