import CDaemonStoreLinux
import DaemonStoreKernel
import Glibc

/// A way into a mount namespace: a link in `/proc`.
struct NamespaceLink {
  /// The inode of the namespace file: `4026531841` of `mnt:[4026531841]`.
  let id: UInt64
  private(set) var keeper: MountNamespace.Keeper
  /// Below `/proc`: `12/task/13/ns/mnt`.
  private(set) var path: FilePath
  /// The user who answers for the process.
  let user: uid_t
  /// Threads in it, one for each root directory: below `/proc`, `12/task/13`.
  fileprivate(set) var threads: [(root: Root, path: FilePath)] = []
  private var roots: Set<Root> = []
  private var process: pid_t

  /// Leads by way of a process that is older, as a rule: the one that others have come from.
  private mutating func lead(by process: pid_t, _ path: FilePath) {
    guard process < self.process, Processes.responsibleUser(of: process) ?? 0 == user
    else { return }
    (self.process, self.path) = (process, path)
    keeper = .process(ProcessName(process))
  }

  private init(id: UInt64, process: pid_t, path: FilePath, user: uid_t) {
    self.process = process
    self.id = id
    keeper = .process(ProcessName(process))
    self.path = path
    self.user = user
  }

  /// A root directory: what mountinfo shows is below it.
  struct Root: Hashable {
    private let mountID: UInt64
    private let inode: UInt64

    init(_ status: FileStatus) {
      mountID = status.mountID
      inode = status.identity.inode
    }
  }

  /// The inode in `mnt:[4026531841]`; nil for any other text.
  static func id(in link: FilePath) -> UInt64? {
    link.dropping(prefix: "mnt:[")?.dropping(suffix: "]")?.bytes.number()
  }

  /// One for each namespace, this process's own first: those that a thread is in, then those that
  /// are kept by nothing but an open descriptor.
  ///
  /// - Parameter lost: nil, or the namespaces that every way into is wanted of, and no others.
  static func all(
    of lost: Set<UInt64>? = nil, _ unknowns: Unknowns
  ) throws(SystemError) -> [NamespaceLink] {
    var found = Found(lost: lost, unknowns: unknowns)
    found.lookAtThreads(of: getpid())
    let processes = try Processes.all().filter { !Inspection.isInspecting($0) }
    try Inspection.inTurns(processes, unknowns) { process in
      if Inspection.begins(at: "\(process)") { found.lookAtThreads(of: process) }
    }
    try Inspection.inTurns(processes, unknowns) { process in
      if Inspection.begins(at: "\(process)") { found.lookAtDescriptors(of: process) }
    }
    return found.links
  }

  /// The links that were found, each namespace's once, and the threads in each.
  private struct Found {
    var links: [NamespaceLink] = []
    private var places: [UInt64: Int] = [:]
    private let lost: Set<UInt64>?
    private let unknowns: Unknowns

    init(lost: Set<UInt64>?, unknowns: Unknowns) {
      self.lost = lost
      self.unknowns = unknowns
    }

    private func isWanted(_ id: UInt64) -> Bool { lost?.contains(id) ?? (places[id] == nil) }

    private mutating func add(_ id: UInt64, _ process: pid_t, _ path: FilePath) {
      places[id] = places[id] ?? links.count
      links.append(
        NamespaceLink(
          id: id, process: process, path: path,
          user: Processes.responsibleUser(of: process) ?? 0))
    }

    mutating func lookAtThreads(of process: pid_t) {
      for thread in Processes.threads(of: process, unknowns) {
        guard Inspection.goesOn() else { return }
        let task: FilePath = "\(process)/task/\(thread)"
        guard let id = NamespaceLink.id(at: "\(task)/ns/mnt", of: task, unknowns),
          lost?.contains(id) != false
        else { continue }
        if isWanted(id) {
          add(id, process, "\(task)/ns/mnt")
        } else if lost == nil, let place = places[id], place > 0 {
          links[place].lead(by: process, "\(task)/ns/mnt")
        }
        // Mounts above the root of a thread are not in its own table, nor are those below another
        // root in the table of who enters.
        guard let place = places[id], lost != nil || place > 0,
          let root = NamespaceLink.root(of: task, unknowns),
          links[place].roots.insert(root).inserted
        else { continue }
        links[place].threads.append((root, task))
      }
    }

    mutating func lookAtDescriptors(of process: pid_t) {
      guard process != getpid() else { return }
      let unknowns = unknowns
      Processes.forEachDescriptorTable(of: process, unknowns) { thread in
        let task: FilePath = "\(process)/task/\(thread)"
        NamespaceLink.forEachDescriptor(of: task, unknowns) { id, path in
          if isWanted(id) { add(id, process, path) }
        }
      }
    }
  }
}

extension NamespaceLink {
  /// The mount namespace that a link leads to; nil when it leads elsewhere, or is gone.
  private static func id(at path: FilePath, of task: FilePath, _ unknowns: Unknowns) -> UInt64? {
    do throws(SystemError) {
      return id(in: try linkTarget(of: "/proc/\(path)"))
    } catch {
      unknowns.add(error, about: "/proc/\(task)")
      return nil
    }
  }

  private static func root(of task: FilePath, _ unknowns: Unknowns) -> Root? {
    do throws(SystemError) {
      return try Directory(opening: "/proc/\(task)").status(behind: "root").map { Root($0) }
    } catch {
      unknowns.add(error, about: "/proc/\(task)")
      return nil
    }
  }

  private static func forEachDescriptor(
    of task: FilePath, _ unknowns: Unknowns, _ body: (_ id: UInt64, _ path: FilePath) -> Void
  ) {
    var target = [CChar](repeating: 0, count: 64)
    do throws(SystemError) {
      let links = try Directory(opening: "/proc/\(task)/fd")
      // A million files can be open.
      try links.forEachName { name throws(SystemError) in
        guard Inspection.goesOn() else { return false }
        do throws(SystemError) {
          let count = try links.target(ofLink: name, into: &target)
          // Most lead elsewhere.
          guard target[0] == CChar(bitPattern: UInt8(ascii: "m")) else { return true }
          let text = FilePath(truncating: target[..<count].lazy.map { UInt8(bitPattern: $0) })
          if let id = NamespaceLink.id(in: text) { body(id, "\(task)/fd/\(name)") }
        } catch {
          unknowns.add(error, about: "/proc/\(task)")
        }
        return true
      }
    } catch {
      unknowns.add(error, about: "/proc/\(task)")
    }
  }
}
