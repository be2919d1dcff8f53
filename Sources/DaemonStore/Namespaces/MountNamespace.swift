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
    // In the order of the processes, however the users took turns.
    let namespaces = found.namespaces.enumerated().sorted { left, right in
      (left.element.isOwn ? 0 : 1, left.element.keeper.number, left.offset)
        < (right.element.isOwn ? 0 : 1, right.element.keeper.number, right.offset)
    }
    return try namespaces.map { _, namespace in
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

extension MountNamespace.Keeper {
  /// That of the process; a file comes after all.
  fileprivate var number: pid_t {
    if case .process(let process) = self { process.pid } else { .max }
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
