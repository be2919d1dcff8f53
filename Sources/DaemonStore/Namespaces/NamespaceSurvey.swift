import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// A walk of an inspecting process through mount namespaces, and back.
///
/// Entering shows more than `/proc/PID/mountinfo`: that leaves out what is mounted above the root
/// directory of the process. And it is the only way to a namespace that nobody is in.
///
/// The working directory is `/` afterwards: setns(2) forgets it.
struct NamespaceSurvey: ~Copyable {
  /// What was found in one namespace.
  struct Visit {
    /// What led there; nil for one whose file was found mounted in another.
    let link: NamespaceLink?
    let isOwn: Bool
    /// The visit that found it, and where its file is mounted there.
    let parent: Int
    let path: FilePath
    /// Why it could not be looked into; 0 when it was.
    fileprivate(set) var code: CInt
    /// Why what is hidden in it could not be listed; nil when it was.
    fileprivate(set) var hiddenProblem: SystemError?
    /// Its mountinfo, as seen from its root; empty when no needle is in it, nor in what is hidden.
    fileprivate(set) var text: [UInt8]
    /// The mounts that are hidden from there; none when ``text`` is empty.
    fileprivate(set) var hidden: [Mount] = []
    /// nil before Linux 6.11, and for the namespace of this process.
    let listing: MountListing?
    /// The user who made the user namespace that it belongs to; nil for the namespace of this process
    /// and where the kernel does not say.
    let owner: uid_t?
    /// The user whose share of the time it takes.
    let user: uid_t
    /// The directory that it was seen from; nil when it was not.
    let root: NamespaceLink.Root?

    /// Whether it went away before it was visited.
    var isGone: Bool { code == ENOENT || code == ESRCH }
    /// Whether the time was over before all of it was read: its user is named.
    var isLate: Bool { code == ETIMEDOUT }
  }

  private let needles: [FilePath]
  private let unknowns: Unknowns
  /// Our own, whatever the namespace has, if it has any.
  private let proc: Directory
  private let home: Descriptor
  private let root: Descriptor

  /// Whether it is away from home: who may not enter other namespaces never is.
  private var hasLeft = false
  private var visits: [Visit] = []
  private var seen: Set<UInt64>
  /// Those of the links that were not entered yet, or not at all.
  private var missed: Set<UInt64>
  /// Files of namespaces that were found mounted, to be visited: descriptor, parent and path.
  private var pending: [(file: CInt, parent: Int, path: FilePath)] = []
  /// Files of namespaces that a link leads to as well. Who has the link may be gone before it is
  /// followed: another survey, for one, is in every namespace for a moment.
  private var spare: [UInt64: (file: CInt, parent: Int, path: FilePath)] = [:]
  /// Those that something else is mounted over: they may be in reach elsewhere.
  private var covered: [(id: UInt64, visit: Visit)] = []
  /// The visit whose hidden mounts are not looked for yet: the kernel tells them to who is elsewhere.
  private var unfinished: Int?

  /// Visits every mount namespace in reach, that of this process first.
  static func run(needles: [FilePath], _ unknowns: Unknowns) throws(SystemError) -> [Visit] {
    var links = try NamespaceLink.all(unknowns)
    var survey = try NamespaceSurvey(links, needles: needles, unknowns)
    survey.look(into: nil, link: links.removeFirst())
    survey.lookIntoPending()
    var rounds = 10
    while true {
      var lost = Set(links.map(\.id))
      let late = try Inspection.shares.inTurns(
        links.map { (user: $0.user, item: $0) }, isRepeatable: false
      ) { link in
        if lost.contains(link.id), survey.visit(link) { lost.remove(link.id) }
      }
      Inspection.name(late, unknowns)
      lost.subtract(late.lazy.map(\.item.id))
      rounds -= 1
      guard !lost.isEmpty else { break }
      if rounds == 0 {
        for id in lost { survey.giveUp(links.last { $0.id == id }) }
        break
      }
      survey.comeBack()
      links = try NamespaceLink.all(of: lost, unknowns)
    }
    repeat {
      while let (id, file) = survey.spare.popFirst() {
        if survey.missed.remove(id) != nil { survey.pending.append(file) } else { close(file.file) }
        survey.lookIntoPending()
      }
      survey.comeBack()
      survey.lookIntoPending()
    } while !survey.spare.isEmpty || survey.hasLeft
    for (id, visit) in survey.covered where survey.seen.insert(id).inserted {
      survey.visits.append(visit)
    }
    return survey.visits
  }

