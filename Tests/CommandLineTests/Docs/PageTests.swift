import Glibc
import Kernel
import TestSupport
import Testing

/// The pages for people: what they show is what happens.
enum Pages {
  static let all: [String] = {
    let inDocs = ((try? names(in: projectFile("docs"))) ?? []).map { "docs/\($0)" }
    let decisions = ((try? names(in: projectFile("docs/decisions"))) ?? [])
      .map { "docs/decisions/\($0)" }
    return ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
      + (inDocs + decisions).filter { $0.hasSuffix(".md") }
  }()

  /// What is typed on a machine of the page's own.
  static let typed = all.filter { name in
    (try? Page(name))?.blocks.contains { $0.language == "console" } ?? false
  }

  /// A block that no page machine runs: the page, how it begins, and what runs it instead.
  struct Elsewhere {
    let page: String
    let start: String
    let runner: String

    init(_ page: String, _ start: String, by runner: String) {
      self.page = page
      self.start = start
      self.runner = runner
    }

    func covers(_ block: Page.Block, of page: Page) -> Bool {
      self.page == page.name && block.text.hasPrefix(start)
    }
  }

  /// Everything else that could be typed or compiled is run where it is.
  static let elsewhere = [
    Elsewhere("README.md", "make demo", by: ".ci/run, in a fresh clone"),
    Elsewhere("README.md", "make deb", by: "make test-package, make test-boot"),
    Elsewhere("README.md", "make build", by: "every page machine, which is made by make install"),
    Elsewhere("docs/login.md", "sudo pam-auth-update", by: "PamProfileTests, make test-boot"),
    Elsewhere("docs/jail-library.md", ".package(", by: "nothing: the place is the reader's"),
    Elsewhere("docs/jail-library.md", "/// Runs a helper", by: "LibraryTests"),
    Elsewhere("docs/jail-library.md", "/// Gives up", by: "LibraryTests"),
    Elsewhere("docs/daemon-authors.md", "import asyncio", by: "AuthorsExampleTests"),
    Elsewhere("docs/daemon-authors.md", "[Unit]", by: "AuthorsStartTests, with systemd"),
    Elsewhere("docs/daemon-authors.md", "/// Says who comes", by: "AuthorsExampleTests"),
    Elsewhere("docs/daemon-authors.md", "/// Waits for a user", by: "AuthorsExampleTests"),
    Elsewhere("docs/daemon-authors.md", "minijail0", by: "AuthorsStartTests"),
    Elsewhere("docs/daemon-authors.md", "setpriv", by: "AuthorsStartTests, with bwrap"),
    Elsewhere("docs/daemon-authors.md", "podman", by: "AuthorsStartTests"),
  ]
}

@Suite(.needsRoot) struct PageTests {
  @Test(arguments: Pages.typed)
  func everyCommandSaysWhatThePageShows(name: String) async {
    await #expect(processExitsWith: .success) { [name] in
      do {
        let page = try Page(name)
        var edition = try Edition(of: page)
        PageMachine.run { machine in
          var happened = Numbering()
          var shown = Numbering()
          for block in page.blocks {
            if let file = block.file { try machine.write(block.text, to: file) }
            guard block.language == "console" else { continue }
            for command in try PageCommand.all(in: block) {
              let (text, status) = try machine.terminal.type(command.text, as: command.user)
              edition.replace(command, with: text)
              let isSame = happened.renumber(text) == shown.renumber(command.shown)
              #expect(
                isSame && (status == 0 || command.mayFail),
                """
                \(name):\(command.line): \(command.text)status \(status)
                \(text)and the page shows:
                \(command.shown)
                """)
            }
          }
          try edition.save()
        }
      } catch {
        Issue.record("\(error)")
      }
    }
  }
}

/// Nothing of a page escapes the tests, and every way through the pages leads somewhere.
@Suite struct PageFormTests {
  @Test(arguments: Pages.all)
  func everyBlockIsRunSomewhere(name: String) throws {
    let page = try Page(name)
    let blocks = page.blocks.map(\.text).joined()
    for block in page.blocks {
      // A file is there for a command, or another file, that names it.
      if let file = block.file?.split(separator: "/").last, blocks.contains(file) { continue }
      let covering = Pages.elsewhere.filter { $0.covers(block, of: page) }
      switch block.language {
      // A picture, or words that no program reads.
      case "text", "console": #expect(covering.isEmpty, "\(name):\(block.line)")
      default: #expect(covering.count == 1, "\(name):\(block.line): \(block.text)")
      }
    }
  }

