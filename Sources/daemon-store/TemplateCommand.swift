import DaemonStoreAccounts
import ArgumentParser
import DaemonStore
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram

/// `daemon-store template`: what a package's install script calls.
struct TemplateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "template",
    abstract: "Add, remove, list or check the templates of stores.",
    discussion: """
      A template is a directory of /etc/daemon-store: its name, owner, group and mode are those of \
      each user's folder in the store, and nothing in it counts.
      """,
    subcommands: [
      TemplateAddCommand.self, TemplateRemoveCommand.self, TemplateListCommand.self,
      TemplateCheckCommand.self,
    ])
}

struct TemplateRoot: ParsableArguments {
  @Option(help: "Work on the system below this directory: an image.", completion: .directory)
  var root: FilePath = "/"

  func layout() throws -> Layout {
    let layout = Layout(root: try Directory(followingLinks: root).path)
    try Program.leaveWorkingDirectory()
    return layout
  }
}

struct TemplateAddCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "add",
    abstract: "Make a template, or give the one that is there this owner and mode.",
    discussion: """
      Where stores are set up, this one is at once; else the next boot does it. Repeating it changes \
      nothing.

      Exit status: 0 done, 1 nothing was done, 2 usage, 3 the template is there, and the store is \
      not, for the reason on standard error.
      """)

  @Argument(
    help: "The name of the store: letters, digits, and after the first also . _ and -.",
    transform: storeName)
  var name: StoreName

  @Option(
    help: ArgumentHelp(
      "Who owns a user's folder in the store: names, or numbers.", valueName: "user:group"),
    transform: OwnerNames.init)
  var owner: OwnerNames

  @Option(
    help: "The mode of a user's folder, in octal; 0700 when left out.", transform: permissions)
  var mode: mode_t = 0o700

  @Flag(help: "Make the user and the group, if they are missing, as the distribution makes them.")
  var createUser = false

  @OptionGroup var place: TemplateRoot

  func validate() throws {
    guard createUser else { return }
    for text in [owner.user, owner.group] where !SystemUsers.isName(text) {
      throw ValidationError(
        "\(text) is no name for a user that is to be created: at most 31 of a-z, 0-9, _ and -")
    }
  }

  func run() throws {
    try Program.requireRoot()
    let layout = try place.layout()
    if createUser {
      try SystemUsers.make(user: owner.user, group: owner.group, root: layout.root)
    }
    let names = try AccountNames(root: layout.root)
    let template = Template(
      name: name,
      owner: try number(owner.user, "user", of: layout) { try names.user(named: $0) },
      group: try number(owner.group, "group", of: layout) { try names.group(named: $0) },
      permissions: mode)
    let change = try Templates.add(template, to: layout)
    Program.say("\(change.rawValue) \(layout.templates)/\(name)")
    try followUp(name, layout, "add")
    guard change == .changed else { return }
    for user in try UserFolders.users(of: layout, in: name) {
      Program.say("\(user) has the old owner and mode until: cryptohome mount \(user)")
    }
  }

  private func number(
    _ text: FilePath, _ kind: String, of layout: Layout, _ find: (FilePath) throws -> UInt32?
  ) throws -> UInt32 {
    if let found = try find(text) { return found }
    if !createUser, let number: UInt32 = text.bytes.number(), number != .max { return number }
    let place = layout == .system ? "" : " in \(layout.root)"
    throw Failure("there is no \(kind) \(text)\(place); make one, or use --create-user")
  }
}

struct TemplateRemoveCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove",
    abstract: "Remove a template, and its store, unless users are mounted in it.",
    discussion: """
      What users have in the store stays in their homes, and is there again when the template is.

      Exit status: 0 done, 1 nothing was done, 2 usage, 3 the template is gone, and the store is \
      not, for the reason on standard error.
      """)

  @Argument(
    help: "The name of the store: letters, digits, and after the first also . _ and -.",
    transform: storeName)
  var name: StoreName

  @OptionGroup var place: TemplateRoot

  func run() throws {
    try Program.requireRoot()
    let layout = try place.layout()
    let change = try Templates.remove(name, from: layout)
    Program.say(
      change == .absent
        ? "there is no \(layout.templates)/\(name)" : "removed \(layout.templates)/\(name)")
    try followUp(name, layout, "remove")
  }
}

/// Does to the store what the next boot would do.
private func followUp(_ name: StoreName, _ layout: Layout, _ verb: String) throws {
  let problems: [String]
  do {
    let entries = try Startup.follow(name, in: layout)?.entries ?? []
    for entry in entries where entry.problem == nil {
      if let verb = entry.step.verb { Program.say("\(verb.done) \(entry.path)") }
    }
    problems = entries.compactMap(\.problem)
  } catch {
    problems = ["\(error)"]
  }
  for problem in problems { Program.complain("daemon-store: template \(verb): \(problem)") }
  if !problems.isEmpty { throw Ending(.partial) }
}

/// `USER:GROUP`, not looked up yet.
struct OwnerNames {
  let user: FilePath
  let group: FilePath

