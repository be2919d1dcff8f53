import CDaemonStoreLinux

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
      guard let mount = Mount(line: rest[..<end]) else {
        throw .malformed(path, line: mounts.count + 1)
      }
      mounts.append(mount)
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
  /// One line of mountinfo: proc_pid_mountinfo(5).
  ///
  /// - Returns: nil for what is no line of mountinfo: a field is missing, a number is none, a path
  ///   contains a NUL. To pass over a line that is half understood would be to overlook a mount.
  package init?(line: ArraySlice<UInt8>) {
    var fields = Fields(rest: line)
    guard let id: UInt64 = fields.next()?.number(), let parent: UInt64 = fields.next()?.number(),
      let device = fields.next(), let colon = device.firstIndex(of: UInt8(ascii: ":")),
      let major: UInt32 = device[..<colon].number(),
      let minor: UInt32 = device[(colon + 1)...].number(),
      let root = fields.next().flatMap({ FilePath(unescaped($0)) }), !root.isEmpty,
      let target = fields.next().flatMap({ FilePath(unescaped($0)) }), target.isAbsolute,
      let options = fields.next(), !options.isEmpty, let tags = Tags(&fields),
      let fileSystem = fields.next().flatMap({ FilePath(unescaped($0)) }), !fileSystem.isEmpty,
      let source = fields.next().flatMap({ FilePath(unescaped($0)) }),
      let ownOptions = fields.rest, !containsNUL(ownOptions)
    else { return nil }
    self.init(
      id: id, parent: parent, device: linux_makedev(major, minor), root: root, target: target,
      attributes: MountAttributes(options: options), fileSystem: fileSystem, source: source,
      peerGroup: tags.peerGroup, master: tags.master, isUnbindable: tags.isUnbindable
    ) { unescaped(ownOptions) }
  }
}

/// The fields of a line. There is one blank between two, so that a field may be empty.
private struct Fields {
  /// What was not taken yet; nil after the last field.
  private(set) var rest: ArraySlice<UInt8>?

  init(rest: ArraySlice<UInt8>) { self.rest = rest }

  mutating func next() -> ArraySlice<UInt8>? {
    guard let line = rest else { return nil }
    guard let blank = line.firstIndex(of: UInt8(ascii: " ")) else {
      rest = nil
      return line
    }
    rest = line[(blank + 1)...]
    return line[..<blank]
  }
}

/// The optional fields, up to the hyphen that ends them. One of another kind is passed over.
private struct Tags {
  private(set) var peerGroup: Int?
  private(set) var master: Int?
  private(set) var isUnbindable = false

  /// nil when there is no end, or a group without a number.
  init?(_ fields: inout Fields) {
    while let field = fields.next() {
      if field.equals("-") { return }
      if field.begins(with: "shared:") {
        guard let number: Int = field.dropFirst(7).number() else { return nil }
        peerGroup = number
      } else if field.begins(with: "master:") {
        guard let number: Int = field.dropFirst(7).number() else { return nil }
        master = number
      } else if field.equals("unbindable") {
        isUnbindable = true
      }
    }
    return nil
  }
}

/// Whether there is a NUL in it, once the octal escapes are taken back.
private func containsNUL(_ field: ArraySlice<UInt8>) -> Bool {
  field.contains(0) || field.contains(UInt8(ascii: "\\")) && unescaped(field).contains(0)
}

/// `\040` is a blank: a backslash and three octal digits of one byte. Every other backslash is one.
private func unescaped(_ field: ArraySlice<UInt8>) -> [UInt8] {
  guard field.contains(UInt8(ascii: "\\")) else { return Array(field) }
  var result: [UInt8] = []
  result.reserveCapacity(field.count)
  var index = field.startIndex
  while index < field.endIndex {
    let digits = field[(index + 1)...].prefix(3)
    if field[index] == UInt8(ascii: "\\"), digits.count == 3,
      let value: UInt8 = digits.number(radix: 8)
    {
      result.append(value)
      index += 4
    } else {
      result.append(field[index])
      index += 1
    }
  }
  return result
}