  private init(
    _ links: [NamespaceLink], needles: [FilePath], _ unknowns: Unknowns
  ) throws(SystemError) {
    let proc = try Directory(opening: "/proc")
    let home = Descriptor(owning: try Self.open("self/ns/mnt", in: proc).get())
    let root = try Descriptor(followingLinks: "/")
    self.proc = proc
    self.home = home
    self.root = root
    self.needles = needles
    self.unknowns = unknowns
    seen = Set(links.map(\.id))
    missed = seen
  }

  /// Nothing may be done in a namespace where this process does not belong, not even by a caller
  /// who takes an error for an answer: so this ends the process, if it must.
  private mutating func comeBack() {
    guard hasLeft else { return finish() }
    do {
      try NamespaceKinds.mount.enter(home, shown: "our own namespace")
      try changeDirectory(to: root, shown: "/")
      try check("chroot", "/", chroot("."))
    } catch {
      _exit(3)  // the one that waits for an answer says that there is none
    }
    hasLeft = false
    finish()
  }

  /// Adds what is hidden in the namespace that this process has just left.
  private mutating func finish() {
    guard let visit = unfinished else { return }
    unfinished = nil
    // This may be the turn of another user.
    Inspection.shares.inTime(of: visits[visit].user) { addHidden(to: visit) }
  }

  private mutating func addHidden(to visit: Int) {
    do throws(SystemError) {
      let hidden =
        try visits[visit].listing?.mounts(except: Self.identifiers(in: visits[visit].text)) {
          Inspection.goesOn()
        } ?? []
      visits[visit].hidden = hidden
      queueNamespaces(hidden, visit)
    } catch {
      visits[visit].hiddenProblem = error
    }
    guard !visits[visit].text.contains(anyOf: needles),
      !visits[visit].hidden.contains(where: { $0.names(anyOf: needles) })
    else { return }
    visits[visit].text = []
    visits[visit].hidden = []
  }

  /// The ids of the mounts in mountinfo. Each is looked for, as a count of the lines may be right by
  /// chance: the owner of the namespace can unmount one between the two looks.
  private static func identifiers(in text: [UInt8]) -> Set<UInt64> {
    Set(text.lines.compactMap { $0.prefix { $0 != UInt8(ascii: " ") }.number() })
  }

  /// False when what has led there does so no more: whoever it was has ended, or is in another
  /// namespace by now, as every survey is in each for a moment. Others may still be there.
  private mutating func visit(_ link: NamespaceLink) -> Bool {
    // The caller has named the process, if it is to be left alone.
    if case .process(let process) = link.keeper, !Inspection.begins(at: "\(process.pid)") {
      return true
    }
    let file = openNamespace(link.id, at: link.path)
    if case .failure(let error) = file, [ENOENT, ESRCH].contains(error.code) { return false }
    look(into: file, link: link)
    if visits[visits.count - 1].code == 0 { missed.remove(link.id) }
    lookIntoPending()
    return true
  }

  /// One that is always there, and never where it was: it cannot be looked into.
  private mutating func giveUp(_ link: NamespaceLink?) {
    guard let link else { return }
    look(into: .failure(SystemError(operation: "open", path: link.path, code: EBUSY)), link: link)
  }

  /// - Parameter path: below `/proc`. `ESRCH`: it leads to another one by now.
  private func openNamespace(_ id: UInt64, at path: FilePath) -> Result<CInt, SystemError> {
    do throws(SystemError) {
      let file = Descriptor(owning: try open(path).get())
      guard try file.status(shown: path).identity.inode == id else {
        throw SystemError(operation: "open", path: path, code: ESRCH)
      }
      return .success(file.release())
    } catch {
      return .failure(error)
    }
  }

  private mutating func lookIntoPending() {
    while let next = pending.popLast() {
      let user = visits[next.parent].user
      Inspection.shares.inTime(of: user) {
        guard Inspection.goesOn() else {
          close(next.file)
          return Inspection.name([(user: user, item: ())], unknowns)
        }
        look(into: .success(next.file), parent: next.parent, path: next.path)
      }
    }
  }

