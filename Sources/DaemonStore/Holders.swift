import CLinux
import Glibc
import Kernel
import MountTable

/// Somebody or something that keeps part of a user's data in use.
public struct Holder: Hashable, Sendable, CustomStringConvertible {
  public enum Hold: Hashable, Sendable {
    case workingDirectory, root, program
    /// With the file's path, as the process knows it.
    case openFile(String)
    case mapping(String)
    /// A UNIX socket that is bound to this path.
    case socket(String)
    /// A file that was sent to this process, and that it has not received yet.
    case sentFile(String)
    /// So many descriptors were sent to this process that nobody can look at.
    case sentUnseen(Int)
    /// A mount namespace that keeps a copy of its own at this path.
    case mountNamespace(String)
    /// A mount namespace that nobody can look into.
    case closedNamespace
    /// Something is mounted here, at or below a mount of the user's: path and file system.
    case mount(String, String)
    case loopDevice(String)
    /// So many processes may not be looked at, this one among them: they may use anything.
    case hidden(Int, ProcessName)
    /// New processes came faster than they could be looked at.
    case fugitive
    /// The kernel says that it is in use, and no process shows it.
    case unseen
  }

  /// Who; nil for what nobody in particular holds.
  public let keeper: MountNamespace.Keeper?
  public let hold: Hold

  public init(keeper: MountNamespace.Keeper?, hold: Hold) {
    self.keeper = keeper
    self.hold = hold
  }

  public var description: String {
    let what =
      switch hold {
      case .workingDirectory: "working directory"
      case .root: "root directory"
      case .program: "running program"
      case .openFile(let path): "open file \(path)"
      case .mapping(let path): "mapped file \(path)"
      case .socket(let path): "socket \(path)"
      case .sentFile(let path): "file \(path), which was sent to it"
      case .sentUnseen(let count):
        "perhaps \(count == 1 ? "a descriptor" : "some of \(count) descriptors") on the way to it"
      case .mountNamespace(let path): "mount namespace with a copy of its own at \(path)"
      case .closedNamespace: "perhaps a mount namespace that cannot be looked into"
      case .mount(let path, let kind): "\(kind) mounted at \(path)"
      case .loopDevice(let name): "loop device \(name)"
      case .fugitive: "perhaps processes that come and go faster than they can be looked at"
      case .unseen: "something that no process shows"
      case .hidden(let count, let one):
        "perhaps \(count == 1 ? "\(one)" : "one of \(count) processes as \(one)"), which may not be "
          + "looked at without CAP_SYS_PTRACE"
      }
    return keeper.map { "\($0): \(what)" } ?? what
  }
}

/// The search through all processes for users of some files. It asks for the file behind each
/// link, not for paths: a path is different in each jail, and gone after an unmount.
struct HolderSearch: ~Copyable {
  /// Whether the file behind the magic link `name` of a directory in `/proc` is one of them.
  typealias Test = (_ name: String, _ directory: borrowing Directory) -> Bool

  private let isHeld: Test
  /// What is left to judge a socket by whose path leads nowhere any more.
  private let isNamed: (_ path: String) -> Bool
  /// Whether what a process has been sent, and nobody can look at, may be one of them.
  private let isSuspect: (_ process: borrowing Directory) -> Bool
  private var sockets = BoundSockets()

  init(
    for isHeld: @escaping Test, isNamed: @escaping (_ path: String) -> Bool = { _ in false },
    isSuspect: @escaping (_ process: borrowing Directory) -> Bool = { _ in false }
  ) {
    self.isHeld = isHeld
    self.isNamed = isNamed
    self.isSuspect = isSuspect
  }

