import TestSupport
import Testing

/// docs/security.md: each promise has tests, and README.md promises nothing else.
@Suite struct SecurityPageTests {
  /// The promises: the text of each entry, in one line, and the tests that it names.
  private func promises() throws -> [(text: String, tests: [String])] {
    let lines = try readFile(projectFile("docs/security.md")).split(
      separator: "\n", omittingEmptySubsequences: false)
    let section = lines.drop { $0 != "## What you can rely on" }.dropFirst()
      .prefix { !$0.hasPrefix("## ") }
    var promises: [(text: String, tests: [String])] = []
    for line in section {
      if line.hasPrefix("- ") {
        promises.append((String(line.dropFirst(2)), []))
      } else if let match = line.firstMatch(of: #/^  <!-- test: (.+) -->$/#), !promises.isEmpty {
        promises[promises.count - 1].tests += match.1.split(separator: ", ").map(String.init)
      } else if line.hasPrefix("  "), !promises.isEmpty {
        promises[promises.count - 1].text += " " + line.dropFirst(2)
      }
    }
    return promises
  }

  /// `SUITE/TEST` for each test of the project.
  private func tests() throws -> Set<String> {
    let listing = try run(
      "find", [projectFile("Tests"), "-name", "*.swift", "-type", "f", "-print0"])
    var tests: Set<String> = []
    for path in listing.output.split(separator: "\0") {
      var suite = ""
      for line in try readFile(String(path)).split(separator: "\n") {
        let name = #/(?:struct|extension) ([A-Za-z0-9]+(?:Tests|Attacks))/#
        if let match = line.firstMatch(of: name) {
          suite = String(match.1)
        }
        if let match = line.firstMatch(of: #/func ([A-Za-z0-9]+)\(/#) {
          tests.insert("\(suite)/\(match.1)")
        }
      }
    }
    return tests
  }

  @Test func everyPromiseHasATestThatExists() throws {
    let tests = try tests()
    let promises = try promises()
    #expect(promises.count > 10)
    for promise in promises {
      #expect(!promise.tests.isEmpty, "no test: \(promise.text)")
      for test in promise.tests { #expect(tests.contains(test), "\(test): \(promise.text)") }
    }
  }

  /// Each published weakness of another tool that is listed has a test, which exists.
  @Test func everyPublishedWeaknessIsTried() throws {
    let tests = try tests()
    let rows = try readFile(projectFile("docs/security.md")).split(separator: "\n").filter {
      $0.hasPrefix("| CVE-")
    }
    #expect(rows.count > 15)
    for row in rows {
      let named = row.matches(of: #/`([A-Za-z]+/[A-Za-z]+)`/#).map { String($0.1) }
      #expect(!named.isEmpty, "\(row)")
      for test in named { #expect(tests.contains(test), "\(test)") }
    }
  }

  @Test func readmePromisesNothingElse() throws {
    let known = Set(try promises().map(\.text))
    let lines = try readFile(projectFile("README.md")).split(
      separator: "\n", omittingEmptySubsequences: false)
    let section = lines.drop { $0 != "## What you can rely on" }.dropFirst()
      .prefix { !$0.hasPrefix("## ") }
    var entries: [String] = []
    var rest = ""
    for line in section {
      if line.hasPrefix("- ") {
        entries.append(String(line.dropFirst(2)))
      } else if line.hasPrefix("  "), !entries.isEmpty {
        entries[entries.count - 1] += " " + line.dropFirst(2)
      } else {
        rest += line
      }
    }
    #expect(!entries.isEmpty)
    #expect(rest.hasPrefix("[docs/security.md](docs/security.md) has these promises"), "\(rest)")
    #expect(rest.utf8.count < 300, "\(rest)")
    for entry in entries { #expect(known.contains(entry), "\(entry)") }
  }
}
