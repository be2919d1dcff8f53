import ArgumentParser
import DaemonStore
import DaemonStoreKernel
import DaemonStoreProgram

struct WhoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "who",
    abstract: "Say who holds a store, or a user's folder in it, in all mount namespaces.",
    discussion: """
      Working and root directories, running programs, open and mapped files, sockets, and private \
      copies of the mounts. A jail that follows the store holds nothing by that.

      Exit status: 0 printed, 1 failed, 2 usage.
      """)

  @Argument(help: "The store.", transform: storeName)
  var store: StoreName

  @Argument(help: "The user's name or 40-digit hash; the store and all its folders when left out.")
  var user: String?

  @Flag(help: "Print the result as JSON.")
  var json = false

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    let holdings = try Layout.system.holders(
      of: store, user: user.map { try daemon_store.user($0, of: store) }
    )
    .map { HoldingOutput($0) }
    if json {
      try printJSON(holdings)
      return
    }
    if holdings.isEmpty { Program.say("nobody") }
    for holding in holdings {
      Program.say("\(holding.user ?? "the store"): \(holding.what)")
    }
  }
}

/// `daemon-store who --json`: one for each kind of use by one process.
struct HoldingOutput: Encodable {
  /// nil for the store itself.
  let user: String?
  let kind: String
  let path: String?
  let holder: NamespaceOutput?
  let what: String

  init(_ holding: StoreHolding) {
    user = holding.user?.description
    let words = holding.holder.hold.words
    (kind, path) = (words.0, words.1?.jsonText)
    holder = holding.holder.keeper.map { NamespaceOutput($0) }
    let unit = holder?.unit.map { "\($0), " } ?? ""
    what = unit + holding.holder.description
  }
}

extension Holder.Hold {
  /// One word, and the path if it has one.
  fileprivate var words: (String, FilePath?) {
    switch self {
    case .workingDirectory: ("cwd", nil)
    case .root: ("root", nil)
    case .program: ("exe", nil)
    case .openFile(let path): ("file", path)
    case .mapping(let path): ("mapping", path)
    case .socket(let path): ("socket", path)
    case .sentFile(let path): ("sent-file", path)
    case .sentUnseen: ("sent-unseen", nil)
    case .detachedTree(let path): ("detached-tree", path)
    case .mountNamespace(let path): ("private-copy", path)
    case .closedNamespace: ("closed-namespace", nil)
    case .mount(let path, _): ("mount", path)
    case .loopDevice(let path): ("loop-device", path)
    case .watch(let path): ("watch", path)
    case .uninspected: ("uninspected", nil)
    case .hidden: ("hidden", nil)
    case .fugitive: ("fugitive", nil)
    case .unseen: ("unseen", nil)
    }
  }
}
