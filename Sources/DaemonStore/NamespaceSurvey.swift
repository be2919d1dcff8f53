import CLinux
import Glibc
import Kernel
import MountTable

/// A walk through mount namespaces. A child goes into one after the other, since that cannot be
/// undone, and sends their mount tables back.
///
/// Entering shows more than `/proc/PID/mountinfo`: that leaves out what is mounted above the root
/// directory of the process. And it is the only way to a namespace that nobody is in.
enum NamespaceSurvey {
  /// What was found in one namespace.
  struct Visit {
    /// Which of the links led there; nil for one whose file was found mounted in another.
    let link: Int?
    /// The visit that found it, and where its file is mounted there.
    let parent: Int
    let path: String
    /// Why it could not be looked into; 0 when it was.
    let code: CInt
    /// Its mountinfo, as seen from its root; empty when no needle is in it.
    let text: [UInt8]

    /// Whether it went away before it was visited.
    var isGone: Bool { code == ENOENT || code == ESRCH }
  }

  /// - Parameter links: the first is the namespace of this process.
  static func run(_ links: [NamespaceLink], needles: [String]) throws(SystemError) -> [Visit] {
    let pipe = try Pipe()
    guard let child = try fork() else {
      do {
        var walk = try Walk(needles: needles, output: pipe.intoWriting())
        try walk.visit(links)
        _exit(0)
      } catch {
        _exit(error.code)
      }
    }
    let bytes = try pipe.intoReading().read(atMost: .max, shown: "pipe") ?? []
    guard case .exited(let code) = try wait(for: child).end else {
      throw SystemError(operation: "survey of mount namespaces", path: nil, code: ECHILD)
    }
    guard code == 0, let visits = decode(bytes) else {
      throw SystemError(
        operation: "survey of mount namespaces", path: nil, code: code == 0 ? EPROTO : code)
    }
    return visits
  }

  /// Each visit is a line of five numbers, and two texts whose lengths are the last two of them.
  fileprivate static func encode(_ visit: Visit) -> [UInt8] {
    let path = Array(visit.path.utf8)
    let line =
      "\(visit.link ?? -1) \(visit.parent) \(visit.code) \(path.count) \(visit.text.count)\n"
    return Array(line.utf8) + path + visit.text
  }

  private static func decode(_ bytes: [UInt8]) -> [Visit]? {
    var visits: [Visit] = []
    var rest = bytes[...]
    while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
      let numbers = String(decoding: rest[..<end], as: UTF8.self).split(separator: " ")
        .compactMap { Int($0) }
      rest = rest[(end + 1)...]
      guard numbers.count == 5, rest.count >= numbers[3] + numbers[4] else { return nil }
      let path = rest.prefix(numbers[3])
      let text = rest.dropFirst(numbers[3]).prefix(numbers[4])
      rest = rest.dropFirst(numbers[3] + numbers[4])
      visits.append(
        Visit(
          link: numbers[0] < 0 ? nil : numbers[0], parent: numbers[1],
          path: String(decoding: path, as: UTF8.self), code: CInt(numbers[2]), text: Array(text)))
    }
    return rest.isEmpty ? visits : nil
  }
}

/// The child's part.
private struct Walk: ~Copyable {
  private let needles: [String]
  private let output: Descriptor
  /// Our own, whatever the namespace has, if it has any.
  private let proc: Directory
  private var seen: Set<UInt64> = []
  private var count = 0
  /// Files of namespaces that were found mounted, to be visited: descriptor, parent and path.
  private var pending: [(file: CInt, parent: Int, path: String)] = []
  /// Those that something else is mounted over: they may be in reach elsewhere.
  private var covered: [(id: UInt64, visit: NamespaceSurvey.Visit)] = []

  init(needles: [String], output: consuming Descriptor) throws(SystemError) {
    self.needles = needles
    self.output = output
    proc = try Directory(opening: "/proc")
  }

  mutating func visit(_ links: [NamespaceLink]) throws(SystemError) {
    seen = Set(links.map(\.id))
    for (index, link) in links.enumerated() {
      let file = index == 0 ? nil : open(link.path)
      try look(into: file, link: index, parent: 0, path: "")
      while let next = pending.popLast() {
        try look(into: .success(next.file), link: nil, parent: next.parent, path: next.path)
      }
    }
    for (id, visit) in covered where seen.insert(id).inserted { try send(visit) }
  }

  /// - Parameter file: nil for the namespace that this process is in.
  private mutating func look(
    into file: Result<CInt, SystemError>?, link: Int?, parent: Int, path: String
  ) throws(SystemError) {
    var text: [UInt8] = []
    var code: CInt = 0
    do {
      if let file {
        let namespace = Descriptor(owning: try file.get())
        try NamespaceKinds.mount.enter(namespace, shown: path)
      }
      text =
        try Descriptor(owning: open("self/mountinfo").get())
        .read(atMost: .max, shown: "mountinfo") ?? []
    } catch {
      code = error.code
    }
    let number = count
    try send(
      NamespaceSurvey.Visit(
        link: link, parent: parent, path: path, code: code,
        text: text.contains(anyOf: needles) ? text : []))
    queueNamespaces(mountedIn: text, number)
  }

  private mutating func send(_ visit: NamespaceSurvey.Visit) throws(SystemError) {
    try output.write(NamespaceSurvey.encode(visit), shown: "pipe")
    count += 1
  }

  private mutating func queueNamespaces(mountedIn text: [UInt8], _ parent: Int) {
    guard text.contains(anyOf: [" - nsfs "]),
      let table = try? MountTable(parsing: text, from: "mountinfo")
    else { return }
    for mount in table.mounts where mount.fileSystem == "nsfs" {
      guard let id = NamespaceLink.id(in: mount.root), !seen.contains(id) else { continue }
      switch namespaceFile(id, at: mount.target) {
      case .success(let file):
        seen.insert(id)
        pending.append((file, parent, mount.target))
      case .failure(let error):
        let visit = NamespaceSurvey.Visit(
          link: nil, parent: parent, path: mount.target, code: error.code, text: [])
        covered.append((id, visit))
      }
    }
  }

  /// Opens the file of a namespace where it is mounted. What stands there instead, if anything
  /// does, is not opened.
  private func namespaceFile(_ id: UInt64, at path: String) -> Result<CInt, SystemError> {
    do throws(SystemError) {
      let file = try Descriptor(followingLinks: path)
      guard try file.status(shown: path).identity.inode == id else {
        return .failure(SystemError(operation: "open", path: path, code: EBUSY))
      }
      return open("self/fd/\(file.number)")
    } catch {
      return .failure(SystemError(operation: "open", path: path, code: EBUSY))
    }
  }

  private func open(_ link: String) -> Result<CInt, SystemError> {
    let file = openat(proc.descriptor.number, link, O_RDONLY | O_CLOEXEC)
    return file >= 0
      ? .success(file) : .failure(SystemError(operation: "open", path: link, code: errno))
  }
}
