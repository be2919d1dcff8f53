import Glibc
import TestSupport
import Testing

/// The C code, built with AddressSanitizer and UndefinedBehaviorSanitizer, and driven by the programs in
/// `Tests/Sanitized` with input that is good, wrong and hostile.
@Suite(.needsRoot) struct SanitizedCodeTests {
  /// What is built and run, in a directory that has a copy of `Sources` and of the drivers.
  struct Code: CustomTestStringConvertible, Sendable {
    let name: String
    let script: String
    /// A mistake that is planted into the copy: a file, a text in it, and what it becomes.
    let file: String
    let right: String
    let wrong: String
    var testDescription: String { name }
  }

  static let all = [
    Code(
      name: "libdaemonstore",
      script: """
        c -ISources/libdaemonstore/include -o driver Sanitized/daemonstore.c \\
          Sources/libdaemonstore/daemonstore.c
        ./driver
        """,
      file: "libdaemonstore/daemonstore.c", right: #"char hash\[HASH_DIGITS + 1\] = "";"#,
      wrong: #"char hash[HASH_DIGITS] = "";"#),
    Code(
      name: "pam_daemonstore",
      script: """
        c -shared -fPIC -fvisibility=hidden -o module.so Sources/pam_daemonstore/*.c -lpam
        c -shared -fPIC -o given.so Sanitized/pam_given.c -lpam
        c -o driver Sanitized/pam.c -lpam
        ./driver "$PWD/module.so" "$PWD/helper" "$PWD/given.so"
        """,
      file: "pam_daemonstore/work.c", right: "LONGEST_ANSWER - 1 - \\*size",
      wrong: "LONGEST_ANSWER + 9 - *size"),
    Code(
      name: "libminijailpreload",
      // The program's main is called with three arguments, whatever it was declared with.
      script: """
        c -fno-sanitize=function -shared -fPIC -fvisibility=hidden -o library.so \\
          Sources/minijailpreload/minijailpreload.c
        c -o driver Sanitized/preload.c
        ./driver "$PWD/library.so"
        """,
      file: "minijailpreload/minijailpreload.c", right: "instructions, sizeof instructions, 0)",
      wrong: "instructions, 2 * sizeof instructions, 0)"),
    Code(
      name: "CLinux",
      script: """
        c -ISources/CDaemonStoreLinux/include -o driver Sanitized/clinux.c Sources/CDaemonStoreLinux/*.c
        ./driver
        """,
      file: "CDaemonStoreLinux/rights.h", right: "if (\\*count < room)",
      wrong: "if (*count <= room)"),
  ]

  @Test(arguments: all) func nothingIsFound(_ code: Code) throws {
    let outcome = try Self.run(code.script)
    #expect(outcome.status == 0, "\(outcome)")
    #expect(!outcome.errors.contains("Sanitizer"), "\(outcome)")
  }

  /// The control: the same driver, with one number changed in a copy of the code.
  @Test(arguments: all) func plantedMistakeIsFound(_ code: Code) throws {
    let plant = """
      sed 's/\(code.right)/\(code.wrong)/' Sources/\(code.file) >planted
      if cmp -s planted Sources/\(code.file); then echo nothing planted >&2; exit; fi
      mv planted Sources/\(code.file)

      """
    let outcome = try Self.run(plant + code.script)
    #expect(outcome.status != 0 && outcome.errors.contains("AddressSanitizer"), "\(outcome)")
  }

  private static func run(_ script: String) throws -> Outcome {
    let text = """
      set -e
      mount -t tmpfs -o mode=755 none /mnt
      cd /mnt
      cp -R "$PACKAGE/Sources" "$PACKAGE/Tests/Sanitized" .
      c() {
        "$CLANG" -fuse-ld=lld -std=c11 -g -O1 -Wall -Wextra -Werror -fsanitize=address,undefined \\
          -fno-sanitize-recover=all -ISanitized "$@"
      }
      \(script)
      """
    return try TestSupport.run(
      "unshare", ["--mount", "--propagation", "private", "sh", "-c", text],
      environment: [
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "CLANG=\(try compiler())",
        "PACKAGE=\(projectFile("."))",
      ])
  }

  /// The clang of the toolchain that this test was built with: beside the Swift library it has loaded.
  private static func compiler() throws -> String {
    let library = "/lib/swift/linux/libswiftCore.so"
    let maps = try readFile("/proc/self/maps").split(separator: "\n")
    for line in maps where line.utf8.suffix(library.utf8.count).elementsEqual(library.utf8) {
      guard let start = line.firstIndex(of: "/") else { continue }
      let compiler = line[start...].dropLast(library.count) + "/bin/clang"
      if exists(String(compiler)) { return String(compiler) }
    }
    throw Problem("the Swift toolchain's clang was not found")
  }
}
