import ArgumentParser
import DaemonStore
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram

struct WaitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "wait",
    abstract: "Wait until a user's folder is mounted in a store, here or in this jail.",
    discussion: """
      Prints the folder's path and ends, at once if it is mounted already. The kernel wakes it; any \
      user may run it, in any mount namespace that has /proc and the store.

      Exit status: 0 it is so, 1 the time is over or it can never be so, 2 usage. With --exec, that \
      of the command; 127 when there is none of that name, 126 when it cannot be run.
      """)

  @Argument(help: "The store.", transform: storeName)
  var store: StoreName

  @Argument(help: "The user's 40-digit hash; or the name, where the salt can be read.")
  var user: String

  @Flag(help: "Wait until it is not mounted.")
  var gone = false

  @Flag(help: "The folder in /run/daemon-store-cache.")
  var cache = false

  @Option(
    help: ArgumentHelp("Give up after so long (5s, 500ms, 2m, 1.5h).", valueName: "time"),
    transform: DurationArgument.init)
  var timeout: DurationArgument?

  @Option(
    name: .customLong("exec"), parsing: .remaining,
    help: ArgumentHelp(
      "Then become this command, with all arguments that follow; DAEMON_STORE_PATH is the path of "
        + "the folder.", valueName: "command"))
  var command: [FilePath] = []

  func validate() throws {
    // The parser takes the option with nothing after it as if it were not there.
    if command.isEmpty, !user.utf8.elementsEqual("--exec".utf8), Program.lastArgument == "--exec" {
      throw ValidationError("--exec is followed by a command, and here by nothing")
    }
  }

  func run() throws {
    // A command is to find the working directory that it was started in.
    if command.isEmpty { try Program.leaveWorkingDirectory() }
    let user = try daemon_store.user(user, of: store)
    let tree: StoreTree = cache ? .cache : .data
    let path = Layout.system.path(of: user, in: store, tree)
    let isSo = try FolderEvents.wait(
      for: user, in: store, tree, gone: gone, timeout: timeout?.duration, .system)
    guard isSo else {
      throw Failure("\(path): \(gone ? "still mounted" : "not mounted") when the time was over")
    }
    if !command.isEmpty {
      do {
        try Program.become(command, setting: [("DAEMON_STORE_PATH", path)])
      } catch {
        Program.complain("daemon-store: wait: \(error)")
        throw Ending(error.code == ENOENT ? .notFound : .notRunnable)
      }
    }
    if !gone { Program.say("\(path)") }
  }
}
