import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// One command line of minijail0, as a shell would split it, and what becomes of it.
struct CommandLine: CustomTestStringConvertible, Sendable {
  let text: String
  let status: Int32
  /// What standard output contains.
  let output: String
  /// What the one line on standard error contains; empty for: nothing is there.
  let complaint: String

  init(_ text: String, _ status: Int32 = 0, _ output: String = "", says complaint: String = "") {
    self.text = text
    self.status = status
    self.output = output
    self.complaint = complaint
  }

  var testDescription: String { text }

  /// Runs it in a machine of its own, and compares.
  func expect(as user: Int = 0, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let outcome = try Self.run("minijail0 " + text, as: user)
    #expect(outcome.status == status, "\(outcome)", sourceLocation: sourceLocation)
    #expect(outcome.output.contains(output), "\(outcome)", sourceLocation: sourceLocation)
    let lines = outcome.errors.split(separator: "\n")
    if complaint.isEmpty {
      #expect(lines.isEmpty, "\(outcome)", sourceLocation: sourceLocation)
    } else {
      #expect(
        lines.count == 1 && outcome.errors.contains(complaint), "\(outcome)",
        sourceLocation: sourceLocation)
    }
  }

  /// Runs a shell command with the built programs in its path, in a mount namespace of its own: a
  /// tmpfs on `/mnt` with a few things to mount and to be led astray by, and a static program, one
  /// with a static interpreter, and one with a foreign loader in `/mnt/bin`.
  static func run(_ command: String, as user: Int = 0) throws -> Outcome {
    let fixtures = try Fixtures.directory.get()
    let script = """
      set -e
      mount -t tmpfs -o mode=755 none /var
      mkdir -m 755 /var/empty /var/log
      # Cloned by its descriptor, since the new /mnt hides nothing of it.
      mount -t tmpfs -o mode=755 none /mnt
      cd /mnt
      mkdir -m 755 src a s empty root bin programs user
      mkdir root/usr
      echo text > src/file
      ln -s /nowhere-outside root/out
      ln -s loop root/loop
      mkfifo fifo
      mount --bind "$FIXTURES" bin
      mount --bind "$BUILD" programs
      chown 1000:1000 user
      set +e
      PATH=/mnt/programs:/usr/sbin:/usr/bin:/sbin:/bin
      export PATH
      set -- $AS sh -c "$COMMAND"
      unset FIXTURES BUILD AS COMMAND SCRIPT
      exec "$@"
      """
    let user =
      user == 0
      ? "" : "setpriv --reuid \(user) --regid \(user) --clear-groups --inh-caps=-all"
    let outcome = try TestSupport.run(
      "unshare", ["--mount", "--propagation", "private", "sh", "-c", "eval \"$SCRIPT\""],
      environment: [
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "FIXTURES=\(fixtures)",
        "BUILD=\(try builtPrograms())", "AS=\(user)", "COMMAND=\(command)", "SCRIPT=\(script)",
      ])
    return outcome.named(command)
  }
}

/// Programs of a test's own, made once.
private enum Fixtures {
  static let directory = Result { try make() }

  /// Prints a word, and with an argument its environment, and ends with 7.
  private static let source = """
    #include <stdio.h>
    extern char **environ;
    int main(int count, char **words) {
      puts("static");
      for (char **entry = environ; count > 1 && *entry; entry++) puts(*entry);
      return 7;
    }
    """

  private static func make() throws -> String {
    var template = Array("/tmp/minijail-fixtures.XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Problem("mkdtemp") }
    let directory = String(
      decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    atexit { Fixtures.remove() }
    chmod(directory, 0o755)
    try writeFile("\(directory)/static.c", source)
    for (name, options) in [
      ("static", "-static"), ("foreign", "-Wl,--dynamic-linker=/mnt/bin/ld-musl.so"),
    ] {
      let outcome = try TestSupport.run(
        "sh", ["-c", "cc \(options) -o \(directory)/\(name) \(directory)/static.c"])
      guard outcome.status == 0 else { throw Problem("\(outcome)") }
    }
    try writeFile("\(directory)/script", "#!/bin/sh\necho script \"$@\"\n")
    try writeFile("\(directory)/static-script", "#!/mnt/bin/static\n")
    try writeFile("\(directory)/noformat", "echo no interpreter\n")
    try writeFile("\(directory)/short", "x")
    try writeFile("\(directory)/foreign32", elf32(loader: "/lib/ld-linux.so.2"))
    try writeFile("\(directory)/relative", "#!./static\n")
    for name in ["relative", "script", "static-script", "noformat", "short", "foreign32"] {
      chmod("\(directory)/\(name)", 0o755)
    }
    return directory
  }

  /// The head of a program for 32-bit x86: elf(5), with one program header, PT_INTERP.
  private static func elf32(loader: String) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 256)
    bytes.replaceSubrange(0..<7, with: [0x7f, 0x45, 0x4c, 0x46, 1, 1, 1])
    bytes[16] = 2  // ET_EXEC
    bytes[18] = 3  // EM_386
    bytes[28] = 52  // where the program headers are
    bytes[42] = 32  // their size
    bytes[44] = 1  // and how many
    bytes[52] = 3  // PT_INTERP
    bytes[56] = 84  // where its text is
    bytes[68] = UInt8(loader.utf8.count + 1)
    bytes.replaceSubrange(84..<(84 + loader.utf8.count), with: Array(loader.utf8))
    return bytes
  }

  private static func remove() {
    guard case .success(let directory) = directory else { return }
    _ = try? TestSupport.run("rm", ["-rf", directory])
  }
}
