import CLinux
import Glibc
import Kernel
import MountTable

/// A mount namespace, and what keeps it alive.
public struct MountNamespace: Sendable {
  public enum Keeper: Hashable, Sendable, CustomStringConvertible {
    /// Somebody who is in it.
    case process(ProcessName)
    /// A file that it is mounted on: nobody need be in it.
    case file(String)

    public var description: String {
      switch self {
      case .process(let process): process.description
      case .file(let path): "whoever mounted it on \(path)"
      }
    }
  }

  /// The inode of the namespace file: `4026531841` of `mnt:[4026531841]`.
  public let id: UInt64
  public let keeper: Keeper
  /// The mount table of the thread through which it was found.
  private let mountinfo: String?

  /// Every mount namespace that a thread is in, this one first, each once; then those that are
  /// kept by nothing but a file here, as `unshare --mount=FILE` does.
  static func all() throws -> [MountNamespace] {
    var seen: Set<UInt64> = []
    var namespaces: [MountNamespace] = []
    for process in [getpid()] + (try Processes.all()) {
      for thread in Processes.threads(of: process) {
        let task = "/proc/\(process)/task/\(thread)"
        // A thread that is gone is in none.
        guard let link = try? linkTarget(of: "\(task)/ns/mnt"), let id = identity(link),
          seen.insert(id).inserted
        else { continue }
        namespaces.append(
          MountNamespace(
            id: id, keeper: .process(ProcessName(process)), mountinfo: "\(task)/mountinfo"))
      }
    }
    for mount in try MountTable.current().mounts where mount.fileSystem == "nsfs" {
      guard mount.root.hasPrefix("mnt:"), let id = identity(mount.root), seen.insert(id).inserted
      else { continue }
      namespaces.append(MountNamespace(id: id, keeper: .file(mount.target), mountinfo: nil))
    }
    return namespaces
  }

  /// The number in `mnt:[4026531841]`.
  private static func identity(_ link: String) -> UInt64? {
    UInt64(link.drop { $0 != "[" }.dropFirst().prefix { $0 != "]" })
  }

  /// The mounts in it; nil when its last process went away. A table that does not contain `needle`
  /// at all is not parsed, and comes empty.
  func table(containing needle: String) throws -> MountTable? {
    let text: [UInt8]
    do {
      text = try mountinfoText()
    } catch  where [ENOENT, ESRCH, EINVAL].contains(error.code) {
      return nil  // EINVAL: a thread that is exiting has no namespace any more
    } catch {
      throw MountTableError.unreadable(error)
    }
    guard linux_contains(text, text.count, needle) != 0 else { return MountTable([]) }
    return try MountTable(parsing: text, from: mountinfo ?? "\(keeper)")
  }

  private func mountinfoText() throws(SystemError) -> [UInt8] {
    guard let mountinfo else { return try inside() }
    return try kernelFile(mountinfo)
  }

  /// Its mount table as a child sees it that goes there.
  private func inside() throws(SystemError) -> [UInt8] {
    guard case .file(let path) = keeper else { return [] }
    let namespace = Descriptor(
      owning: try check("open", path, open(path, O_RDONLY | O_CLOEXEC)))
    let process = try Directory(opening: "/proc")
    let pipe = try Pipe()
    guard let child = try fork() else {
      do {
        try NamespaceKinds.mount.enter(namespace, shown: path)
        // Through our own `/proc`: the namespace may have none.
        let link = try check(
          "open", path, openat(process.descriptor.number, "self/mountinfo", O_RDONLY | O_CLOEXEC))
        let text = try Descriptor(owning: link).read(atMost: .max, shown: path) ?? []
        try pipe.writing.write(text, shown: path)
        _exit(0)
      } catch {
        _exit(error.code)
      }
    }
    let text = try pipe.intoReading().read(atMost: .max, shown: path) ?? []
    let end = try wait(for: child).end
    guard end == .exited(0) else {
      guard case .exited(let code) = end else { return [] }
      throw SystemError(operation: "setns", path: path, code: code)
    }
    return text
  }
}
