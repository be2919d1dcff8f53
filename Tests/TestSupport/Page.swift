/// A file of this package.
package func projectFile(_ name: String) -> String {
  "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/") + "/" + name
}

/// A page of the documentation, in Markdown: what of it a test looks at.
package struct Page {
  /// As in `docs/vaults.md`.
  package let name: String
  package let text: String
  package private(set) var blocks: [Block] = []
  /// The anchors of its headings, as forges make them.
  package private(set) var anchors: Set<String> = []
  /// What its links and pictures point to.
  package private(set) var links: [String] = []

  /// What is between two fences.
  package struct Block: Sendable {
    /// The word behind the first fence.
    package let language: String
    /// What comes before a colon at the end of the line above, in backquotes: the file that the
    /// block is the contents of.
    package let file: String?
    /// The headings that it is below, the nearest last.
    package let headings: [String]
    /// The number of its first line in the page.
    package let line: Int
    package fileprivate(set) var lines: [String] = []

    package var text: String { lines.map { $0 + "\n" }.joined() }
  }

  package init(_ name: String) throws {
    self.name = name
    text = try readFile(projectFile(name))
    var headings: [String] = []
    var open: Block?
    var last = ""
    for (index, substring) in text.split(separator: "\n", omittingEmptySubsequences: false)
      .enumerated()
    {
      let line = String(substring)
      if line.contains("```") {
        guard line.hasPrefix("```") else {
          throw Problem("\(name):\(index + 1): a fence begins its line")
        }
        if let block = open {
          blocks.append(block)
          open = nil
          last = ""
        } else {
          open = Block(
            language: String(line.dropFirst(3)), file: Self.file(in: last), headings: headings,
            line: index + 2)
        }
      } else if open != nil {
        open?.lines.append(line)
      } else if line.hasPrefix("#") {
        let depth = line.prefix { $0 == "#" }.count
        let title = String(line.dropFirst(depth + 1))
        headings = headings.prefix(depth - 1) + [title]
        anchors.insert(Self.anchor(of: title))
      } else {
        links += Self.links(in: line)
        if !line.isEmpty { last = line }
      }
    }
    if let open { throw Problem("\(name):\(open.line): a fence is not closed") }
  }

  /// The first block of a language that is below a heading.
  package func block(_ language: String, below heading: String) throws -> Block {
    guard
      let block = blocks.first(where: { $0.language == language && $0.headings.contains(heading) })
    else { throw Problem("\(name) has no \(language) below \(heading)") }
    return block
  }

  /// The block that is the contents of a file.
  package func file(_ file: String) throws -> String {
    guard let block = blocks.first(where: { $0.file == file }) else {
      throw Problem("\(name) has no file \(file)")
    }
    return block.text
  }

  private static func file(in line: String) -> String? {
    guard line.hasSuffix("`:"), let name = line.dropLast(2).split(separator: "`").last else {
      return nil
    }
    return String(name)
  }

  private static func anchor(of title: String) -> String {
    String(
      title.lowercased().compactMap { letter -> Character? in
        if letter == " " { return "-" }
        return letter.isLetter || letter.isNumber || letter == "-" || letter == "_" ? letter : nil
      })
  }

  private static func links(in line: String) -> [String] {
    line.matches(of: #/\]\(([^)\s]+)\)/#).map { String($0.1) }
  }
}
