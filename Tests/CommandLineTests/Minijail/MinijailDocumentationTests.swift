import TestSupport
import Testing

/// The manual page and the compatibility page have the options that `-h` has.
@Suite struct MinijailDocumentationTests {
  /// As `-h` prints them, `-u` and `--ns-mount`: the words at the start of an option's line, up to
  /// its value or to the two blanks before its description.
  private func helpOptions() throws -> Set<String> {
    let outcome = try TestSupport.run("\(try builtPrograms())/minijail0", ["-h"])
    #expect(outcome.status == 0, "\(outcome)")
    var options: Set<String> = []
    for line in outcome.lines where line.hasPrefix("  -") {
      let words = line.dropFirst(2).split(separator: " ", omittingEmptySubsequences: false)
      for word in words.prefix(while: { $0.hasPrefix("-") }) {
        options.insert(String(word.prefix { !"[,=".contains($0) }))
      }
    }
    return options
  }

  /// Those that the section OPTIONS of the manual page has an item for.
  private func manualOptions() throws -> Set<String> {
    var options: Set<String> = []
    var isInOptions = false
    for line in try page("man/minijail0.1").split(separator: "\n") {
      if line.hasPrefix(".Sh ") { isInOptions = line == ".Sh OPTIONS" }
      guard isInOptions, line.hasPrefix(".It ") else { continue }
      let words = line.split(separator: " ")
      for (macro, name) in zip(words, words.dropFirst()) where macro == "Fl" {
        options.insert("-\(name)")
      }
    }
    return options
  }

  /// A file of the directory docs.
  private func page(_ name: String) throws -> String {
    try readFile(projectFile("docs/\(name)"))
  }

  @Test func theManualPageHasEveryOption() throws {
    let help = try helpOptions()
    let manual = try manualOptions()
    #expect(help.count > 60, "\(help.sorted())")
    #expect(help.subtracting(manual).isEmpty, "missing in the page")
    #expect(manual.subtracting(help).isEmpty, "not in -h")
  }

  @Test func theCompatibilityPageHasEveryOption() throws {
    let rows = try page("minijail0-compatibility.md").split(separator: "\n")
      .filter { $0.hasPrefix("| `-") }
    for option in try helpOptions() {
      #expect(rows.contains { $0.contains("`\(option)`") }, "\(option)")
    }
  }
}
