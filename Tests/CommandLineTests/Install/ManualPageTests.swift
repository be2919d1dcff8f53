import TestSupport
import Testing

/// `--help`, the manual pages and what the programs take name the same options.
@Suite struct ManualPageTests {
  /// The programs that ArgumentParser serves, each with the section of its page.
  static let programs = [
    ("cryptohome", 8), ("cryptohomed", 8), ("daemon-store", 8), ("sandboxed-services", 1),
    ("seccomp-policy", 1),
  ]

  @Test(arguments: programs)
  func theSynopsisHasTheOptionsOfEachVerb(program: String, section: Int) throws {
    let page = try ManualPage(program, section)
    for help in try VerbHelp.all(of: program) {
      // By one name of each.
      var shown = page.synopsis[help.verb] ?? []
      for option in help.options {
        #expect(!shown.isDisjoint(with: option.names), "\(program) \(help.verb): \(option.names)")
        shown.subtract(option.names)
      }
      #expect(shown.isEmpty, "\(program) \(help.verb): not in --help")
    }
  }

  @Test(arguments: programs)
  func thePageExplainsEveryVerbAndOption(program: String, section: Int) throws {
    let page = try ManualPage(program, section)
    let help = try VerbHelp.all(of: program)
    for verb in help.map(\.verb) where !verb.isEmpty {
      #expect(page.items.contains(verb), "\(program) \(verb)")
    }
    let options = help.flatMap(\.options)
    for option in options {
      #expect(!page.mentioned.isDisjoint(with: option.names), "\(program) \(option.names)")
    }
    let others = page.items.filter { $0.hasPrefix("-") }.subtracting(options.flatMap(\.names))
    #expect(others.isSubset(of: OptionHelp.common), "\(program): not in --help")
  }

  /// An option that is known leaves only the made-up one behind it to complain of, or says what it
  /// wants itself.
  @Test(arguments: programs)
  func theProgramTakesEveryOption(program: String, section: Int) throws {
    for help in try VerbHelp.all(of: program) {
      // What follows --exec is the command's.
      for option in help.options where option.names != ["--exec"] {
        for name in option.names {
          let outcome = try TestSupport.run(
            "\(try builtPrograms())/\(program)",
            help.required + [name] + option.values + ["--made-up"])
          #expect(
            outcome.status == 2 && !outcome.errors.contains("Unknown option '\(name)'")
              && (outcome.errors.contains("'--made-up'") || outcome.errors.contains(name)),
            "\(outcome)")
        }
      }
    }
  }

  @Test func minijailTakesEveryOption() throws {
    let program = "\(try builtPrograms())/minijail0"
    let options = OptionHelp.all(in: try TestSupport.run(program, ["--help"]).lines)
    #expect(options.count > 60)
    for option in options {
      for name in option.names {
        let outcome = try TestSupport.run(program, [name] + option.values + ["--made-up"])
        let isUnknown = outcome.complaints.contains {
          $0.hasSuffix("unrecognized option '\(name)'") || $0.contains("invalid option")
        }
        #expect(!isUnknown, "\(outcome)")
      }
    }
  }

  @Test func mandocHasNothingToSay() throws {
    let pages = try TestSupport.run(
      "/bin/sh", ["-c", "ls \"$0\"/*.[1-9]", projectFile("docs/man")]
    ).lines
    #expect(pages.count >= 5)
    let outcome = try TestSupport.run("/usr/bin/mandoc", ["-T", "lint", "-W", "warning"] + pages)
    #expect(outcome.status == 0 && outcome.output.isEmpty, "\(outcome)")
  }
}

/// An option, as a line of a help begins: `  -o, --output <file>  Where it goes.`
struct OptionHelp {
  let names: [String]
  /// A value, if it takes one.
  let values: [String]

  /// What every program has.
  static let common: Set<String> = ["-h", "--help", "--version"]

  /// One that has the form of `<user:group>`, or of anything else.
  static func value(of placeholder: Substring) -> String {
    placeholder.hasPrefix("<user:") ? "a:a" : "1"
  }

