/// One line of mountinfo: proc_pid_mountinfo(5). Names and paths are bytes, with the octal escapes
/// taken back.
package struct MountInfoLine: Equatable, Sendable {
  package let id: Int
  package let parent: Int
  package let major: UInt32
  package let minor: UInt32
  /// The directory of the file system that the mount shows.
  package let root: FilePath
  package let target: FilePath
  /// Of the mount, without those of its file system, as they stand there.
  package let options: ArraySlice<UInt8>
  package let peerGroup: Int?
  package let master: Int?
  package let fileSystem: FilePath
  /// Empty where the kernel has none.
  package let source: FilePath
  /// Of the file system, with the octal escapes taken back.
  package let superOptions: [UInt8]

  /// nil for what is no line of mountinfo: a field is missing, a number is none, a path contains a
  /// NUL. To pass over a line that is half understood would be to overlook a mount.
  package init?(_ line: ArraySlice<UInt8>) {
    var fields = Fields(rest: line)
    guard let id: Int = fields.next()?.number(), let parent: Int = fields.next()?.number(),
      let device = fields.next(), let colon = device.firstIndex(of: UInt8(ascii: ":")),
      let major: UInt32 = device[..<colon].number(),
      let minor: UInt32 = device[(colon + 1)...].number(),
      let root = fields.next().flatMap({ FilePath(unescaped($0)) }), !root.isEmpty,
      let target = fields.next().flatMap({ FilePath(unescaped($0)) }), target.isAbsolute,
      let options = fields.next(), !options.isEmpty, let groups = Groups(&fields),
      let fileSystem = fields.next().flatMap({ FilePath(unescaped($0)) }), !fileSystem.isEmpty,
      let source = fields.next().flatMap({ FilePath(unescaped($0)) }),
      let superOptions = fields.rest.map(unescaped), !superOptions.contains(0)
    else { return nil }
    self.id = id
    self.parent = parent
    self.major = major
    self.minor = minor
    self.root = root
    self.target = target
    self.options = options
    peerGroup = groups.peerGroup
    master = groups.master
    self.fileSystem = fileSystem
    self.source = source
    self.superOptions = superOptions
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
private struct Groups {
  private(set) var peerGroup: Int?
  private(set) var master: Int?

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
      }
    }
    return nil
  }
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
