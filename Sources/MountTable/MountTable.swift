import CLibmount
import CLinux
import Glibc
import Kernel

/// The mounts of one mount namespace at one moment, in the order of mountinfo: a mount stands
/// after its parent unless it was moved.
public struct MountTable: Sendable {
  public let mounts: [Mount]

  public init(_ mounts: [Mount]) { self.mounts = mounts }

  /// The mounts that the calling process sees.
  public static func current() throws(MountTableError) -> MountTable {
    try ofProcess("thread-self")
  }

  /// The mounts that a process sees: `ESRCH` or `ENOENT` when it is gone.
  public static func ofProcess(_ process: String) throws(MountTableError) -> MountTable {
    let path = "/proc/\(process)/mountinfo"
    let text: [UInt8]
    do {
      text = try kernelFile(path)
    } catch {
      throw .unreadable(error)
    }
    return try MountTable(parsing: text, from: path)
  }

  /// Parses mountinfo. One line that is not understood fails the whole: a mount that is overlooked
  /// is worse than an error.
  public init(parsing text: [UInt8], from path: String) throws(MountTableError) {
    guard !text.isEmpty else {
      mounts = []
      return
    }
    guard let table = mnt_new_table() else { throw .malformed(path, line: 0) }
    defer { mnt_unref_table(table) }
    let refuse: @convention(c) (OpaquePointer?, UnsafePointer<CChar>?, CInt) -> CInt = {
      _, _, _ in -1
    }
    mnt_table_set_parser_errcb(table, refuse)
    var bytes = text
    let parsed = bytes.withUnsafeMutableBytes { buffer -> CInt in
      guard let stream = fmemopen(buffer.baseAddress, buffer.count, "r") else { return -1 }
      defer { fclose(stream) }
      return mnt_table_parse_stream(table, stream, path)
    }
    guard parsed == 0 else { throw .malformed(path, line: Int(mnt_table_get_nents(table)) + 1) }

    guard let iterator = mnt_new_iter(CInt(MNT_ITER_FORWARD)) else {
      throw .malformed(path, line: 0)
    }
    defer { mnt_free_iter(iterator) }
    var mounts: [Mount] = []
    mounts.reserveCapacity(Int(mnt_table_get_nents(table)))
    var entry: OpaquePointer?
    while mnt_table_next_fs(table, iterator, &entry) == 0, let line = entry {
      guard let mount = Mount(line) else { throw .malformed(path, line: mounts.count + 1) }
      mounts.append(mount)
    }
    self.mounts = mounts
  }
}

/// A mount table that cannot be read. It is never taken for one without mounts.
public enum MountTableError: Error, Equatable, CustomStringConvertible, Sendable {
  case unreadable(SystemError)
  case malformed(String, line: Int)

  public var description: String {
    switch self {
    case .unreadable(let error): error.description
    case .malformed(let path, let line): "\(path): line \(line) is not a line of mountinfo"
    }
  }
}

extension Mount {
  /// What libmount read; nil when a field that every line has is missing.
  fileprivate init?(_ line: OpaquePointer) {
    guard let root = mnt_fs_get_root(line), let target = mnt_fs_get_target(line),
      let type = mnt_fs_get_fstype(line)
    else { return nil }
    let optional = Self.words(mnt_fs_get_optional_fields(line), separator: " ")
    func group(_ tag: String) -> Int? {
      optional.first { $0.hasPrefix(tag) }.flatMap { Int($0.dropFirst(tag.count)) }
    }
    self.init(
      id: Int(mnt_fs_get_id(line)), parent: Int(mnt_fs_get_parent_id(line)),
      device: UInt64(mnt_fs_get_devno(line)), root: String(cString: root),
      target: String(cString: target),
      options: Set(Self.words(mnt_fs_get_vfs_options(line), separator: ",")),
      fileSystem: String(cString: type),
      source: mnt_fs_get_source(line).map { String(cString: $0) } ?? "none",
      peerGroup: group("shared:"), master: group("master:"),
      layers: strcmp(type, "overlay") == 0
        ? mnt_fs_get_fs_options(line).map(Self.layers) ?? [] : [],
      server: strncmp(type, "fuse", 4) == 0
        ? mnt_fs_get_fs_options(line).flatMap(Self.server) : nil)
  }

  /// `user_id=1000` of FUSE, which the kernel writes itself.
  private static func server(_ options: UnsafePointer<CChar>) -> UInt32? {
    let bytes = UnsafeRawBufferPointer(start: options, count: strlen(options))
    let label = "user_id=".utf8
    return bytes.split(separator: UInt8(ascii: ",")).first { $0.starts(with: label) }
      .flatMap { UInt32(String(decoding: $0.dropFirst(label.count), as: UTF8.self)) }
  }

  private static func layers(_ options: UnsafePointer<CChar>) -> [String] {
    overlayLayers(String(cString: options))
  }

  private static func words(_ text: UnsafePointer<CChar>?, separator: Character) -> [String] {
    guard let text else { return [] }
    return String(cString: text).split(separator: separator).map(String.init)
  }
}
