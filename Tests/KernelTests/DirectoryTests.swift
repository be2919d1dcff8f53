import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

@Suite(.needsRoot) struct DirectoryTests {
  private static func code(_ body: () throws -> Void) -> CInt? {
    do {
      try body()
      return nil
    } catch let error as SystemError {
      return error.code
    } catch {
      return -1
    }
  }

  @Test func opensNothingThroughALink() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try makeDirectory("/mnt/real/inner")
        try writeFile("/mnt/real/file", "text")
        try makeLink("/mnt/link", to: "real")
        for path in ["/mnt/link/inner", "/mnt/link/.."] {
          #expect(Self.code { _ = try Directory(opening: path) } == ELOOP, "\(path)")
        }
        #expect(Self.code { _ = try Directory(opening: "/mnt/link") } == ENOTDIR, "the link itself")
        #expect(Self.code { _ = try Descriptor(opening: "/mnt/link/file", flags: 0) } == ELOOP)
        #expect(try Directory(followingLinks: "/mnt/link/inner").path == "/mnt/real/inner")
        let mnt = try Directory(opening: "/mnt")
        #expect(Self.code { _ = try mnt.directory("link") } == ENOTDIR)
        #expect(Self.code { _ = try mnt.directory("link/inner") } == ELOOP)
        #expect(Self.code { _ = try mnt.directory("../mnt") } == EXDEV)
        #expect(Self.code { _ = try mnt.directory("/etc") } == EXDEV)
        #expect(Self.code { _ = try mnt.directory("real/file") } == ENOTDIR)
        #expect(Self.code { _ = try mnt.directory("none") } == ENOENT)
        #expect(try mnt.directory("real/inner").path == "/mnt/real/inner")
      }
    }
  }

  @Test func staysOnItsMountWhenAsked() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try makeDirectory("/mnt/point")
        let mnt = try Directory(opening: "/mnt")
        #expect(try mnt.status(of: "point")?.isMountRoot == false)
        try mountFilesystem("other", "/mnt/point", "tmpfs")
        #expect(try mnt.status(of: "point")?.isMountRoot == true)
        #expect(Self.code { _ = try mnt.directory("point", crossingMounts: false) } == EXDEV)
        let point = try mnt.directory("point")
        let line = try #require(try mountTable().at("/mnt/point").first)
        #expect(try point.status().mountID == UInt64(line.id))
        try mnt.unmount("point", lazily: true)
        #expect(try mountTable().at("/mnt/point").isEmpty)
      }
    }
  }

  @Test func namesAreSortedByTheirBytes() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let names = [".dot", "A", "a", "a b", "b\n", "\u{e9}", "\u{1f600}"]
        for name in names.reversed() { try writeFile("/mnt/\(name)", "") }
        #expect(try Directory(opening: "/mnt").names() == names.map { FilePath($0) })
      }
    }
  }

  @Test func makesAndRemoves() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let mnt = try Directory(opening: "/mnt")
        #expect(try mnt.makeDirectory("made"))
        #expect(try !mnt.makeDirectory("made"), "it is there")
        try mnt.directory("made").set(owner: 5, group: 60, mode: 0o6751)
        #expect(attributes("/mnt/made") == "5:60 6751")
        try writeFile("/mnt/one", "1")
        try writeFile("/mnt/two", "2")
        #expect(Self.code { try mnt.renameNew("one", to: "two") } == EEXIST)
        try mnt.renameNew("one", to: "three")
        #expect(try readFile("/mnt/three") == "1" && readFile("/mnt/two") == "2")
        try mnt.removeFile("three")
        #expect(try mnt.removeDirectory("made"))
        #expect(try !mnt.removeDirectory("made"), "it is gone")
      }
    }
  }

  @Test func removesOnlyWhatIsEmpty() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let mnt = try Directory(opening: "/mnt")
        try makeDirectory("/mnt/tree/a/b")
        try makeDirectory("/mnt/tree/c")
        try mnt.removeEmptyTree("tree")
        #expect(!exists("/mnt/tree"))
        try makeDirectory("/mnt/tree/a")
        try writeFile("/mnt/tree/a/file", "kept")
        #expect(Self.code { try mnt.removeEmptyTree("tree") } != nil)
        #expect(try readFile("/mnt/tree/a/file") == "kept")
      }
    }
  }

  @Test func removesContentsOfAnyDepthButNoOtherMount() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try makeDirectory("/mnt/vault/deep")
        try makeLink("/mnt/vault/link", to: "/mnt/outside")
        try writeFile("/mnt/outside", "kept")
        for _ in 0..<3_000 {  // deeper than PATH_MAX and than the limit of descriptors
          try check("chdir", nil, chdir("/mnt/vault/deep"))
          try check("mkdir", nil, mkdir("/mnt/vault/next", 0o700))
          try check("rename", nil, rename("/mnt/vault/deep", "/mnt/vault/next/deep"))
          try check("rename", nil, rename("/mnt/vault/next", "/mnt/vault/deep"))
        }
        try check("chdir", nil, chdir("/"))
        let vault = try Directory(opening: "/mnt/vault")
        let failures = try vault.removeContents()
        #expect(failures.isEmpty, "\(failures)")
        #expect(try vault.names().isEmpty)
        #expect(try readFile("/mnt/outside") == "kept")
        try makeDirectory("/mnt/vault/in/point")
        try mountFilesystem("other", "/mnt/vault/in/point", "tmpfs")
        try writeFile("/mnt/vault/in/point/file", "kept")
        try writeFile("/mnt/vault/in/zulu", "goes")
        try writeFile("/mnt/vault/other", "goes")
        try writeFile("/mnt/vault/zulu", "goes")
        let codes = try vault.removeContents().map(\.code)
        #expect(codes == [EBUSY])
        let left = try vault.names() + vault.directory("in").names()
        #expect(left == ["in", "point"])
        #expect(try readFile("/mnt/vault/in/point/file") == "kept")
      }
    }
  }

  @Test func removesWhatIsProtectedAndEmptiesWhatIsOpen() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try makeDirectory("/mnt/vault/tree/inner")
        for name in ["a", "tree/b", "tree/inner/c"] { try writeFile("/mnt/vault/\(name)", "text") }
        let open = try Descriptor(opening: "/mnt/vault/tree/inner/c", flags: O_RDONLY)
        // A tmpfs knows these marks since Linux 6.6.
        _ = try run("chattr", ["-R", "+i", "/mnt/vault/a", "/mnt/vault/tree"])
        let vault = try Directory(opening: "/mnt/vault")
        let failures = try vault.removeContents(emptyingFiles: true)
        #expect(failures.isEmpty, "\(failures)")
        #expect(try vault.names().isEmpty)
        let left = try open.read(atMost: 10, shown: "c")
        #expect(left == [])
      }
    }
  }

  @Test func doesNotWaitForWhoMakesFilesForEver() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try makeDirectory("/mnt/vault/tree")
        let helpers = Helpers()
        for place in ["/mnt/vault", "/mnt/vault/tree"] {
          _ = try helpers.start(
            "python3", "-c",
            "import os,itertools\nos.chdir('\(place)')\nprint('ready', flush=True)\n"
              + "for n in itertools.count():\n"
              + "  try: os.mkdir(f'd{n}'); os.close(os.open(f'd{n}/a', os.O_CREAT))\n"
              + "  except OSError: pass")
        }
        let vault = try Directory(opening: "/mnt/vault")
        let failures = try vault.removeContents()
        #expect(failures.contains { $0.code == ENOTEMPTY }, "\(failures)")
        helpers.stopAll()
        let rest = try vault.removeContents()
        #expect(try rest.isEmpty && vault.names().isEmpty, "\(rest)")
      }
    }
  }
}
