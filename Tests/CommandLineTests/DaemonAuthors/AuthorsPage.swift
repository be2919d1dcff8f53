import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// docs/daemon-authors.md: what is printed there is what is run.
enum AuthorsPage {
  static func page() throws -> Page { try Page("docs/daemon-authors.md") }

  /// The way to start the daemon that is below a heading, as one line.
  static func command(below heading: String) throws -> String {
    try page().block("sh", below: heading).text.replacing("\\\n", with: "")
      .split(separator: "\n").joined(separator: "; ")
  }
}

/// A directory that every machine of a test sees, with the library as `make install` brings it,
/// and the example in C. Make it outside of `inHost`.
final class Workshop {
  let path: String
  /// A program name that no other test has.
  let name: String
  var library: String { "\(path)/usr/lib" }

  init() throws {
    path = try Self.makeDirectory()
    name = "notes-\(path.suffix(6))"
    try setMode(path, 0o755)
    try shell(
      "make -s -C '\(projectFile(""))' install-client DESTDIR='\(path)' PREFIX=/usr "
        + "BIN='\(builtPrograms())'")
    let page = try AuthorsPage.page()
    for file in ["notes-daemon.c", "notes-daemon.py"] {
      try writeFile("\(path)/\(file)", page.file(file))
    }
    let build = String(try page.block("console", below: "C").lines[0].dropFirst(2))
    try shell("\(build) -Wall -Wextra -Werror -std=c11")
    // For machines that have no place for a library.
    try shell(
      build.replacing("-o notes-daemon", with: "-o \(name)")
        .replacing("$(pkg-config", with: "-Wl,-Bstatic $(pkg-config") + " -Wl,-Bdynamic")
  }

  private static func makeDirectory() throws -> String {
    var template = Array("/tmp/authors-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
      throw SystemError(operation: "mkdtemp", path: nil, code: errno)
    }
    return String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  deinit { _ = try? TestSupport.run("rm", ["-r", "--", path]) }

  private func shell(_ command: String) throws {
    let outcome = try TestSupport.run(
      "sh", ["-c", "cd '\(path)' && \(command)"],
      environment: [
        "PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8",
        "PKG_CONFIG_SYSROOT_DIR=\(path)", "PKG_CONFIG_LIBDIR=\(path)/usr/lib/pkgconfig",
      ])
    guard outcome.status == 0 && outcome.errors.isEmpty else { throw Problem("\(outcome)") }
  }
}

extension Host {
  /// A host with the store and the user of the page.
  func prepareNotes() throws {
    try writeFile(
      "/etc/passwd", readFile("/etc/passwd") + "notesd:x:901:901:notes:/:/usr/sbin/nologin\n")
    try writeFile("/etc/group", readFile("/etc/group") + "notesd:x:901:\n")
    try template("notes", owner: 901, group: 901)
    try succeed("daemon-store", "startup")
  }
}
