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
    /// A UNIX socket that is bound to a file of this path.
    case socket(String)
    /// A file that was sent to this process, and that it has not received yet.
    case sentFile(String)
    /// So many descriptors were sent to this process that nobody can look at.
    case sentUnseen(Int)
    /// This directory is on a mount that no namespace shows, with whatever is mounted in it.
    case detachedTree(String)
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
      case .detachedTree(let path):
        "perhaps a mount in directory \(path), which no mount namespace shows"
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

extension Holder.Hold {
  /// Something that is mounted at or below a mount of the user's.
  static func mount(_ mount: Mount) -> Self {
    .mount(mount.target.description, mount.fileSystem.description)
  }
}

/// The search through all processes for users of some files. It asks for the file behind each
/// link, not for paths: a path is different in each jail, and gone after an unmount.
struct HolderSearch: ~Copyable {
  /// Whether the file behind the magic link `name` of a directory in `/proc` is one of them.
  typealias Test = (_ file: FileStatus, _ name: String, _ directory: borrowing Directory) -> Bool

  private let test: Test
  /// What is left to judge a socket by whose path leads nowhere any more.
  private let isNamed: (_ path: FilePath) -> Bool
  /// What counts against a process beside the files that it shows.
  private let suspicion: Suspicion?
  private var sockets = BoundSockets()
  private let patience = SentDescriptors.Patience()

  /// What nobody can look into, and where it counts.
  struct Suspicion {
    /// Whether a process may have been sent one of the files.
    let isSuspect: (_ process: borrowing Directory) -> Bool
    /// Whether a process may have hidden one of the files: it runs as the user.
    let isUsers: (_ process: borrowing Directory) -> Bool
    /// Whether a directory is on a mount that no namespace shows now.
    let isDetached: (_ file: FileStatus) -> Bool
  }

  init(
    for test: @escaping Test, isNamed: @escaping (_ path: FilePath) -> Bool = { _ in false },
    suspicion: Suspicion? = nil
  ) {
    self.test = test
    self.isNamed = isNamed
    self.suspicion = suspicion
  }

  /// One entry for each kind of use and process, this process left out. When a process goes away
  /// before it was looked at, a child of it may have what it had: so the new ones are looked at,
  /// until nobody has gone away meanwhile.
  mutating func processes() throws(SystemError) -> [Holder] {
    var holders: [Holder] = []
    var hidden: [pid_t] = []
    var seen: Set<pid_t> = [getpid()]
    var round = 0
    let deadline = ContinuousClock.now + .seconds(2)
    repeat {
      var isComplete = round > 0
      round += 1
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
    } while round < 64 || ContinuousClock.now < deadline
    return holders + Self.entry(for: hidden) + [Holder(keeper: nil, hold: .fugitive)]
  }

  private static func entry(for hidden: [pid_t]) -> [Holder] {
    hidden.first.map { [Holder(keeper: nil, hold: .hidden(hidden.count, ProcessName($0)))] } ?? []
  }

  private func uses(of process: pid_t, in directory: borrowing Directory) -> [Holder.Hold] {
    var found: [Holder.Hold] = []
    var unseen: [Holder.Hold] = []
    let isUsers = suspicion?.isUsers(directory) == true
    func look(
      _ hold: Holder.Hold, _ name: String, _ links: borrowing Directory
    ) {
      guard let file = links.status(behind: name) else { return }
      if test(file, name, links) {
        if !found.contains(hold) { found.append(hold) }
      } else if isUsers, file.isDirectory, unseen.isEmpty {
        unseen += detached(name, links)
      }
    }
    look(.program, "exe", directory)
    for thread in Processes.threads(of: process) {
      guard let task = try? directory.directory("task/\(thread)") else { continue }
      look(.workingDirectory, "cwd", task)
      look(.root, "root", task)
    }
    for thread in Processes.descriptorTables(of: process) {
      guard let task = try? directory.directory("task/\(thread)") else { continue }
      descriptors(of: process, task, in: directory, isUsers: isUsers, &found, &unseen)
    }
    if let file = mapping(of: directory) { found.append(.mapping(file)) }
    if let first = unseen.first { found.append(first) }  // what nobody can look into counts once
    return found
  }