  /// - Parameter file: nil for the namespace that this process is in.
  private mutating func look(
    into file: Result<CInt, SystemError>?, link: NamespaceLink? = nil, parent: Int = 0,
    path: FilePath = ""
  ) {
    var text: [UInt8] = []
    var code: CInt = 0
    var listing: MountListing?
    var listingProblem: SystemError?
    var owner: uid_t?
    var user = link?.user ?? (visits.isEmpty ? getuid() : visits[parent].user)
    var root: NamespaceLink.Root?
    do throws(SystemError) {
      if let file {
        let namespace = Descriptor(owning: try file.get())
        owner = namespace.namespaceOwner
        if let maker = namespace.namespaceMaker, maker != 0 { user = maker }
        try NamespaceKinds.mount.enter(namespace, shown: path)
        hasLeft = true
        finish()
        do throws(SystemError) {
          listing = try MountListing(of: namespace)
        } catch {
          listingProblem = error
        }
      }
      root = Self.currentRoot()
      text = try Self.text(of: Descriptor(owning: open("self/mountinfo").get()))
    } catch {
      code = error.code
    }
    visits.append(
      Visit(
        link: link, isOwn: file == nil, parent: parent, path: path, code: code,
        hiddenProblem: listingProblem, text: text, listing: listing, owner: owner, user: user,
        root: root))
    queueNamespaces(text, visits.count - 1)
    guard code == 0 else { return }
    unfinished = visits.count - 1
    if file == nil { finish() }
  }

  /// The whole file; `ETIMEDOUT` when the user's time is over before its end.
  private static func text(of file: borrowing Descriptor) throws(SystemError) -> [UInt8] {
    var text: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = try check("read", "mountinfo", read(file.number, &part, part.count))
      if count == 0 { return text }
      text += part[..<count]
      guard Inspection.goesOn() else {
        throw SystemError(operation: "read", path: "mountinfo", code: ETIMEDOUT)
      }
    }
  }

  /// The root directory that this process has now; nil where its file system does not say, and then
  /// the threads of the namespace are asked, whichever root they have.
  private static func currentRoot() -> NamespaceLink.Root? {
    do throws(SystemError) {
      return NamespaceLink.Root(try Descriptor(followingLinks: "/").status(shown: "/"))
    } catch {
      return nil
    }
  }

  private mutating func queueNamespaces(_ text: [UInt8], _ parent: Int) {
    guard text.contains(anyOf: [" - nsfs "]) else { return }
    do {
      queueNamespaces(
        try MountTable(parsing: text, from: "mountinfo of \(visits[parent].path)").mounts, parent)
    } catch {
      unknowns.add(error)
    }
  }

  private mutating func queueNamespaces(_ mounts: [Mount], _ parent: Int) {
    for mount in mounts where mount.fileSystem == "nsfs" && Inspection.goesOn() {
      guard let id = NamespaceLink.id(in: mount.root) else { continue }
      if missed.contains(id), spare[id] == nil,
        case .success(let file) = namespaceFile(id, at: mount.target)
      {
        spare[id] = (file, parent, mount.target)
      }
      if seen.contains(id) { continue }
      switch namespaceFile(id, at: mount.target) {
      case .success(let file):
        seen.insert(id)
        pending.append((file, parent, mount.target))
      case .failure(let error):
        let visit = Visit(
          link: nil, isOwn: false, parent: parent, path: mount.target, code: error.code,
          hiddenProblem: nil, text: [], listing: nil, owner: nil, user: visits[parent].user,
          root: nil)
        covered.append((id, visit))
      }
    }
  }

  /// Opens the file of a namespace where it is mounted. What stands there instead, if anything
  /// does, is not opened, and no file system is asked on the way that can keep us waiting.
  private func namespaceFile(_ id: UInt64, at path: FilePath) -> Result<CInt, SystemError> {
    do throws(SystemError) {
      let file = try Descriptor(openingCached: path)
      if try file.status().identity.inode == id {
        return open("self/fd/\(file.number)")
      }
    } catch {}  // not in reach, as if it were covered
    return .failure(SystemError(operation: "open", path: path, code: EBUSY))
  }

  private func open(_ link: FilePath) -> Result<CInt, SystemError> { Self.open(link, in: proc) }

  private static func open(
    _ link: FilePath, in proc: borrowing Directory
  ) -> Result<CInt, SystemError> {
    let file = openat(proc.descriptor.number, link.cString, O_RDONLY | O_CLOEXEC)
    return file >= 0
      ? .success(file) : .failure(SystemError(operation: "open", path: link, code: errno))
  }
}
