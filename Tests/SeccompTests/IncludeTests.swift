import Seccomp
import Testing

@Suite struct IncludeTests {
  private func names(_ file: String, _ files: [String: String]) throws -> [String] {
    try parser(.x86_64, .minijail, files).parse(file: file).rules.map(\.call.name)
  }

  private func error(_ file: String, _ files: [String: String]) -> [String] {
    do throws(PolicyError) {
      _ = try parser(.x86_64, .minijail, files).parse(file: file)
      return []
    } catch {
      return error.diagnostics.map(\.description)
    }
  }

  @Test func besideTheFileThenInTheWorkingDirectory() throws {
    let files = [
      "/p/a": "@include ./b\n@include ./c\nwrite: 1", "/p/b": "read: 1", "./b": "open: 1",
      "./c": "close: 1",
    ]
    #expect(try names("/p/a", files) == ["read", "close", "write"])
  }

  @Test func nested() throws {
    let files = [
      "/p/a": "@include ./d/b\nclose: 1", "/p/d/b": "@include ./c", "/p/d/c": "read: 1",
    ]
    #expect(try names("/p/a", files) == ["read", "close"])
  }

  @Test func cycles() {
    let files = ["/p/a": "@include ./b", "/p/b": "@include ././/a", "/p/c": "@include /p/c"]
    #expect(error("/p/a", files) == ["parse_include_statement: /p/b(1): '/p/.//a' includes itself"])
    #expect(error("/p/c", files) == ["parse_include_statement: /p/c(1): '/p/c' includes itself"])
  }

  @Test func endlessChain() throws {
    // Through links, a file can include itself under ever new names.
    let parser = PolicyParser(architecture: .x86_64) { path throws(ReadFailure) in
      Array("@include \(path)x\n".utf8)
    }
    #expect(throws: PolicyError.self) { _ = try parser.parse(file: "/a") }
    // And each file can include two.
    let twice = PolicyParser(architecture: .x86_64) { path throws(ReadFailure) in
      Array("@include \(path)x\n@include \(path)y\n".utf8)
    }
    #expect(throws: PolicyError.self) { _ = try twice.parse(file: "/a") }
  }

  @Test func deepChain() throws {
    var files: [String: String] = [:]
    for number in 0..<40 { files["/p/\(number)"] = "@include ./\(number + 1)" }
    files["/p/40"] = "read: 1"
    #expect(try names("/p/10", files) == ["read"])
    #expect(error("/p/0", files) == ["parse_include_statement: /p/32(1): nested too deep"])
  }

  @Test func duplicatesNameBothFiles() {
    let files = ["/p/a": "read: 1\n@include ./b", "/p/b": "\nread: 1"]
    #expect(
      error("/p/a", files) == [
        "insert_and_check_duplicate_syscall: /p/b(2): syscall 'read' redefined here",
        "insert_and_check_duplicate_syscall: /p/a(1): previous definition here",
      ])
  }

  @Test(arguments: [
    ("@include b", "implicit relative path 'b'"),
    ("@include", "invalid include statement '@include'"),
    ("@include ", "invalid include statement '@include'"),
    ("@include  ./b", "invalid include statement '@include  ./b'"),
    ("@include\t./b", "invalid include statement '@include ./b'"),
    ("@includes ./b", "invalid include statement '@includes ./b'"),
    ("@include ./b # no", "failed to open './b # no': No such file or directory (ENOENT)"),
    ("@include ./missing", "failed to open './missing': No such file or directory (ENOENT)"),
  ])
  func badIncludes(_ line: String, _ expected: String) {
    #expect(
      error("/p/a", ["/p/a": line, "/p/b": "read: 1"])
        == ["parse_include_statement: /p/a(1): \(expected)"])
  }

  @Test func unreadable() {
    let parser = PolicyParser(architecture: .x86_64) { path throws(ReadFailure) in
      throw ReadFailure(isMissing: false, reason: "Is a directory (EISDIR)")
    }
    do throws(PolicyError) {
      _ = try parser.parse(file: "/p")
      Issue.record("accepted")
    } catch {
      #expect(
        error.diagnostics.map(\.description) == [
          "compile_file: /p: failed to open seccomp filter file '/p': Is a directory (EISDIR)"
        ])
    }
  }
}