  static func all(in lines: [String]) -> [OptionHelp] {
    lines.filter { $0.hasPrefix("  -") }.map { line in
      let words = line.dropFirst(2).split(separator: " ", omittingEmptySubsequences: false)
      let names = words.prefix { $0.hasPrefix("-") }
      let next = words.dropFirst(names.count).first ?? ""
      return OptionHelp(
        names: names.map { String($0.prefix { !"[,=".contains($0) }) },
        values: next.isEmpty ? [] : [value(of: next)])
    }
  }
}

/// What `PROGRAM VERB --help` says.
struct VerbHelp {
  let verb: String
  let options: [OptionHelp]
  /// The verb with what it cannot be without.
  let required: [String]

  /// That of each verb, and of each verb of a verb.
  static func all(of program: String, below path: [String] = []) throws -> [VerbHelp] {
    let outcome = try TestSupport.run("\(try builtPrograms())/\(program)", path + ["--help"])
    guard outcome.status == 0 else { throw Problem("\(outcome)") }
    let lines = outcome.output.split(separator: "\n", omittingEmptySubsequences: false)
      .map(String.init)
    let verbs = section("SUBCOMMANDS:", of: lines).filter {
      $0.hasPrefix("  ") && !$0.hasPrefix("   ")
    }.compactMap { $0.split(separator: " ").first.map(String.init) }
    guard verbs.isEmpty else {
      return try verbs.flatMap { try all(of: program, below: path + [$0]) }
    }
    return [
      VerbHelp(
        verb: path.joined(separator: " "),
        options: OptionHelp.all(in: section("OPTIONS:", of: lines)).filter {
          OptionHelp.common.isDisjoint(with: $0.names)
        },
        required: path + required(in: section("USAGE:", of: lines).joined(separator: " ")))
    ]
  }

  /// The lines from the one with this title to the next empty one.
  private static func section(_ title: String, of lines: [String]) -> [String] {
    guard let start = lines.firstIndex(where: { $0.hasPrefix(title) }) else { return [] }
    return Array(lines[start...].prefix { !$0.isEmpty })
  }

  /// What a usage line has outside of brackets, after the program and its verb, and its arguments
  /// in brackets; each value is 1.
  private static func required(in usage: String) -> [String] {
    var depth = 0
    let words = usage.replacing("[<", with: "<").filter { letter in
      if letter == "[" { depth += 1 }
      defer { if letter == "]" { depth = max(0, depth - 1) } }
      return depth == 0
    }
    return words.split(separator: " ").filter { $0.hasPrefix("<") || $0.hasPrefix("-") }
      .map { $0.hasPrefix("<") ? OptionHelp.value(of: $0) : String($0) }
  }
}

/// What a page in mdoc(7) names.
private struct ManualPage {
  /// The options of each verb, by the verb; of a program without verbs, by the empty one.
  var synopsis: [String: Set<String>] = [:]
  /// The options that are named below the synopsis.
  var mentioned: Set<String> = []
  /// The options and verbs that have an item.
  var items: Set<String> = []

  init(_ program: String, _ number: Int) throws {
    var section = ""
    var verb = ""
    for line in try readFile(projectFile("docs/man/\(program).\(number)")).split(separator: "\n") {
      let words = line.split(separator: " ").map(String.init)
      if words.first == ".Sh" { section = words.dropFirst().joined(separator: " ") }
      if section == "SYNOPSIS" {
        if words.first == ".Nm" { verb = "" }
        if words.first == ".Cm" { verb = words.dropFirst().joined(separator: " ") }
        synopsis[verb, default: []].formUnion(Self.flags(words).subtracting(OptionHelp.common))
      } else {
        mentioned.formUnion(Self.flags(words))
        guard words.first == ".It" else { continue }
        items.formUnion(Self.flags(words))
        if words.dropFirst().first == "Cm" {
          items.insert(words.dropFirst(2).prefix { $0 != "Ar" }.joined(separator: " "))
        }
      }
    }
  }

  /// `Fl` is followed by a name, and that one by others after bars.
  private static func flags(_ words: [String]) -> Set<String> {
    var found: Set<String> = []
    for (index, word) in words.enumerated() where word == "Fl" || word == ".Fl" {
      var rest = words[(index + 1)...]
      while let name = rest.popFirst() {
        if name == "Fl" { continue }
        found.insert("-\(name)")
        guard rest.popFirst() == "|" else { break }
      }
    }
    return found
  }
}
