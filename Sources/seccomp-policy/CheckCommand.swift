import ArgumentParser
import DaemonStoreKernel
import DaemonStoreProgram
import Seccomp

struct CheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Find mistakes in policies, and what a reviewer should look at.",
    discussion: "Says nothing and exits 0 if there is nothing, else 1.")

  @Argument(help: "Policies.", completion: .file())
  var policies: [String]

  @OptionGroup var options: PolicyOptions

  @Option(help: "Calls that need a comment, with commas between.")
  var dangerousSyscalls: String?

  func validate() throws {
    if policies.isEmpty { throw ValidationError("no policy is given") }
  }

  func run() throws {
    var wrong = 0
    let dangerous =
      dangerousSyscalls.map { names in
        names.utf8.split(separator: UInt8(ascii: ",")).map { String(Substring($0)) }
      }
      ?? Policy.dangerousCalls
    for path in policies {
      do {
        wrong += try check(path, dangerous)
      } catch {
        Program.complain("seccomp-policy: check: \(error)")
        wrong += 1
      }
    }
    if wrong > 0 { throw Ending(.failed) }
  }

  /// How many findings were printed.
  private func check(_ path: String, _ dangerous: [String]) throws -> Int {
    let files = PolicyFiles()
    let policy =
      if path.utf8.elementsEqual("-".utf8) {
        try parse(try files.read("-"), files)
      } else {
        try Files.policy(path, options.architecture, options.dialect, files)
      }
    do {
      _ = try Compiler().compile(policy)
    } catch {
      throw Failure("\(path): \(error)")
    }
    var comments: [FilePath: CommentedLines] = [:]
    let findings = policy.lint(dangerousCalls: dangerous) { place in
      let file: FilePath = "\(place.file)"
      if comments[file] == nil {
        comments[file] = CommentedLines((try? files.read(file)) ?? [])
      }
      return comments[file]?.contains(line: place.line) ?? false
    }
    for finding in findings { Program.say("\(finding)") }
    return findings.count
  }

  private func parse(_ bytes: [UInt8], _ files: PolicyFiles) throws -> Policy {
    do throws(PolicyError) {
      return try Files.parser(options.architecture, options.dialect, files).parse(bytes, name: "-")
    } catch {
      for line in error.diagnostics.flatMap(\.lines) { Program.complain(line) }
      let count = error.diagnostics.count
      throw Failure("-: \(count) \(count == 1 ? "mistake" : "mistakes")")
    }
  }
}
