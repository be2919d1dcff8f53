import Glibc
import DaemonStoreKernel

/// One line of mountinfo, read by a few lines of our own: what a test counts does not come from
/// the reader that it tests.
package struct MountLine: Equatable, Hashable, Sendable, CustomStringConvertible {
  package let id: Int
  package let parent: Int
  package let device: String
  package let root: String
  package let target: String
  package let options: Set<String>
  package let peerGroup: Int?
  package let master: Int?
  package let type: String
  package let source: String

  package var description: String {
    let group = peerGroup.map { " shared:\($0)" } ?? ""
    let receives = master.map { " master:\($0)" } ?? ""
    return "\(id) \(device):\(root) on \(target) \(options.sorted().joined(separator: ","))"
      + "\(group)\(receives) \(type) \(source)"
  }

  init?(_ line: Substring) {
    let halves = line.split(separator: " - ", maxSplits: 1)
    guard halves.count == 2 else { return nil }
    let left = halves[0].split(separator: " ").map(String.init)
    let right = halves[1].split(separator: " ", omittingEmptySubsequences: false).map(String.init)
    guard left.count >= 6, right.count >= 2, let id = Int(left[0]), let parent = Int(left[1]) else {
      return nil
    }
    func tag(_ name: String) -> Int? {
      left[6...].first { $0.hasPrefix(name) }.flatMap { Int($0.dropFirst(name.count)) }
    }
    self.id = id
    self.parent = parent
    device = left[2]
    root = Self.unescaped(left[3])
    target = Self.unescaped(left[4])
    options = Set(left[5].split(separator: ",").map(String.init))
    peerGroup = tag("shared:")
    master = tag("master:")
    type = right[0]
    source = Self.unescaped(right[1])
  }

  private static func unescaped(_ text: String) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), rest.count >= 3,
        let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
      {
        bytes.append(code)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// The mounts of the calling thread, or of a process.
package func mountTable(of process: pid_t? = nil) throws -> [MountLine] {
  let path = "/proc/\(process.map { "\($0)" } ?? "thread-self")/mountinfo"
  return try readFile(path).split(separator: "\n").map { line in
    guard let mount = MountLine(line) else { throw Problem("\(path): cannot read \(line)") }
    return mount
  }
}

/// The changes of the calling thread's mount table, from now on: poll(2) on mountinfo.
package struct MountChanges: ~Copyable {
  private let file: Descriptor

  package init() throws {
    file = Descriptor(
      owning: try check(
        "open", "mountinfo", open("/proc/thread-self/mountinfo", O_RDONLY | O_CLOEXEC)))
  }

  /// Waits for the next one, at most a tenth of a second.
  package func next() {
    var poller = pollfd(fd: file.number, events: Int16(POLLPRI), revents: 0)
    _ = poll(&poller, 1, 100)
  }
}

extension [MountLine] {
  /// What is mounted at this path, the first at the bottom.
  package func at(_ path: String) -> [MountLine] { filter { $0.target == path } }

  /// What is mounted at this path or below.
  package func below(_ path: String) -> [MountLine] {
    filter { $0.target == path || $0.target.hasPrefix(path + "/") }
  }

  /// The mounts whose place or root names this user.
  package func naming(_ hash: String) -> [MountLine] {
    filter { $0.target.contains(hash) || $0.root.contains(hash) }
  }
}
