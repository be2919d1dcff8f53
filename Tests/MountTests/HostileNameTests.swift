import CLibmount
import Glibc
import TestSupport
import Testing

@testable import DaemonStoreKernel

/// Names that mislead whoever reads them as text: each a component of a path.
let hostileNames: [[UInt8]] = [
  Array("/\u{301}x".utf8.dropFirst()),  // a combining mark behind the slash before it
  Array("\u{301}".utf8), Array("e\u{301}".utf8), Array("é".utf8), Array("\u{200d}".utf8),
  Array("\u{fe0f}".utf8), Array("\u{1f1e9}\u{1f1ea}".utf8), Array("\r\u{301}".utf8),
  Array("K".utf8), Array("\u{212a}".utf8), Array("\u{fffd}".utf8),
  [0xff], [0xfe, 0xff], [0xc0, 0xaf], [0xe0, 0x80, 0xaf], [0xed, 0xa0, 0x80],
  [0xf4, 0x90, 0x80, 0x80], [0xc3], [0x80],
  Array("a b".utf8), Array("a\tb".utf8), Array("a\nb".utf8), Array("a\\b".utf8),
  Array("\\040".utf8), Array("a#b".utf8), Array("-".utf8), Array(" - ".utf8),
  Array("shared:1".utf8), Array("//deleted".utf8.dropFirst(2)), Array("a\rb".utf8),
  [UInt8](repeating: UInt8(ascii: "n"), count: 255), [UInt8](repeating: 0xff, count: 255),
  Array(repeating: Array("\u{301}".utf8), count: 127).flatMap { $0 },
]

@Suite struct HostileNameTests {
  /// As the kernel writes a path into mountinfo.
  private func escaped(_ bytes: [UInt8]) -> [UInt8] {
    bytes.flatMap { byte -> [UInt8] in
      guard " \t\n\\#".utf8.contains(byte) else { return [byte] }
      return [UInt8(ascii: "\\")] + [byte >> 6, byte >> 3 & 7, byte & 7].map { $0 + 0x30 }
    }
  }

  private func line(_ number: Int, _ name: [UInt8]) -> [UInt8] {
    let path = escaped(Array("/".utf8) + name)
    return Array("\(number) 1 0:\(number) ".utf8) + path + Array(" /mnt".utf8) + path
      + Array(" rw,nosuid shared:\(number) - tmpfs ".utf8) + escaped(name) + Array(" rw\n".utf8)
  }

  @Test func keepsEveryByteAndEveryDifference() throws {
    let text = hostileNames.enumerated().flatMap { line($0.offset + 10, $0.element) }
    let mounts = try MountTable(parsing: text, from: "text").mounts
    #expect(mounts.count == hostileNames.count)
    for (mount, name) in zip(mounts, hostileNames) {
      #expect(Array(mount.root.bytes) == Array("/".utf8) + name)
      #expect(Array(mount.target.bytes) == Array("/mnt/".utf8) + name)
      #expect(Array(mount.source.bytes) == name)
      #expect(mount.peerGroup.map { UInt64($0) } == mount.id && mount.fileSystem == "tmpfs")
      #expect(mount.target.isAtOrBelow("/mnt") && mount.target.components.count == 2)
    }
    #expect(Set(mounts.map(\.target)).count == Set(hostileNames).count)
  }

  /// No name is found below or equal to another, as text would have it.
  @Test func comparesPathsByBytes() throws {
    let paths = Set(hostileNames).compactMap { FilePath(Array("/mnt/".utf8) + $0) }
    for left in paths {
      for right in paths where left != right {
        #expect(!left.isAtOrBelow(right), "\(left) below \(right)")
        #expect(!left.isAtOrBelow(right.appending("x")), "\(left) below \(right)/x")
      }
    }
    #expect(!("/home/.shadow\u{301}/x" as FilePath).isAtOrBelow("/home/.shadow"))
  }