  @Test func whatIsRunElsewhereIsInAPage() throws {
    let pages = try Pages.all.map { try Page($0) }
    for entry in Pages.elsewhere {
      let isThere = pages.contains { page in page.blocks.contains { entry.covers($0, of: page) } }
      #expect(isThere, "\(entry.page) has no \(entry.start) any more")
    }
  }

  @Test(arguments: Pages.all)
  func everyLinkLeadsToAPlaceThatIsThere(name: String) throws {
    for link in try Page(name).links where !link.hasPrefix("https://") {
      let target = try #require(Pages.target(of: link, in: name), "\(name): \(link)")
      #expect(exists(projectFile(target.path)), "\(name): \(link)")
      if let anchor = target.anchor {
        #expect(try Page(target.path).anchors.contains(anchor), "\(name): \(link)")
      }
    }
  }

  /// From the index of docs, which README.md leads to.
  @Test func everyPageIsReached() throws {
    var reached: Set<String> = ["README.md"]
    var open = ["README.md"]
    while let name = open.popLast() {
      guard name.hasSuffix(".md") else { continue }
      for link in try Page(name).links {
        guard let target = Pages.target(of: link, in: name)?.path else { continue }
        if reached.insert(target).inserted { open.append(target) }
      }
    }
    #expect(reached.contains("docs/README.md"))
    let index = Set(
      try Page("docs/README.md").links.compactMap {
        Pages.target(of: $0, in: "docs/README.md")?.path
      })
    for directory in ["docs", "docs/man", "docs/schemas"] {
      for name in try names(in: projectFile(directory)) where name.contains(#/\.(md|json|[1-9])$/#)
      {
        let path = "\(directory)/\(name)"
        #expect(path == "docs/README.md" || index.contains(path), "\(path)")
      }
    }
    for name in Pages.all { #expect(reached.contains(name), "\(name)") }
  }

  /// What the pages and the comments of CI call by its name.
  @Test func everyVerbOfMakeIsThere() throws {
    let verbs = Set(
      try readFile(projectFile("Makefile")).matches(of: #/(?m)^([a-z-]+):.*## /#).map { $0.1 })
    for name in Pages.all {
      for match in try Page(name).text.matches(of: #/`make ([a-z-]+)/#) {
        #expect(verbs.contains(match.1), "\(name): make \(match.1)")
      }
    }
  }
}

extension Pages {
  /// The file that a relative link leads to, and the heading in it; nil out of this package.
  static func target(of link: String, in page: String) -> (path: String, anchor: String?)? {
    guard !link.contains("://") else { return nil }
    let parts = link.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
    var path = page.split(separator: "/").dropLast().map(String.init)
    for part in parts[0].split(separator: "/") {
      if part == ".." {
        guard path.popLast() != nil else { return nil }
      } else {
        path.append(String(part))
      }
    }
    let target = parts[0].isEmpty ? page : path.joined(separator: "/")
    return (target, parts.count > 1 ? String(parts[1]) : nil)
  }
}

/// A page with what really happened in it: where the environment variable `DAEMON_STORE_PAGES` names
/// a directory, each page is written there, to be looked at and copied.
private struct Edition {
  private var lines: [String]
  /// How many lines it has more than the page.
  private var more = 0
  private var output: CInt = -1

  /// Before a machine hides the directory.
  init(of page: Page) throws {
    let file = page.name.replacing("/", with: "-")
    if let directory = environment("DAEMON_STORE_PAGES") {
      let path = "\(directory)/\(file)"
      output = try check("open", path, open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644))
    }
    lines = page.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  func save() throws {
    let bytes = Array(lines.joined(separator: "\n").utf8)
    if output >= 0 { try check("write", nil, write(output, bytes, bytes.count)) }
  }

  mutating func replace(_ command: PageCommand, with text: String) {
    let start = command.line - 1 + command.text.split(separator: "\n").count + more
    let count = command.shown.split(separator: "\n", omittingEmptySubsequences: false).count - 1
    let new = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    let whole = new.last == "" ? new.dropLast() : new[...]
    lines.replaceSubrange(start..<(start + count), with: whole)
    more += whole.count - count
  }
}
