import DaemonStoreAccounts
import ArgumentParser
import DaemonStore
import DaemonStoreKernel
import DaemonStoreProgram

struct StatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "Say of each store whether it is healthy, who is mounted in it, and who follows it.",
    discussion: "Exit status: 0 printed, 1 failed, 2 usage.")

  @Argument(help: "The store; all when left out.", transform: storeName)
  var store: StoreName?

  @Flag(help: "Print the result as JSON.")
  var json = false

  func run() throws {
    try Program.requireRoot()
    try Program.leaveWorkingDirectory()
    InitNamespace.warn("daemon-store: status", "what is said of the host is said of this one")
    let survey = try StoreSurvey(of: .system)
    let stores = try StatusOutput.all(survey, only: store)
    if json {
      try printJSON(stores)
      return
    }
    for refusal in survey.templates.rejected where store == nil {
      Program.say("\(refusal): no store is made of it")
    }
    if stores.isEmpty { Program.say("no stores") }
    for store in stores { store.say() }
  }
}

extension Template {
  var ownerName: String { Account.name(of: owner).description }
  var groupName: String { Group.name(of: group).description }
}

/// `daemon-store status --json`: one for each store.
struct StatusOutput: Encodable {
  struct TemplateOutput: Encodable {
    let owner: String
    let group: String
    let uid: UInt32
    let gid: UInt32
    let mode: String
  }

  struct Tree: Encodable {
    let path: String
    let mounted: Bool
    let peerGroup: Int?
    let users: [String]
    /// The mount namespaces that receive its logins by a bind of their own.
    let jails: [NamespaceOutput]
  }

  let store: String
  let healthy: Bool
  let problems: [String]
  let template: TemplateOutput?
  let data: Tree
  let cache: Tree

  /// - Throws: ``Failure`` when there is no store of that name.
  static func all(_ survey: StoreSurvey, only: StoreName?) throws -> [StatusOutput] {
    let stores = survey.stores.filter { only == nil || $0.name == only }
    guard let only, stores.isEmpty else {
      return Dictionary(grouping: stores, by: \.name).sorted { $0.key < $1.key }
        .compactMap { StatusOutput($0.value) }
    }
    let refusal = survey.templates.rejected.first {
      ("\($0.path)" as FilePath).dropping(suffix: "/\(only.description)") != nil
    }
    throw Failure(
      refusal.map { "\($0): no store is made of it" }
        ?? "\(only): there is no such store, and no template for it in \(Layout.system.templates)")
  }

  private init?(_ trees: [SurveyedStore]) {
    guard let data = trees.first(where: { $0.tree == .data }) ?? trees.first else { return nil }
    store = data.name.description
    healthy = trees.allSatisfy(\.isHealthy)
    problems = trees.flatMap(\.findings).map { "\($0.subject) \($0.problem)" }
    template = data.template.map {
      TemplateOutput(
        owner: $0.ownerName, group: $0.groupName, uid: $0.owner, gid: $0.group,
        mode: octal($0.permissions))
    }
    self.data = Tree(trees.first { $0.tree == .data }, data.name, .data)
    cache = Tree(trees.first { $0.tree == .cache }, data.name, .cache)
  }

  func say() {
    Program.say("\(store): \(healthy ? "healthy" : "not healthy")")
    for problem in problems { Program.say("  \(problem)") }
    if let template {
      Program.say("  owner and mode  \(template.owner):\(template.group) \(template.mode)")
    }
    let groups = [data, cache].map { $0.peerGroup.map { "\($0)" } ?? "none" }
    Program.say("  peer group      \(groups[0]), of the cache \(groups[1])")
    Program.say(
      "  users           \(data.users.isEmpty ? "nobody" : "\(data.users.count) mounted")")
    for user in data.users { Program.say("    \(user)") }
    Program.say(
      "  jails           \(data.jails.isEmpty ? "none" : "\(data.jails.count) following")")
    for jail in data.jails { Program.say("    \(jail.shown)") }
  }
}

extension StatusOutput.Tree {
  fileprivate init(_ store: SurveyedStore?, _ name: StoreName, _ tree: StoreTree) {
    path = (store?.path ?? Layout.system.path(of: name, in: tree)).jsonText
    mounted = store?.isMounted == true
    peerGroup = store?.peerGroup
    users = store?.users.map(\.description) ?? []
    jails = (store?.views ?? []).filter { $0.isOwnBind && $0.role.receives }
      .map { NamespaceOutput($0.keeper) }
  }
}