  /// libmount reads the same from the same text.
  @Test func agreesWithLibmount() throws {
    var text = hostileNames.enumerated().flatMap { line($0.offset + 10, $0.element) }
    text += Array(
      #"""
      1 0 0:1 / / rw - tmpfs a rw
      2 1 8:17 /r\040oot /tab\011new\012line\134back ro,noatime master:7 propagate_from:2 - ext4 /dev/sd\040a1 rw,errors=continue
      3 1 0:1 / /x rw shared:8 master:7 unbindable - fuse.\134x none rw,user_id=0
      4 1 0:4 mnt:[4026531840] /run/ns rw - nsfs nsfs rw
      5 1 0:5 /a//deleted /b//deleted rw shared:5 - overlay overlay rw,lowerdir=/a\040b:/c
      6 1 259:1048575 / /y rw future:tag:9 shared:3 - btrfs /dev/x rw,subvolid=5,subvol=/
      7 1 0:7 /back\slash /back\sla\1sh\08 rw - tmpfs t\ rw

      """#.utf8)
    let mounts = try MountTable(parsing: text, from: "text").mounts
    let expected = try libmountTable(text)
    #expect(mounts.count == expected.count)
    for (mount, other) in zip(mounts, expected) { #expect(mount == other) }
  }

  private func libmountTable(_ text: [UInt8]) throws -> [Mount] {
    let table = try #require(mnt_new_table())
    defer { mnt_unref_table(table) }
    var bytes = text
    let status = bytes.withUnsafeMutableBytes { buffer -> CInt in
      guard let stream = fmemopen(buffer.baseAddress, buffer.count, "r") else { return -1 }
      defer { fclose(stream) }
      // libmount takes the form of a file from its name.
      return mnt_table_parse_stream(table, stream, "/proc/self/mountinfo")
    }
    try #require(status == 0)
    let iterator = try #require(mnt_new_iter(CInt(MNT_ITER_FORWARD)))
    defer { mnt_free_iter(iterator) }
    var mounts: [Mount] = []
    var entry: OpaquePointer?
    while mnt_table_next_fs(table, iterator, &entry) == 0, let line = entry {
      mounts.append(try mount(line))
    }
    return mounts
  }

  private func mount(_ line: OpaquePointer) throws -> Mount {
    func path(_ text: UnsafePointer<CChar>?) throws -> FilePath {
      let text = try #require(text)
      return try #require(FilePath(String.bytes(of: text)))
    }
    let optional = mnt_fs_get_optional_fields(line).map { String(cString: $0) } ?? ""
    func group(_ tag: String) -> Int? {
      optional.split(separator: " ").first { $0.hasPrefix(tag) }
        .flatMap { Int($0.dropFirst(tag.count)) }
    }
    let options = try path(mnt_fs_get_vfs_options(line)).description
    let fileSystem = try path(mnt_fs_get_fstype(line))
    return Mount(
      id: UInt64(mnt_fs_get_id(line)), parent: UInt64(mnt_fs_get_parent_id(line)),
      device: UInt64(mnt_fs_get_devno(line)), root: try path(mnt_fs_get_root(line)),
      target: try path(mnt_fs_get_target(line)),
      attributes: MountAttributes(options: Array(options.utf8)[...]), fileSystem: fileSystem,
      source: try path(mnt_fs_get_source(line)), peerGroup: group("shared:"),
      master: group("master:"),
      isUnbindable: optional.split(separator: " ").contains("unbindable"),
      layers: fileSystem == "overlay"
        ? overlayLayers(Array(try path(mnt_fs_get_fs_options(line)).bytes)) : [],
      server: fileSystem.dropping(prefix: "fuse") != nil ? 0 : nil)  // as in the text above
  }
}

extension String {
  fileprivate static func bytes(of text: UnsafePointer<CChar>) -> [UInt8] {
    UnsafeBufferPointer(start: text, count: strlen(text)).map(UInt8.init(bitPattern:))
  }
}

/// The same names in real mounts.
@Suite(.needsRoot) struct HostileMountTests {
  @Test func findsMountsOfEveryName() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        var expected: [[UInt8]] = []
        for name in hostileNames {
          let path = Array("/mnt/".utf8) + name
          let text = path.map(CChar.init(bitPattern:)) + [0]
          if mkdir(text, 0o700) != 0 && errno != EEXIST { throw Problem("mkdir \(name)") }
          guard Glibc.mount("none", text, "tmpfs", 0, nil) == 0 else { throw Problem("mount") }
          expected.append(path)
        }
        let mounts = try MountTable.current().mounts
        let found = mounts.map { Array($0.target.bytes) }
        #expect(found.suffix(expected.count) == expected[...])
        for mount in mounts.suffix(expected.count) {
          let directory = try Directory(opening: mount.target)
          #expect(try directory.status().mountID == mount.id, "\(mount.target)")
        }
      }
    }
  }
}
