import Kernel

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
  var options: String
  /// `shared:2 master:1`, or nothing for a private mount.
  var propagation: [String]
  var type: String
  var source: [UInt8]
  var superOptions: String

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

  /// Where the optional fields end is marked by a field of a single hyphen.
  init?(line: ArraySlice<UInt8>) {
    // Empty fields count: the source of a mount may be empty.
    let fields = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    guard fields.count >= 10,
      let end = fields[6...].firstIndex(where: { $0.elementsEqual([UInt8(ascii: "-")]) }),
      fields.count >= end + 4,
      let id = UInt64(String(decoding: fields[0], as: UTF8.self)),
      let parent = UInt64(String(decoding: fields[1], as: UTF8.self))
    else { return nil }
    self.id = id
    self.parent = parent
    device = Array(fields[2])
    root = Self.unescaped(fields[3])
    target = Self.unescaped(fields[4])
    options = String(decoding: fields[5], as: UTF8.self)
    propagation = fields[6..<end].map { String(decoding: $0, as: UTF8.self) }
    type = String(decoding: fields[end + 1], as: UTF8.self)
    source = Self.unescaped(fields[end + 2])
    superOptions = String(decoding: fields[end + 3], as: UTF8.self)
  }

  /// `\040` is a blank: a backslash and three octal digits.
  private static func unescaped(_ field: ArraySlice<UInt8>) -> [UInt8] {
    guard field.contains(UInt8(ascii: "\\")) else { return Array(field) }
    var result: [UInt8] = []
    var rest = field
    while let byte = rest.popFirst() {
      let digits = rest.prefix(3)
      guard byte == UInt8(ascii: "\\"), digits.count == 3,
        digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "7")).contains($0) }),
        let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
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
