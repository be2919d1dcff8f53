import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// A mount namespace, what keeps it alive, and what is mounted in it.
package struct MountNamespace: Sendable {
  package indirect enum Keeper: Hashable, Sendable, CustomStringConvertible {
    /// Somebody who is in it, or has its file open.
    case process(ProcessName)
    /// A file that it is mounted on, in the namespace of another keeper if that is not ours:
    /// nobody need be in it.
    case file(FilePath, in: Keeper? = nil)

    package var description: String {
      switch self {
      case .process(let process): process.description
      case .file(let path, nil): "whoever mounted it on \(path)"
      case .file(let path, let keeper?):
        "whoever mounted it on \(path) in the mount namespace of \(keeper)"
      }
    }
  }

  package let keeper: Keeper
  /// The inode of its file; nil for one that nobody is in.
  let id: UInt64?
  /// Whether it is the one of this process.
  let isOwn: Bool
  /// The user who made the user namespace that it belongs to, if the kernel says.
  let owner: uid_t?
  /// nil when it is there and cannot be looked into. Only a table that contains one of the texts
  /// that were asked for is filled.
  let table: MountTable?
  /// nil before Linux 6.11.
  let listing: MountListing?

  /// Every mount namespace that is kept alive by a thread in it, an open descriptor, or a mount of
  /// its file in any of them; this one first, each once.
  ///
  /// - Parameters:
  ///   - needles: a table that contains none of these is not parsed, and comes empty.
  ///   - unknowns: takes up what could not be inspected on the way.
  ///   - owner: the user whose processes come first, beside root's.
  static func all(
    containing needles: [FilePath], _ unknowns: Unknowns, for owner: uid_t? = nil,
    until deadline: ContinuousClock.Instant? = nil
  ) throws -> [MountNamespace] {
    let found = try Inspection.run(.namespaces, for: owner, until: deadline, unknowns) {
      let unknowns = Unknowns()
      let namespaces = try walk(containing: needles, unknowns)
      return FoundNamespaces(namespaces: namespaces, unknowns: unknowns.reasons)
    }
    guard let found else {
      // This one needs nobody else.
      return [
        MountNamespace(
          keeper: .process(ProcessName(getpid())), id: nil, isOwn: true, owner: nil,
          table: try MountTable.current(), listing: nil)
      ]
    }
    for reason in found.unknowns { unknowns.add(reason) }
    return try found.namespaces.map { namespace in
      MountNamespace(
        keeper: namespace.keeper, id: namespace.id, isOwn: namespace.isOwn,
        owner: namespace.owner.map { uid_t($0) },
        table: try table(namespace),
        listing: namespace.listing.map { MountListing(space: $0) })
    }
  }

  /// The walk itself: for an inspecting process.
  private static func walk(
    containing needles: [FilePath], _ unknowns: Unknowns
  ) throws -> [FoundNamespace] {
    var keepers: [Keeper] = []
    let visits = try NamespaceSurvey.run(needles: needles, unknowns)
    for visit in visits {
      keepers.append(
        visit.link?.keeper
          ?? .file(visit.path, in: visit.parent == 0 ? nil : keepers[visit.parent]))
    }
    var namespaces = [FoundNamespace?](repeating: nil, count: visits.count)
    try forEach(visits, unknowns) { place throws(SystemError) in
      let (visit, keeper) = (visits[place], keepers[place])
      guard let texts = try visit.texts(needles) else { return }
      if !texts.isEmpty, let problem = visit.problem {
        unknowns.add("mount namespace of \(keeper): \(problem)")
      }
      // What the reader of the texts needs for them is this user's time, too.
      guard Inspection.shares.charge(texts.reduce(.zero) { $0 + $1.readingTime }) else { return }
      namespaces[place] = FoundNamespace(
        keeper: keeper, id: visit.link?.id, isOwn: visit.isOwn,
        owner: visit.owner.map { UInt64($0) }, texts: texts.map { KernelBytes($0) },
        hidden: visit.hidden, listing: visit.listing?.space)
    }
    return namespaces.compactMap { $0 }
  }

  /// Calls `body` with the place of each visit, in turns of the users whose namespaces these are.
  private static func forEach(
    _ visits: [NamespaceSurvey.Visit], _ unknowns: Unknowns,
    _ body: (Int) throws(SystemError) -> Void
  ) throws(SystemError) {
    let items = visits.indices.map { (user: visits[$0].user, item: $0) }
    Inspection.name(try Inspection.shares.inTurns(items, isRepeatable: false, body), unknowns)
  }

  /// The devices of the mounts in all of them, by the ids of the mounts: for an inspecting process.
  static func allDevices(_ unknowns: Unknowns) throws(SystemError) -> [UInt64: UInt64] {
    var devices: [UInt64: UInt64] = [:]
    let visits = try NamespaceSurvey.run(needles: [""], unknowns)
    try forEach(visits, unknowns) { place throws(SystemError) in
      for text in try visits[place].texts([""]) ?? [] {
        for line in text.lines where Inspection.goesOn() {
          guard let mount = Mount(line: line) else { continue }
          devices[mount.id] = mount.device
        }
      }
      for mount in visits[place].hidden { devices[mount.id] = mount.device }
    }
    return devices
  }

  /// The mounts that are seen from several roots, each once, and those that are hidden from all; nil
  /// when it could not be looked into.
  private static func table(_ namespace: FoundNamespace) throws -> MountTable? {
    guard !namespace.texts.isEmpty else { return nil }
    var mounts: [Mount] = []
    var seen: Set<UInt64> = []
    for text in namespace.texts {
      let path: FilePath = "mountinfo of \(namespace.keeper.description)"
      mounts += try MountTable(parsing: text.bytes, from: path).mounts
        .filter { seen.insert($0.id).inserted }
    }
    return MountTable(mounts + namespace.hidden.filter { seen.insert($0.id).inserted })
  }
}