  private func isHeld(_ name: String, _ links: borrowing Directory) -> Bool {
    links.status(behind: name).map { test($0, name, links) } == true
  }

  /// Looks several times: a jail that is just being built changes its mounts meanwhile.
  private func detached(_ name: String, _ links: borrowing Directory) -> [Holder.Hold] {
    for _ in 0..<3 {
      guard let file = links.status(behind: name), file.isDirectory,
        suspicion?.isDetached(file) == true
      else { return [] }
      pause(.milliseconds(10))
    }
    return [.detachedTree(shownTarget(of: name, in: links))]
  }

  /// The first file, bound socket and sent file among the descriptors of a thread.
  private func descriptors(
    of process: pid_t, _ task: borrowing Directory, in directory: borrowing Directory,
    isUsers: Bool, _ found: inout [Holder.Hold], _ unseen: inout [Holder.Hold]
  ) {
    guard let links = try? task.directory("fd"), let names = try? links.names() else { return }
    let isSuspect = suspicion?.isSuspect(directory) == true
    var file: String?
    var socket: String?
    var sent: String?
    for name in names {
      guard let status = links.status(behind: name) else { continue }
      if status.mode & S_IFMT == S_IFSOCK {
        if socket == nil, let path = sockets.path(of: status.identity) {
          let isFound = path.text.map { isHeld("root\($0)", directory) } == true
          socket =
            path.isAbsolute && (isFound || isNamed(path))
            ? path.description : boundFile(of: name, status.identity, in: process)
        }
        let held = SentDescriptors.held(
          at: name, of: process, task, patience: isSuspect && unseen.isEmpty ? patience : nil,
          where: test)
        switch held {
        case .sentFile(let path): sent = sent ?? path
        case let hold?: if isSuspect { unseen.append(hold) }
        case nil: continue
        }
      } else if file == nil, test(status, name, links) {
        file = shownTarget(of: name, in: links)
      } else if isUsers, status.isDirectory, unseen.isEmpty {
        unseen += detached(name, links)
      }
    }
    for hold in [
      file.map(Holder.Hold.openFile), socket.map(Holder.Hold.socket),
      sent.map(Holder.Hold.sentFile),
    ] {
      if let hold, !found.contains(hold) { found.append(hold) }
    }
  }

  /// The path of what a socket is bound to, if that is one of them: as the kernel has it, whatever
  /// path it was bound by, and from where. It takes CAP_NET_ADMIN.
  private func boundFile(of name: String, _ socket: FileIdentity, in process: pid_t) -> String? {
    guard let number = CInt(name), case let copy = linux_get_descriptor(process, number), copy >= 0
    else { return nil }
    let descriptor = Descriptor(owning: copy)
    // Another one, when the table of this thread is its own.
    guard (try? descriptor.status())?.identity == socket,
      case let bound = linux_socket_file(copy), bound >= 0
    else { return nil }
    let file = Descriptor(owning: bound)
    guard let own = try? Directory(opening: "/proc/\(getpid())/fd"), isHeld("\(file.number)", own)
    else { return nil }
    return shownTarget(of: "\(file.number)", in: own)
  }

  private func mapping(of process: borrowing Directory) -> String? {
    guard let links = try? process.directory("map_files"), let names = try? links.names() else {
      return nil
    }
    for name in names where isHeld(name, links) {
      return shownTarget(of: name, in: links)
    }
    return nil
  }
}

/// Where a magic link leads, for people.
func shownTarget(of name: String, in links: borrowing Directory) -> String {
  (try? linkTarget(of: links.path(of: name)))?.description ?? "?"
}

/// The UNIX sockets that have a name. One that is bound to a path keeps the mount busy that this was
/// on, and the descriptor says nothing about it.
private struct BoundSockets {
  private var paths: [UInt64: FilePath] = [:]
  private var networks: Set<FileIdentity> = []
  /// Of the file system that all sockets are in.
  private let device: UInt64?

  init() {
    let socket = Descriptor(owning: socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0))
    device = (try? socket.status())?.identity.device
  }

  func path(of file: FileIdentity) -> FilePath? {
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
      guard fields.count == 8,
        let inode: UInt64 = fields[6].number(), let path = FilePath(fields[7])
      else { continue }
      paths[inode] = path
    }
  }
}
