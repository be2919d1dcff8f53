import ArgumentParser
import DaemonStore
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram

struct WatchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "watch",
    abstract: "Print a line whenever a user's folder arrives in a store or leaves it.",
    discussion: """
      First come the folders that are there. It goes on until it is interrupted, or until nobody \
      reads it any more. Any user may run it who may list the stores, in any mount namespace.

      Exit status: 0 stopped, 1 failed, 2 usage.
      """)

  @Argument(help: "The store; all when left out.", transform: storeName)
  var store: StoreName?

  @Flag(help: "The folders in /run/daemon-store-cache.")
  var cache = false

  @Flag(help: "Print each line as JSON.")
  var json = false

  func run() throws {
    try Program.leaveWorkingDirectory()
    let stop = try SignalMask.block([SIGINT, SIGTERM])
    var watch = try FolderWatch(store, cache ? .cache : .data, .system)
    var known: Set<StoreName> = []
    while true {
      let changes = try watch.changes()
      for (closed, reason) in watch.closed.sorted(by: { $0.key < $1.key }) {
        if store != nil { throw Failure(reason) }
        if known.insert(closed).inserted { Program.complain("daemon-store: watch: \(reason)") }
      }
      for change in changes {
        if json {
          try printJSONLine(ChangeOutput(change))
        } else {
          Program.say("\(change.event.rawValue) \(change.store) \(change.user)")
        }
      }
      guard Program.flush() else { return }
      // Of standard output only that its reader is gone: an error, which needs no asking for.
      let woken = try watch.next(or: [(stop.descriptor.number, CInt(POLLIN)), (STDOUT_FILENO, 0)])
      if woken.contains(true) { return }
    }
  }
}

/// A line of `daemon-store watch --json`.
struct ChangeOutput: Encodable {
  let event: String
  let store: String
  let user: String
  let path: String

  init(_ change: FolderChange) {
    event = change.event.rawValue
    store = change.store.description
    user = change.user.description
    path = change.path.jsonText
  }
}
