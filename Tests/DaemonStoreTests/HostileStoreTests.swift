import DaemonStore
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// Templates and checked names with bytes that text gets wrong.
@Suite(.needsRoot) struct HostileStoreTests {
  @Test func templatesAreRejectedUnderTheirOwnNames() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try makeDirectory("/mnt/root/etc/daemon-store")
        let directory = try Directory(opening: "/mnt/root/etc/daemon-store" as FilePath)
        // One of them is a name that a store may have, and some are hidden files.
        let names = HostileNames.paths
        for name in names { try directory.makeDirectory(name) }
        let templates = try Templates.read(Layout(root: "/mnt/root"))
        #expect(templates.valid.map(\.name.description) == ["K"])
        let refused = names.filter { $0 != "K" && $0.bytes.first != UInt8(ascii: ".") }
        #expect(templates.rejected.map(\.path) == refused.sorted().map { directory.path(of: $0) })
        for rejection in templates.rejected {
          #expect(!"\(rejection)".utf8.contains { $0 < 0x20 || $0 == 0x7f }, "\(rejection)")
          // What is proposed is a line for sh(1) that names this very directory.
          if let fix = rejection.fix {
            #expect(try run("sh", ["-c", "set -- \(fix); test -d \"$2\""]).status == 0, "\(fix)")
          }
        }
      }
    }
  }

  @Test func aRootMayHaveAnyName() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let mount = try Directory(opening: "/mnt" as FilePath)
        for name in HostileNames.paths {
          try mount.makeDirectory(name, mode: 0o755)
          let root = try mount.directory(name)
          try root.makeDirectory("etc", mode: 0o755)
          try root.directory("etc").makeDirectory("daemon-store", mode: 0o755)
          let templates = try root.directory("etc/daemon-store")
          let store: FilePath = "store"
          try templates.makeDirectory(store)
          let layout = Layout(root: root.path)
          #expect(try Templates.read(layout).valid.map(\.name.description) == ["store"], "\(name)")
          #expect(layout.templates == root.path.appending("etc/daemon-store"))
        }
      }
    }
  }

  @Test func checkedNamesAreASCII() {
    for bytes in HostileNames.names + HostileNames.withNUL where bytes != [0x4b] {
      #expect(StoreName(bytes) == nil, "\(bytes)")
      #expect(StoreName([0x61] + bytes) == nil || bytes.allSatisfy { $0 < 0x80 }, "\(bytes)")
      #expect(ObfuscatedUsername(bytes) == nil, "\(bytes)")
      let hash = Array(repeating: UInt8(ascii: "a"), count: 40 - min(40, bytes.count)) + bytes
      #expect(ObfuscatedUsername(hash) == nil, "\(bytes)")
    }
  }
}
