import CDaemonStoreLinux
import DaemonStoreKernel

/// The mounts of one mount namespace at one moment, in the order of mountinfo: a mount stands
/// after its parent unless it was moved.
package struct MountTable: Sendable {
  package let mounts: [Mount]

  package init(_ mounts: [Mount]) { self.mounts = mounts }

  /// The mounts that the calling process sees.
  package static func current() throws(MountTableError) -> MountTable {
    try ofProcess("thread-self")
  }

  /// The mounts that a process sees: `ESRCH` or `ENOENT` when it is gone.
  package static func ofProcess(_ process: FilePath) throws(MountTableError) -> MountTable {
    let path: FilePath = "/proc/\(process)/mountinfo"
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
  package init(parsing text: [UInt8], from path: FilePath) throws(MountTableError) {
    var mounts: [Mount] = []
    var rest = text[...]
    while !rest.isEmpty {
      let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? rest.endIndex
      guard let line = MountInfoLine(rest[..<end]) else {
        throw .malformed(path, line: mounts.count + 1)
      }
      mounts.append(Mount(line))
      rest = rest[end...].dropFirst()
    }
    self.mounts = mounts
  }
}

/// A mount table that cannot be read. It is never taken for one without mounts.
package enum MountTableError: Error, Equatable, CustomStringConvertible, Sendable {
  case unreadable(SystemError)
  case malformed(FilePath, line: Int)

  package var description: String {
    switch self {
    case .unreadable(let error): error.description
    case .malformed(let path, let line): "\(path): line \(line) is not a line of mountinfo"
    }
  }
}

extension Mount {
  init(_ line: MountInfoLine) {
    let options = line.options.split(separator: UInt8(ascii: ","))
    self.init(
      id: line.id, parent: line.parent, device: linux_makedev(line.major, line.minor),
      root: line.root, target: line.target,
      options: Set(options.map { FilePath(truncating: $0) }),
      fileSystem: line.fileSystem, source: line.source.isEmpty ? "none" : line.source,
      peerGroup: line.peerGroup, master: line.master,
      layers: line.fileSystem == "overlay" ? overlayLayers(line.superOptions) : [],
      server: line.fileSystem.dropping(prefix: "fuse") == nil
        ? nil : Self.server(line.superOptions))
  }

  /// `user_id=1000` of FUSE, which the kernel writes itself.
  private static func server(_ options: some Sequence<UInt8>) -> UInt32? {
    let label = "user_id=".utf8
    return Array(options).split(separator: UInt8(ascii: ",")).first { $0.starts(with: label) }
      .flatMap { $0.dropFirst(label.count).number() }
  }
}
