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
    /// A mount namespace that keeps a copy of its own at this path.
    case mountNamespace(String)
    /// Something is mounted here, at or below a mount of the user's: path and file system.
    case mount(String, String)
    case loopDevice(String)
  }

  /// Who; nil for what nobody in particular holds.
  public let keeper: MountNamespace.Keeper?
  public let hold: Hold

  public var description: String {
    let what =
      switch hold {
      case .workingDirectory: "working directory"
      case .root: "root directory"
      case .program: "running program"
      case .openFile(let path): "open file \(path)"
      case .mapping(let path): "mapped file \(path)"
      case .mountNamespace(let path): "mount namespace with a copy of its own at \(path)"
      case .mount(let path, let kind): "\(kind) mounted at \(path)"
      case .loopDevice(let name): "loop device \(name)"
      }
    return keeper.map { "\($0): \(what)" } ?? what
  }
}

/// The search through all processes for users of some files. It asks for the file behind each
/// link, not for paths: a path is different in each jail, and gone after an unmount.
struct HolderSearch {
  /// Whether the file behind the magic link `name` of a directory in `/proc` is one of them.
  typealias Test = (_ name: String, _ directory: borrowing Directory) -> Bool

  /// One entry for each kind of use and process, this process left out.
  static func processes(using isHeld: Test) throws(SystemError) -> [Holder] {
    var holders: [Holder] = []
    for process in try Processes.all() where process != getpid() {
      // A process that goes away while it is looked at holds nothing any more.
      guard let directory = try? Directory(opening: "/proc/\(process)") else { continue }
      holders += uses(of: process, in: directory, isHeld).map {
        Holder(keeper: .process(ProcessName(process)), hold: $0)
      }
    }
    return holders
  }

  private static func uses(
    of process: pid_t, in directory: borrowing Directory, _ isHeld: Test
  ) -> [Holder.Hold] {
    var found: [Holder.Hold] = []
    func add(_ hold: Holder.Hold) { if !found.contains(hold) { found.append(hold) } }

    if isHeld("exe", directory) { add(.program) }
    for thread in Processes.threads(of: process) {
      guard let task = try? directory.directory("task/\(thread)") else { continue }
      if isHeld("cwd", task) { add(.workingDirectory) }
      if isHeld("root", task) { add(.root) }
      // Threads share one table of descriptors, unless somebody went to some trouble.
      if thread != process && linux_compare_files(process, thread) == 0 { continue }
      if let file = first(in: "fd", of: task, isHeld) { add(.openFile(file)) }
    }
    if let file = first(in: "map_files", of: directory, isHeld) { add(.mapping(file)) }
    return found
  }

  /// What the first held link in a directory of links leads to.
  private static func first(
    in name: String, of directory: borrowing Directory, _ isHeld: Test
  ) -> String? {
    guard let links = try? directory.directory(name), let names = try? links.names() else {
      return nil
    }
    for name in names where isHeld(name, links) {
      return (try? linkTarget(of: links.path(of: name))) ?? "?"
    }
    return nil
  }
}

extension UserSubtree {
  /// Every mount namespace that has a mount of the user's data, this one first if it has.
  public func views() throws -> [NamespaceView] {
    var views: [NamespaceView] = []
    for (index, namespace) in try MountNamespace.all().enumerated() {
      guard let table = try namespace.table(containing: needle) else { continue }
      let mounts = table.mounts.filter { shows($0) }
      if mounts.isEmpty { continue }
      let ids = Set(mounts.map(\.id))
      let below = table.mounts.filter { ids.contains($0.parent) && !ids.contains($0.id) }
      views.append(
        NamespaceView(
          namespace: namespace, isOwn: index == 0, mounts: mounts, below: below))
    }
    return views
  }

  /// Everybody who uses the user's data now: processes, by the files themselves, and loop devices.
  public func holders() throws -> [Holder] {
    var cache = Verdicts()
    func isHeld(_ name: String, _ directory: borrowing Directory) -> Bool {
      contains(name, in: directory, cache: &cache)
    }
    let processes = try HolderSearch.processes(using: isHeld)
    return processes + loopDevices(isHeld)
  }

  /// The loop devices that are backed by a file of the user's. The kernel knows the file; the path
  /// that it shows is the one of whoever set the device up, and may lead elsewhere by now.
  private func loopDevices(_ isHeld: HolderSearch.Test) -> [Holder] {
    guard let blocks = try? Directory(opening: "/sys/block").names(),
      let root = try? Directory(opening: "/")
    else { return [] }
    var holders: [Holder] = []
    for name in blocks where name.utf8.starts(with: "loop".utf8) {
      guard let text = try? kernelFile("/sys/block/\(name)/loop/backing_file"),
        let device = try? Descriptor(opening: "/dev/\(name)", flags: O_RDONLY | O_NONBLOCK)
      else { continue }
      var backing: UInt64 = 0
      var inode: UInt64 = 0
      guard linux_loop_backing(device.number, &backing, &inode) == 0, isOnDevice(backing) else {
        continue
      }
      let path = String(decoding: text.dropLast(), as: UTF8.self)
      guard isHeld(String(path.drop { $0 == "/" }), root) || names(user, in: path) else { continue }
      holders.append(Holder(keeper: nil, hold: .loopDevice("/dev/\(name)")))
    }
    return holders
  }
}
