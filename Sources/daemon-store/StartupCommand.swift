import ArgumentParser
import Cryptohome
import DaemonStore
import DaemonStoreKernel
import DaemonStoreProgram

struct StartupCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "startup",
    abstract: "Turn each template into a shared mount.",
    discussion: """
      For every directory D of /etc/daemon-store, /run/daemon-store/D and \
      /run/daemon-store-cache/D become mounts that jails can follow. Run it at boot, and again \
      whenever a template was added or removed: what is in order stays as it is, and jails that \
      run go on following.

      Exit status: 0 all stores are ready, 1 nothing was done, 2 usage, 3 all but those named on \
      standard error are ready.
      """)

  @Flag(help: "Print what would be done, and do nothing.")
  var dryRun = false

  @Flag(help: "Print the result as JSON.")
  var json = false

  @Option(
    help: "Work on the system below this directory: an image, or a test.", completion: .directory)
  var root: FilePath = "/"

  func run() throws {
    if !dryRun { try Program.requireRoot() }
    let layout = Layout(root: try Directory(followingLinks: root).path)
    try Program.leaveWorkingDirectory()
    let templates = try Templates.read(layout)
    let report = try Startup.run(layout, templates: templates, dryRun: dryRun)
    let problems = report.problems
    if json {
      try printJSON(StartupOutput(report, problems: problems, isDryRun: dryRun))
    } else {
      printText(report, layout)
    }
    for problem in problems { Program.complain("daemon-store: startup: \(problem)") }
    if !problems.isEmpty { throw Ending(.partial) }
  }

  private func printText(_ report: StartupReport, _ layout: Layout) {
    if report.hasNoTemplates { Program.say("no stores: \(layout.templates) is missing") }
    for entry in report.entries where entry.problem == nil {
      guard let verb = entry.step.verb else { continue }
      Program.say(
        (dryRun ? "would \(verb.plain)" : verb.done) + " \(entry.path)\(entry.step.detail)")
    }
    guard !dryRun, !report.hasNoTemplates else { return }
    let ready = Set(report.entries.filter { $0.isReady }.map(\.store))
      .subtracting(report.entries.filter { !$0.isReady }.map(\.store))
    Program.say("\(ready.count) \(ready.count == 1 ? "store" : "stores") ready")
  }
}

extension StartupReport.Entry {
  /// Whether the store can be used, in this tree.
  var isReady: Bool { failure == nil && step.isReady }
}

extension StoreStep {
  var isReady: Bool {
    switch self {
    case .keep, .create, .repair: true
    case .remove, .retain, .refuse: false
    }
  }

  var verb: (plain: String, done: String)? {
    switch self {
    case .create: ("create", "created")
    case .repair: ("repair", "repaired")
    case .remove: ("remove", "removed")
    case .keep, .retain, .refuse: nil
    }
  }

  var detail: String {
    guard case .repair(let repairs) = self else { return "" }
    return ": " + repairs.map(\.description).joined(separator: "; ")
  }

  /// For JSON: one word.
  var word: String {
    switch self {
    case .keep: "keep"
    case .create: "create"
    case .repair: "repair"
    case .remove: "remove"
    case .retain: "retain"
    case .refuse: "refuse"
    }
  }
}

/// `daemon-store startup --json`.
struct StartupOutput: Encodable {
  struct Store: Encodable {
    let store: String
    let path: String
    let step: String
    let ready: Bool
    let repaired: [String]?
    let problem: String?
  }

  let dryRun: Bool
  /// Whether there is a directory of templates; without one there are no stores.
  let templates: Bool
  let stores: [Store]
  /// Every line that also went to standard error.
  let problems: [String]

  init(_ report: StartupReport, problems: [String], isDryRun: Bool) {
    dryRun = isDryRun
    templates = !report.hasNoTemplates
    self.problems = problems
    stores = report.entries.map { entry in
      var repairs: [String]?
      if case .repair(let list) = entry.step { repairs = list.map(\.description) }
      return Store(
        store: entry.store.description, path: entry.path.jsonText, step: entry.step.word,
        ready: entry.isReady, repaired: repairs, problem: entry.problem)
    }
  }
}
