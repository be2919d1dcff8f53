import DaemonStore
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

@Suite(.needsRoot) struct TemplatesTests {
  private static let root = "/mnt/root"
  private static let templates = "/mnt/root/etc/daemon-store"

  private static func read() throws -> Templates {
    try Templates.read(Layout(root: FilePath(root)))
  }

  @Test func readsNameOwnerGroupAndMode() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try makeDirectory("\(Self.templates)/beta", owner: 5, group: 60, mode: 0o3770)
        try makeDirectory("\(Self.templates)/alpha", owner: 6, group: 61, mode: 0o700)
        try makeDirectory("\(Self.templates)/Gamma", mode: 0o4775)
        let read = try Self.read()
        let seen = read.valid.map {
          "\($0.name) \($0.owner):\($0.group) \(String($0.permissions, radix: 8))"
        }
        #expect(seen == ["Gamma 0:0 4775", "alpha 6:61 700", "beta 5:60 3770"], "\(seen)")
        #expect(read.rejected.isEmpty && !read.isMissing, "\(read)")
      }
    }
  }

  @Test func modesHaveFourDigitsOrMore() {
    let modes: [mode_t] = [0, 0o7, 0o700, 0o1777]
    #expect(modes.map(octal) == ["0000", "0007", "0700", "01777"])
  }

  @Test func rejectsWhatIsNone() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try makeDirectory("\(Self.templates)/good")
        try makeLink("\(Self.templates)/link", to: "good")
        try writeFile("\(Self.templates)/file", "")
        try makeDirectory("\(Self.templates)/_under")
        try makeDirectory("\(Self.templates)/.hidden", mode: 0o777)
        try writeFile("\(Self.templates)/.keep", "")
        try makeDirectory("\(Self.templates)/open", mode: 0o1777)
        let read = try Self.read()
        #expect(read.valid.map(\.name.description) == ["good"], "\(read)")
        let seen = read.rejected.map(\.description)
        #expect(seen.count == 4, "\(seen)")
        for (name, reason) in [
          ("_under", "not a store name"), ("file", "is a file"), ("link", "is a symbolic link"),
          ("open", "mode 01777"),
        ] {
          #expect(
            seen.contains { $0.hasPrefix("\(Self.templates)/\(name): ") && $0.contains(reason) },
            "\(name): \(seen)")
        }
      }
    }
  }

  @Test func missingIsNoStores() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try makeDirectory("\(Self.root)/etc")
        let read = try Self.read()
        #expect(read.isMissing && read.valid.isEmpty && read.rejected.isEmpty, "\(read)")
      }
    }
  }

  @Test func whatOthersCanWriteIsNotUsed() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try makeDirectory("\(Self.templates)/good")
        for path in [Self.root, "\(Self.root)/etc", Self.templates] {
          for mode: mode_t in [0o775, 0o757, 0o1777] {
            try setMode(path, mode)
            let read = try Self.read()
            #expect(read.valid.isEmpty && !read.isMissing, "\(path): \(read)")
            #expect(read.rejected.map(\.path) == [FilePath(path)], "\(read)")
          }
          try setMode(path, 0o755)
          try setOwner(path, 1000, 0)
          #expect(try Self.read().rejected.map(\.path) == [FilePath(path)])
          try setOwner(path, 0, 0)
        }
        #expect(try Self.read().valid.count == 1)
        try Self.check("rename", rename("\(Self.root)/etc", "\(Self.root)/real"))
        try makeLink("\(Self.root)/etc", to: "real")
        let read = try Self.read()
        #expect(read.valid.isEmpty && read.rejected.count == 1, "a link on the way: \(read)")
      }
    }
  }

  private static func check(_ name: String, _ result: CInt) throws {
    if result != 0 { throw Problem("\(name): \(String(cString: strerror(errno)))") }
  }
}
