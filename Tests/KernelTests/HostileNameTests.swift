import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// Names in directories are looked up as the bytes that they are.
@Suite(.needsRoot) struct HostileNameTests {
  @Test func eachNameIsItsOwnFile() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let names = HostileNames.paths
        let directory = try Directory(opening: "/mnt")
        for (index, name) in names.enumerated() {
          let file = try directory.file(name, flags: O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
          try file.write(Array("\(index)".utf8), shown: name)
        }
        #expect(try directory.names() == names.sorted())
        #expect(Set(names).count == names.count)
        for (index, name) in names.enumerated() {
          let file = try directory.file(name, flags: O_RDONLY)
          #expect(try file.read(atMost: 9, shown: name) == Array("\(index)".utf8), "\(name)")
          #expect(
            try Descriptor(opening: directory.path(of: name), flags: O_RDONLY).status().size > 0)
        }
        for name in names { try directory.removeFile(name) }
        #expect(try directory.names().isEmpty)
      }
    }
  }

  /// Replaced, exchanged, renamed, locked and removed under its own name, and no other.
  @Test func nothingElseIsTouched() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let directory = try Directory(opening: "/mnt")
        let names = HostileNames.paths
        for name in names { try directory.replaceFile(name, with: [1], mode: 0o600) }
        for name in names {
          try directory.rename(name, to: "moved")
          #expect(try directory.names().count == names.count)
          #expect(try directory.status(of: name) == nil, "\(name)")
          try directory.rename("moved", to: name)
          let lock = try FileLock(name, in: directory, until: .now + .seconds(1))
          let isHeld = try FileLock.isHeld(name, in: directory)
          #expect(lock != nil && isHeld, "\(name)")
        }
        for name in names {
          try directory.destroyFile(name)
          #expect(try directory.makeDirectory(name), "\(name)")
          #expect(try directory.directory(name).path == directory.path.appending(name))
          try directory.removeEmptyTree(name)
        }
        #expect(try directory.names().isEmpty)
      }
    }
  }

  /// On one line and in ASCII controls escaped, and the bytes are kept.
  @Test func errorsShowTheBytes() throws {
    for name in HostileNames.paths {
      let path: FilePath = "/nonexistent/\(name)"
      let error = #expect(throws: SystemError.self) {
        _ = try Descriptor(opening: path, flags: O_RDONLY)
      }
      #expect(error?.path == path)
      let text = "\(try #require(error))"
      #expect(!text.utf8.contains { $0 < 0x20 || $0 == 0x7f }, "\(text)")
    }
    #expect("\(FilePath(truncating: [0x61, 0xff, 0xc0, 0xaf]))" == "a\\xff\\xc0\\xaf")
    for bytes in HostileNames.withNUL { #expect(FilePath(bytes) == nil) }
  }
}
