import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

private func daemonStore(_ words: [FilePath]) throws -> Outcome {
  try run("\(builtPrograms())/daemon-store", raw: words.map(\.cString))
}

/// Command lines whose words are not UTF-8.
@Suite(.needsRoot) struct HostileRootTests {
  /// An image may be called anything, and the image of another name is not touched.
  @Test func rootMayHaveAnyName() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let mount = try Directory(opening: "/mnt" as FilePath)
        for name in HostileNames.paths {
          try mount.makeDirectory(name, mode: 0o755)
          let image = mount.path(of: name)
          for words in [["--root", image], ["--root=\(image)"]] as [[FilePath]] {
            let outcome = try daemonStore(["template", "list"] + words)
            #expect(outcome.status == 0, "\(name): \(outcome)")
          }
          let missing = try daemonStore(["template", "list", "--root", "\(image)x"])
          #expect(missing.status == 1 && !missing.errors.utf8.contains(0x1b), "\(missing)")
        }
      }
    }
  }

  /// What is not a path has to be text.
  @Test func otherWordsMustBeText() throws {
    for bytes in HostileNames.invalid {
      let word = FilePath(truncating: bytes)
      for words in [
        ["template", "check", word], ["wait", "alpha", word], ["template", "add", word], [word],
        ["template", "list", "--root", "/", "--\(word)=/"],
      ] as [[FilePath]] {
        let outcome = try daemonStore(words)
        #expect(outcome.status == 2, "\(outcome)")
        #expect(outcome.errors.contains("is not valid UTF-8"), "\(outcome)")
      }
    }
  }

  /// The private scalars that stand for bytes on the way stand for themselves where they are typed.
  @Test func privateScalarsAreThemselves() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let typed = FilePath(truncating: "\u{10feff}".utf8)
        let mount = try Directory(opening: "/mnt" as FilePath)
        try mount.makeDirectory(FilePath(truncating: [0xff]), mode: 0o755)
        let path = mount.path(of: typed)
        #expect(try daemonStore(["template", "list", "--root", path]).status == 1)
        try mount.makeDirectory(typed, mode: 0o755)
        #expect(try daemonStore(["template", "list", "--root", path]).status == 0)
      }
    }
  }
}
