import TestSupport
import Testing

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

  /// What is named in passing, as in `cryptohome key add --label`.
  @Test(arguments: ManualPageTests.programs.map(\.0) + ["minijail0"])
  func everyMentionHasVerbsAndOptionsOfTheProgram(program: String) throws {
    let isMinijail = program == "minijail0"
    let verbs = isMinijail ? [] : try VerbHelp.all(of: program)
    let options =
      isMinijail
      ? OptionHelp.all(in: try run("\(try builtPrograms())/\(program)", ["--help"]).lines)
      : verbs.flatMap(\.options)
    let names = OptionHelp.common.union(options.flatMap(\.names))
    let first = Set(verbs.compactMap { $0.verb.split(separator: " ").first })
    for page in try Pages.all.map({ try Page($0) }) {
      for match in page.text.matches(of: try Regex("`\(program)(\\s[^`]*)`")) {
        let words = (match.output[1].substring ?? "").split { $0.isWhitespace }
        if let verb = words.first, !first.isEmpty, verb.allSatisfy({ $0.isLowercase }) {
          #expect(first.contains(verb), "\(page.name): \(match.output[0].substring ?? "")")
        }
        for word in words where word.hasPrefix("-") && word != "--" {
          let name = word.hasPrefix("--") ? word.prefix { $0 != "=" } : word.prefix(2)
          #expect(
            names.contains(String(name)), "\(page.name): \(match.output[0].substring ?? "")")
        }
      }
    }
  }

  /// By its path below Sources, or below a module that the line has named.
  @Test func everySourceFileIsThere() throws {
    let list = try run("find", [projectFile("Sources"), "-name", "*.swift", "-o", "-name", "*.c"])
    for name in ["docs/architecture.md", "CONTRIBUTING.md"] {
      for match in try Page(name).text.matches(of: #/`([A-Za-z_/-]+\.(?:swift|c))`/#) {
        #expect(list.lines.contains { $0.hasSuffix("/\(match.1)") }, "\(name): \(match.1)")
      }
    }
  }

  /// What the pages call by its name.
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
