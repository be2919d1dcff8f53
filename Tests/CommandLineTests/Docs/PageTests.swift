import Glibc
import DaemonStoreKernel
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
    Elsewhere("README.md", "make deps", by: ".ci/run, in a fresh clone"),
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