  init(_ argument: String) throws(Failure) {
    let parts = argument.utf8.split(
      separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    guard parts.count == 2, parts.allSatisfy({ !$0.isEmpty && $0.first != UInt8(ascii: "-") })
    else {
      throw Failure("an owner is user:group, names or numbers")
    }
    (user, group) = (FilePath(truncating: parts[0]), FilePath(truncating: parts[1]))
  }
}

/// `0700`: the low twelve bits of a mode.
private func permissions(_ argument: String) throws(Failure) -> mode_t {
  guard argument.utf8.count <= 5, argument.utf8.allSatisfy({ (48...55).contains($0) }),
    let permissions = mode_t(argument, radix: 8), permissions <= 0o7777
  else { throw Failure("a mode is octal, from 0 to 7777: 0700") }
  return permissions
}

struct TemplateListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Print each template: its name, owner, group and mode.",
    discussion: "Exit status: 0 done, 1 failed, 2 usage, 3 some are invalid, and named.")

  @Flag(help: "Print the result as JSON.")
  var json = false

  @OptionGroup var place: TemplateRoot

  func run() throws {
    let layout = try place.layout()
    let templates = try Templates.read(layout)
    let output = TemplatesOutput(templates, names: try AccountNames(root: layout.root))
    if json {
      try printJSON(output)
    } else {
      for line in output.lines { Program.say(line) }
    }
    for refusal in output.rejected { Program.complain("daemon-store: template list: \(refusal)") }
    if !output.rejected.isEmpty { throw Ending(.partial) }
  }
}

/// `daemon-store template list --json`.
struct TemplatesOutput: Encodable {
  struct Entry: Encodable {
    let name: String
    let owner: uid_t
    let group: gid_t
    /// Left out where the number has no name.
    let ownerName: String?
    let groupName: String?
    let mode: String
  }

  let templates: [Entry]
  let rejected: [String]

  init(_ templates: Templates, names: AccountNames) {
    self.templates = templates.valid.map { template in
      Entry(
        name: template.name.description, owner: template.owner, group: template.group,
        ownerName: ((try? names.name(ofUser: template.owner)) ?? nil)?.description,
        groupName: ((try? names.name(ofGroup: template.group)) ?? nil)?.description,
        mode: octal(template.permissions))
    }
    rejected = templates.rejected.map(\.description)
  }

  /// In columns.
  var lines: [String] {
    let rows = templates.map { entry in
      [
        entry.name,
        "\(entry.ownerName ?? "\(entry.owner)"):\(entry.groupName ?? "\(entry.group)")", entry.mode,
      ]
    }
    let widths = (0..<2).map { column in rows.map { $0[column].utf8.count }.max() ?? 0 }
    return rows.map { row in
      let cells = zip(row, widths).map { text, width in
        text + String(repeating: " ", count: width - text.utf8.count)
      }
      return (cells + row.suffix(1)).joined(separator: "  ")
    }
  }
}

struct TemplateCheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Say what is wrong with templates, or that nothing is.",
    discussion: """
      Checks that each template is valid, that its owner and group have names, and, where stores are \
      set up, that its store is in order.

      Exit status: 0 nothing is wrong, 1 failed, 2 usage, 3 each problem is a line on standard error.
      """)

  @Argument(help: "The names of the stores; all when left out.", transform: storeName)
  var names: [StoreName] = []

  @Flag(help: "Print the result as JSON.")
  var json = false

  @OptionGroup var place: TemplateRoot

  func run() throws {
    let layout = try place.layout()
    let templates = try Templates.read(layout)
    let output = TemplateCheckOutput(
      checked: templates.valid.count { isAsked($0.name) },
      problems: try problems(of: templates, layout))
    if json {
      try printJSON(output)
    } else if output.problems.isEmpty {
      Program.say(
        "\(output.checked) \(output.checked == 1 ? "template" : "templates"), all in order")
    }
    for problem in output.problems { Program.complain("daemon-store: template check: \(problem)") }
    if !output.problems.isEmpty { throw Ending(.partial) }
  }

  private func isAsked(_ name: StoreName) -> Bool { names.isEmpty || names.contains(name) }

  private func problems(of templates: Templates, _ layout: Layout) throws -> [String] {
    let accounts = try AccountNames(root: layout.root)
    var problems = templates.rejected.filter { refusal in
      names.isEmpty || templates.isUnknown
        || names.contains { refusal.path == "\(layout.templates)/\($0)" }
    }.map(\.description)
    for name in names where !templates.valid.contains(where: { $0.name == name }) {
      if !problems.contains(where: { $0.utf8.starts(with: "\(layout.templates)/\(name):".utf8) }) {
        problems.append("\(layout.templates)/\(name): there is no such template")
      }
    }
    for template in templates.valid where isAsked(template.name) {
      let path = "\(layout.templates)/\(template.name)"
      if try accounts.name(ofUser: template.owner) == nil {
        problems.append(
          "\(path): belongs to user \(template.owner), who has no name here; chown it")
      }
      if try accounts.name(ofGroup: template.group) == nil {
        problems.append(
          "\(path): belongs to group \(template.group), which has no name here; chgrp it")
      }
    }
    guard try Startup.isDone(layout) else { return problems }
    let report = try Startup.run(layout, templates: templates, dryRun: true)
    for entry in report.entries where isAsked(entry.store) && entry.step != .keep {
      problems.append(
        entry.problem
          ?? "\(entry.path): is not in order\(entry.step.detail); run daemon-store startup")
    }
    return problems
  }
}

/// `daemon-store template check --json`.
struct TemplateCheckOutput: Encodable {
  /// How many templates are valid, of those that were asked for.
  let checked: Int
  /// Every line that also went to standard error.
  let problems: [String]
}
