import DaemonStoreKernel

/// One line of `/proc/PID/mountinfo`, proc_pid_mountinfo(5). Paths are bytes, octal escapes taken
/// back.
struct MountInfo: Equatable {
  var id: UInt64
  var parent: UInt64
  /// `major:minor`.
  var device: [UInt8]
  /// The directory of the file system that the mount shows.
  var root: [UInt8]
  var target: [UInt8]
  /// `rw`, `nosuid` and so on.
  var options: [UInt8]
  /// `shared:2 master:1`, or nothing for a private mount.
  var propagation: [[UInt8]]
  var type: [UInt8]
  var source: [UInt8]

  init(
    id: UInt64, parent: UInt64, device: [UInt8], root: [UInt8], target: [UInt8], options: [UInt8],
    propagation: [[UInt8]], type: [UInt8], source: [UInt8]
  ) {
    (self.id, self.parent, self.device) = (id, parent, device)
    (self.root, self.target, self.options) = (root, target, options)
    (self.propagation, self.type, self.source) = (propagation, type, source)
  }

  /// Every line, in the kernel's order; nil if one cannot be read, since a mount that is
  /// overlooked would be one that stays.
  static func table(_ text: [UInt8]) -> [MountInfo]? {
    var mounts: [MountInfo] = []
    for line in text.split(separator: UInt8(ascii: "\n")) {
      guard let mount = MountInfo(line: line) else { return nil }
      mounts.append(mount)
    }
    return mounts
  }

  /// The same for a table of this process.
  static func known(_ text: [UInt8]) throws(JailError) -> [MountInfo] {
    guard let table = table(text) else {
      throw JailError("/proc/self/mountinfo: a line of it has an unknown form")
    }
    return table
  }

  /// Where the optional fields end is marked by a field of a single hyphen.
  init?(line: ArraySlice<UInt8>) {
    // Empty fields count: the source of a mount may be empty.
    let fields = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    guard fields.count >= 10,
      let end = fields[6...].firstIndex(where: { $0.elementsEqual([UInt8(ascii: "-")]) }),
      fields.count >= end + 4,
      let id = unsigned(fields[0], radix: 10), let parent = unsigned(fields[1], radix: 10)
    else { return nil }
    self.id = id
    self.parent = parent
    device = Array(fields[2])
    root = Self.unescaped(fields[3])
    target = Self.unescaped(fields[4])
    options = Array(fields[5])
    propagation = fields[6..<end].map { Array($0) }
    type = Self.unescaped(fields[end + 1])
    source = Self.unescaped(fields[end + 2])
  }

  /// Whether mounts arrive here from peers, or from the mount that this is a slave of.
  var isShared: Bool { propagation.contains { $0.starts(with: "shared".utf8) } }
  var isSlave: Bool { propagation.contains { $0.starts(with: "master:".utf8) } }

  /// `\040` is a blank: a backslash and three octal digits.
  private static func unescaped(_ field: ArraySlice<UInt8>) -> [UInt8] {
    guard field.contains(UInt8(ascii: "\\")) else { return Array(field) }
    var result: [UInt8] = []
    var rest = field
    while let byte = rest.popFirst() {
      let digits = rest.prefix(3)
      guard byte == UInt8(ascii: "\\"), digits.count == 3,
        digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "7")).contains($0) }),
        let value = unsigned(digits, radix: 8).flatMap(UInt8.init(exactly:))
      else {
        result.append(byte)
        continue
      }
      result.append(value)
      rest = rest.dropFirst(3)
    }
    return result
  }
}

/// Whether `path` is `directory` or below it, component by component.
func isPath(_ path: [UInt8], atOrBelow directory: [UInt8]) -> Bool {
  let slash = UInt8(ascii: "/")
  if directory == [slash] { return path.first == slash }
  guard path.starts(with: directory) else { return false }
  return path.count == directory.count || path[directory.count] == slash
}