  /// One entry for each kind of use and process, this process left out. When a process goes away
  /// before it was looked at, a child of it may have what it had: so the new ones are looked at,
  /// until nobody has gone away meanwhile.
  mutating func processes() throws(SystemError) -> [Holder] {
    var holders: [Holder] = []
    var hidden: [pid_t] = []
    var seen: Set<pid_t> = [getpid()]
    var isFirst = true
    let deadline = ContinuousClock.now + .seconds(2)
    repeat {
      var isComplete = !isFirst
      isFirst = false
      for process in try Processes.all() where seen.insert(process).inserted {
        guard let directory = try? Directory(opening: "/proc/\(process)") else {
          isComplete = false
          continue
        }
        sockets.read(from: directory)
        if Processes.isHidden(process, directory) {
          hidden.append(process)
          continue
        }
        holders += uses(of: process, in: directory).map {
          Holder(keeper: .process(ProcessName(process)), hold: $0)
        }
        if Processes.threads(of: process).isEmpty { isComplete = false }
      }
      if isComplete { return holders + Self.entry(for: hidden) }
    } while ContinuousClock.now < deadline
    return holders + Self.entry(for: hidden) + [Holder(keeper: nil, hold: .fugitive)]
  }

  private static func entry(for hidden: [pid_t]) -> [Holder] {
    hidden.first.map { [Holder(keeper: nil, hold: .hidden(hidden.count, ProcessName($0)))] } ?? []
  }

  private func uses(of process: pid_t, in directory: borrowing Directory) -> [Holder.Hold] {
    var found: [Holder.Hold] = []
    func add(_ hold: Holder.Hold?) {
      if let hold, !found.contains(hold) { found.append(hold) }
    }
    if isHeld("exe", directory) { add(.program) }
    for thread in Processes.threads(of: process) {
      guard let task = try? directory.directory("task/\(thread)") else { continue }
      if isHeld("cwd", task) { add(.workingDirectory) }
      if isHeld("root", task) { add(.root) }
    }
    for thread in Processes.descriptorTables(of: process) {
      guard let task = try? directory.directory("task/\(thread)") else { continue }
      add(openFile(of: task, in: directory))
      switch SentDescriptors.held(by: process, task, where: isHeld) {
      case .sentUnseen(let count): if isSuspect(directory) { add(.sentUnseen(count)) }
      case let hold: add(hold)
      }
    }
    if let file = links(in: "map_files", of: directory, where: isHeld) { add(.mapping(file)) }
    return found
  }

  private func openFile(
    of task: borrowing Directory, in process: borrowing Directory
  ) -> Holder.Hold? {
    if let file = links(in: "fd", of: task, where: isHeld) { return .openFile(file) }
    var socket: String?
    _ = links(in: "fd", of: task) { name, links in
      guard let path = links.status(behind: name).flatMap({ sockets.path(of: $0.identity) }),
        isHeld("root\(path)", process) || isNamed(path)
      else { return false }
      socket = path
      return true
    }
    return socket.map { .socket($0) }
  }

  /// What the first link in a directory of links leads to that passes the test.
  private func links(
    in name: String, of directory: borrowing Directory, where test: Test
  ) -> String? {
    guard let links = try? directory.directory(name), let names = try? links.names() else {
      return nil
    }
    for name in names where test(name, links) {
      return (try? linkTarget(of: links.path(of: name))) ?? "?"
    }
    return nil
  }
}

/// The UNIX sockets that have a path. Such a socket keeps the mount busy that its path was on, and
/// the descriptor says nothing about it.
private struct BoundSockets {
  private var paths: [UInt64: String] = [:]
  private var networks: Set<FileIdentity> = []
  /// Of the file system that all sockets are in.
  private let device: UInt64?

  init() {
    let socket = Descriptor(owning: socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0))
    device = (try? socket.status())?.identity.device
  }

  func path(of file: FileIdentity) -> String? {
    file.device == device ? paths[file.inode] : nil
  }

  /// Reads those of the network namespace that a process is in, unless that was read before.
  mutating func read(from process: borrowing Directory) {
    guard let network = process.status(behind: "ns/net")?.identity,
      networks.insert(network).inserted,
      let text = try? kernelFile(process.path(of: "net/unix"))
    else { return }
    // Num RefCount Protocol Flags Type St Inode Path: proc_pid_net(5).
    for line in text.split(separator: UInt8(ascii: "\n")).dropFirst() {
      let fields = line.split(separator: UInt8(ascii: " "), maxSplits: 7)
      guard fields.count == 8, fields[7].first == UInt8(ascii: "/"),
        let inode = UInt64(String(decoding: fields[6], as: UTF8.self))
      else { continue }
      paths[inode] = String(decoding: fields[7], as: UTF8.self)
    }
  }
}
