import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// The program's file, as far as it can be told from outside the jail.
struct ProgramFile {
  enum Place: Equatable {
    case path([UInt8])
    /// On a file system that the jail will mount, with who knows what in it.
    case unknown
    /// Below a tmpfs that the jail will mount, which starts empty.
    case hidden
  }

  /// Where the file is now.
  let place: Place

  /// Maps the program's path back through the jail's mounts. A mount counts when its target is
  /// the path or a directory above it; the last one that does hides those before it.
  init(_ configuration: JailConfiguration) {
    let word = configuration.program.bytes
    let slash = UInt8(ascii: "/")
    let root = configuration.root.path.map { Array($0.bytes) }
    // A relative word is looked up from the working directory, which is / after a change of root.
    let absolute = word.first == slash || root == nil ? word : [slash] + word
    for mount in configuration.mounts.reversed() where !mount.isChange {
      guard let rest = Self.rest(of: absolute, below: Array(mount.target.bytes)) else { continue }
      if mount.isBind {
        place = .path(Array(mount.source.bytes) + (rest.isEmpty ? [] : [slash] + rest))
      } else if case .filesystem("tmpfs", _, _) = mount.kind {
        place = .hidden
      } else {
        place = .unknown
      }
      return
    }
    place = .path(root.map { $0 + [slash] + absolute } ?? word)
  }

  /// What is left of `path` below `directory`; nil when it is not below it.
  private static func rest(of path: [UInt8], below directory: [UInt8]) -> [UInt8]? {
    let slash = UInt8(ascii: "/")
    var prefix = directory[...]
    while prefix.last == slash { prefix.removeLast() }
    guard path.starts(with: prefix) else { return nil }
    let rest = path[prefix.count...]
    guard rest.isEmpty || rest.first == slash else { return nil }
    return Array(rest.drop { $0 == slash })
  }

  /// That the file can be executed, and how it is linked; nil where that shows only in the jail.
  func check(word: RawArgument) throws(JailError) -> JailConfiguration.Linkage? {
    let what = "Target program '\(word)' is not"
    let path: [CChar]
    switch place {
    case .path(let bytes): path = bytes.map { CChar(bitPattern: $0) } + [0]
    case .unknown: return nil
    case .hidden: throw JailError("\(what) accessible: a new tmpfs hides it")
    }
    guard access(path, X_OK) == 0 else {
      throw JailError("\(what) accessible: \(String(cString: strerror(errno)))")
    }
    let file = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard file >= 0 else {
      throw JailError("\(what) readable: \(String(cString: strerror(errno)))")
    }
    let descriptor = Descriptor(owning: file)
    guard let linkage = Self.linkage({ descriptor.bytes(at: $0, count: $1) }) else {
      throw JailError("\(what) a valid ELF file")
    }
    return linkage
  }

  /// Dynamic when it is no ELF file (a script) or names a loader; nil when its header makes no
  /// sense.
  static func linkage(_ read: (_ offset: UInt64, _ count: Int) -> [UInt8])
    -> JailConfiguration.Linkage?
  {
    let start = read(0, 128)
    guard start.count == 128, start.starts(with: ElfFile.magic) else { return .dynamic }
    guard let file = ElfFile(read) else { return nil }
    return file.loader == nil ? .static : .dynamic
  }
}