/// A way into a mount namespace: a link in `/proc`.
struct NamespaceLink {
  /// The inode of the namespace file: `4026531841` of `mnt:[4026531841]`.
  let id: UInt64
  let keeper: MountNamespace.Keeper
  /// Below `/proc`: `12/task/13/ns/mnt`.
  let path: FilePath
  /// The user who answers for the process.
  let user: uid_t
  /// Threads in it, one for each root directory: below `/proc`, `12/task/13`.
  fileprivate(set) var threads: [(root: Root, path: FilePath)] = []
  private var roots: Set<Root> = []

  private init(id: UInt64, process: pid_t, path: FilePath, user: uid_t) {
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
        if isWanted(id) { add(id, process, "\(task)/ns/mnt") }
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

extension NamespaceSurvey.Visit {
  /// Why part of it may not have been seen; nil when all was, and for one that counts as closed.
  fileprivate var problem: String? {
    if let hiddenProblem { return "\(hiddenProblem)" }
    return code == 0 || isGone ? nil : SystemError(operation: "enter", path: nil, code: code).reason
  }

  /// The mount tables of the namespace that contain one of the needles, as seen from its root and
  /// from those of its threads; nil when it is gone, empty when it cannot be looked into.
  fileprivate func texts(_ needles: [FilePath]) throws(SystemError) -> [[UInt8]]? {
    var texts: [[UInt8]] = code == 0 ? [text] : []
    // Who was seen from the root of a thread has seen what that shows.
    if let link {
      for (root, thread) in link.threads where code != 0 || root != self.root {
        guard Inspection.goesOn() else { break }
        guard let text = try Self.mountinfo(of: thread, in: link.id) else { continue }
        texts.append(text.contains(anyOf: needles) ? text : [])
      }
    }
    if isGone || isLate, texts.isEmpty { return nil }
    return texts
  }

  /// nil when the thread is gone, or in another namespace by now. `EINVAL`: it is exiting, and in
  /// none any more.
  private static func mountinfo(
    of thread: FilePath, in namespace: UInt64
  ) throws(SystemError) -> [UInt8]? {
    do {
      let text = try kernelFile("/proc/\(thread)/mountinfo")
      return NamespaceLink.id(in: try linkTarget(of: "/proc/\(thread)/ns/mnt")) == namespace
        ? text : nil
    } catch  where [ENOENT, ESRCH, EINVAL].contains(error.code) {
      return nil
    }
  }
}

extension [UInt8] {
  /// How long it takes to read this mount table, about: a line in itself, and each layer of an overlay is
  /// compared with all mounts.
  fileprivate var readingTime: Duration {
    var time = Duration.nanoseconds(100 * Int64(count))
    guard contains(anyOf: [" - overlay "]) else { return time }
    let lines = split(separator: UInt8(ascii: "\n"))
    for line in lines where Array(line).contains(anyOf: [" - overlay "]) {
      let layers = line.count { $0 == UInt8(ascii: ":") }
      time += .nanoseconds(50 * Int64(layers + 3) * Int64(lines.count))
    }
    return time
  }

  func contains(anyOf needles: [FilePath]) -> Bool {
    needles.contains { linux_contains(self, count, $0.cString) != 0 }
  }
}

extension Mount {
  /// Whether a needle is in one of the paths that its line of mountinfo has.
  func names(anyOf needles: [FilePath]) -> Bool {
    ([root, target, source] + layers).contains { Array($0.bytes).contains(anyOf: needles) }
  }
}

/// What an inspecting process has found of mount namespaces.
private struct FoundNamespaces: Transferable {
  let namespaces: [FoundNamespace]
  let unknowns: [String]

  init(namespaces: [FoundNamespace], unknowns: [String]) {
    self.namespaces = namespaces
    self.unknowns = unknowns
  }

  func write(to answer: inout Answer) {
    namespaces.write(to: &answer)
    unknowns.write(to: &answer)
  }

  init(from answer: inout Answer) throws(SystemError) {
    namespaces = try .init(from: &answer)
    unknowns = try .init(from: &answer)
  }
}

/// One of them, with the text of its mount tables.
private struct FoundNamespace: Transferable {
  let keeper: MountNamespace.Keeper
  let id: UInt64?
  let isOwn: Bool
  let owner: UInt64?
  let texts: [KernelBytes]
  let hidden: [Mount]
  let listing: UInt64?

  init(
    keeper: MountNamespace.Keeper, id: UInt64?, isOwn: Bool, owner: UInt64?, texts: [KernelBytes],
    hidden: [Mount], listing: UInt64?
  ) {
    self.keeper = keeper
    self.id = id
    self.isOwn = isOwn
    self.owner = owner
    self.texts = texts
    self.hidden = hidden
    self.listing = listing
  }

  func write(to answer: inout Answer) {
    keeper.write(to: &answer)
    id.write(to: &answer)
    isOwn.write(to: &answer)
    owner.write(to: &answer)
    texts.write(to: &answer)
    hidden.write(to: &answer)
    listing.write(to: &answer)
  }

  init(from answer: inout Answer) throws(SystemError) {
    keeper = try .init(from: &answer)
    id = try UInt64?(from: &answer)
    isOwn = try .init(from: &answer)
    owner = try UInt64?(from: &answer)
    texts = try .init(from: &answer)
    hidden = try .init(from: &answer)
    listing = try UInt64?(from: &answer)
  }
}
