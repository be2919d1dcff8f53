import ArgumentParser
import DaemonStore
import DaemonStoreKernel
import DaemonStoreProgram

struct TreeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tree",
    abstract: "Show how users' folders spread: each store, and each mount namespace that has it.",
    discussion: """
      Of each namespace: its unit or program and the first process in it; whether it follows the \
      store, is a peer of it, or has a copy to which nothing comes; whether it bound the store \
      itself or got it with the mounts around it; and whether every user's folder has arrived. \
      The cache of a store is shown by itself only where it spreads otherwise.

      Exit status: 0 printed, 1 failed, 2 usage.
      """)

  enum Format: String, CaseIterable, ExpressibleByArgument { case text, json, dot, svg }

  @Option(help: "text, json, dot, or svg, which needs Graphviz; text when left out.")
  var format: Format?

  @Flag(help: "The same as --format json.")
  var json = false

  func validate() throws {
    guard !json || format == nil || format == .json else {
      throw ValidationError("--json is one format, and --format names another")
    }
  }

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    InitNamespace.warn("daemon-store: tree", "what is said of the host is said of this one")
    let tree = TreeOutput(try StoreSurvey(of: .system))
    switch json ? .json : format ?? .text {
    case .text: for line in tree.text() { Program.say(line) }
    case .json: try printJSON(tree)
    case .dot: Program.put(tree.dot())
    case .svg: Program.put(try Graphviz.draw(tree.dot()))
    }
  }
}

/// `daemon-store tree`, and its JSON.
struct TreeOutput: Encodable {
  /// Another mount namespace that has a store.
  struct Namespace: Encodable {
    let namespace: NamespaceOutput
    /// `follows`, `peer`, `private-copy`, `bare-directory`, `former-store` or `stray`.
    let role: String
    /// Whether logins arrive.
    let receives: Bool
    /// Whether it bound the store itself.
    let ownBind: Bool
    let path: String
    let arrived: [String]
    let missing: [String]
  }

  struct Store: Encodable {
    let store: String
    let tree: String
    let path: String
    let peerGroup: Int?
    /// `notes:notes 0700`.
    let template: String?
    let healthy: Bool
    let users: [String]
    let namespaces: [Namespace]
  }

  /// Whether this is the mount namespace of pid 1.
  let host: Bool
  let stores: [Store]

  init(_ survey: StoreSurvey) {
    host = InitNamespace.isOther != true
    stores = survey.stores.map { store in
      Store(
        store: store.name.description, tree: store.tree.rawValue, path: store.path.jsonText,
        peerGroup: store.peerGroup, template: store.template?.shown, healthy: store.isHealthy,
        users: store.users.map(\.description),
        namespaces: store.views.map { view in
          Namespace(
            namespace: NamespaceOutput(view.keeper), role: view.role.word,
            receives: view.role.receives, ownBind: view.isOwnBind, path: view.path.jsonText,
            arrived: view.users.map(\.description),
            missing: store.users.filter { !view.users.contains($0) }.map(\.description))
        })
    }
  }

  /// Those that a picture shows: a cache only where it does not spread as the store itself does.
  var shown: [(store: Store, isWithCache: Bool)] {
    stores.compactMap { store in
      let other = stores.first { $0.store == store.store && $0.tree != store.tree }
      let isSame = other.map { store.spreads(as: $0) } ?? false
      return store.tree == "cache" && isSame ? nil : (store, isSame)
    }
  }

  var here: String { host ? "the host" : "this mount namespace" }
}

extension TreeOutput.Store {
  fileprivate func spreads(as other: Self) -> Bool {
    func views(_ store: Self) -> [[String]] {
      [store.users, ["\(store.healthy)"]]
        + store.namespaces.flatMap { [[$0.namespace.shown, $0.relation], $0.arrived] }
    }
    return views(self) == views(other)
  }
}

extension StoreRole {
  fileprivate var word: String {
    switch self {
    case .follows: "follows"
    case .peer: "peer"
    case .privateCopy: "private-copy"
    case .bareDirectory: "bare-directory"
    case .formerStore: "former-store"
    case .stray: "stray"
    }
  }
}

extension TreeOutput.Namespace {
  /// `follows, own bind`.
  var relation: String {
    role.split(separator: "-").joined(separator: " ") + (ownBind ? ", own bind" : ", inherited")
  }
}
