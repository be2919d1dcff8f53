import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

extension Holder.Hold {
  /// Something that is mounted at or below a mount of the user's.
  static func mount(_ mount: Mount) -> Self {
    .mount(mount.target, mount.fileSystem)
  }
}

/// The search through all processes for users of some files. It asks for the file behind each
/// link, not for paths: a path is different in each jail, and gone after an unmount.
struct HolderSearch: ~Copyable {
  /// Whether the file behind the magic link `name` of a directory in `/proc` is one of them.
  typealias Test = (_ file: FileStatus, _ name: FilePath, _ directory: borrowing Directory) -> Bool

  private let test: Test
  /// What counts against a process beside the files that it shows.
  private let doubts: Doubts?
  /// Takes up the directories that other users' processes keep: those are no holders.
  private let pins: DirectoryPins?
  let unknowns: Unknowns
  let sockets: BoundSockets
  private let watches: Watches?
  private let waits = SentDescriptors.Waits()
  /// When the search ends, whatever has not been looked at.
  private let deadline: ContinuousClock.Instant?
  /// The descriptors that the test needs.
  private let kept: [CInt]

  /// A thread of a process.
  struct Task {
    let process: pid_t
    let thread: pid_t
  }

  /// What cannot be inspected, and where it counts.
  struct Doubts {
    /// Whether a thread may have been sent one of the files.
    let isSuspect: (_ task: borrowing Directory) -> Bool
    /// Whether a thread may have bound a socket to one of the files.
    let mayBind: (_ task: borrowing Directory) -> Bool
    /// Whether a process may have hidden one of the files: it runs as the user.
    let isUsers: (_ process: borrowing Directory) -> Bool
    /// Whether a directory is on a mount that no namespace shows now.
    let isDetached: (_ file: FileStatus) -> Bool
  }

  init(
    for test: @escaping Test, mayBeOn: @escaping (_ device: UInt64) -> Bool? = { _ in nil },
    doubts: Doubts? = nil, pins: DirectoryPins? = nil, unknowns: Unknowns = Unknowns(),
    watched: Watches.Open? = nil, keeping kept: [CInt] = [],
    until deadline: ContinuousClock.Instant? = nil
  ) {
    self.test = test
    self.doubts = doubts
    self.pins = pins
    self.unknowns = unknowns
    sockets = BoundSockets(mayBeOn: mayBeOn, unknowns: unknowns)
    watches = watched.map { Watches($0, unknowns) }
    self.deadline = deadline
    self.kept = kept
  }

  /// One entry for each kind of use and process, this process left out, and one for each thing that
  /// could not be inspected.
  ///
  /// It looks in a child process: what the test notes is lost, unless the caller is in one already.
  mutating func processes() throws -> [Holder] {
    let lost = Unknowns()
    let found = try Inspection.run(.files, keeping: kept, until: deadline, lost) {
      try look()
    }
    return (found ?? []) + lost.holders
  }

  /// When a process goes away before it was looked at, a child of it may have what it had: so the new
  /// ones are looked at, until no process has ended meanwhile, or two seconds are over.
  private mutating func look() throws(SystemError) -> [Holder] {
    var holders: [Holder] = []
    var isKnown: Set<Holder> = []
    var hidden: [pid_t] = []
    var seen = Inspection.ownProcesses
    var round = 0
    let enough = ContinuousClock.now + .seconds(2)
    repeat {
      var isComplete = round > 0
      round += 1
      let new = try Processes.all().filter { seen.insert($0).inserted }
      // A look that took too long is made again.
      try Inspection.inTurns(new, unknowns) { process in
        guard !Inspection.isInspecting(process), Inspection.begins(at: "\(process)") else { return }
        do throws(SystemError) {
          let directory = try Directory(opening: "/proc/\(process)")
          // Before anything else: what it had says nothing when the process cannot be known.
          guard try pins?.meet(process, directory) != false else {
            isComplete = false
            return
          }
          if Processes.isHidden(process, directory) {
            if !hidden.contains(process) { hidden.append(process) }
            return
          }
          holders += uses(of: process, in: directory).map {
            Holder(keeper: .process(ProcessName(process)), hold: $0)
          }.filter { isKnown.insert($0).inserted }
          if hasEnded(process) { isComplete = false }
        } catch {
          isComplete = false
          unknowns.add(error, about: "/proc/\(process)")
        }
      }
      if isComplete || Inspection.shares.isLate {
        return holders + Self.entry(for: hidden) + unknowns.holders
      }
    } while round < 2 || ContinuousClock.now < enough
    return holders + Self.entry(for: hidden) + unknowns.holders
      + [Holder(keeper: nil, hold: .fugitive)]
  }

  private static func entry(for hidden: [pid_t]) -> [Holder] {
    hidden.first.map { [Holder(keeper: nil, hold: .hidden(hidden.count, ProcessName($0)))] } ?? []
  }

  private func uses(of process: pid_t, in directory: borrowing Directory) -> [Holder.Hold] {
    var found: [Holder.Hold] = []
    var unseen: [Holder.Hold] = []
    let isUsers = doubts?.isUsers(directory) == true
    func look(
      _ hold: Holder.Hold, _ name: FilePath, _ links: borrowing Directory
    ) {
      guard let file = status(behind: name, links) else { return }
      if isHeld(file, name, links, by: process, hold) {
        if !found.contains(hold) { found.append(hold) }
      } else if isUsers, file.isDirectory, unseen.isEmpty {
        unseen += detached(name, links)
      }
    }
    var isSuspect = false
    var mayBind = false
    for thread in Processes.threads(of: process, unknowns) {
      guard Inspection.goesOn() else { break }
      do throws(SystemError) {
        let task = try directory.directory("task/\(thread)")
        // Namespaces are a thread's own, and one that has ended is in none.
        isSuspect = isSuspect || doubts?.isSuspect(task) == true
        mayBind = mayBind || doubts?.mayBind(task) == true
        look(.workingDirectory, "cwd", task)
        look(.root, "root", task)
      } catch {
        unknowns.add(error, about: directory.path(of: "task/\(thread)"))
      }
    }
    Processes.forEachDescriptorTable(of: process, unknowns) { thread in
      do throws(SystemError) {
        let task = try directory.directory("task/\(thread)")
        var look = DescriptorLook(
          task: Task(process: process, thread: thread), isUsers: isUsers, isSuspect: isSuspect,
          mayBind: mayBind, unseen: unseen)
        try descriptors(task, &look)
        unseen = look.unseen
        for hold in look.holds where !found.contains(hold) { found.append(hold) }
      } catch {
        unknowns.add(error, about: directory.path(of: "task/\(thread)"))
      }
    }
    for hold in memory(of: process, directory) where !found.contains(hold) { found.append(hold) }
    if let first = unseen.first { found.append(first) }  // what cannot be inspected counts once
    return found
  }

  /// nil when the link is gone, or leads to what could not be inspected.
  func status(behind name: FilePath, _ links: borrowing Directory) -> FileStatus? {
    do throws(SystemError) {
      return try links.status(behind: name)
    } catch {
      unknowns.add(error, about: links.path)
      return nil
    }
  }

  /// Whether a file is one of them, and counts: a directory that another user's process keeps is a
  /// pin.
  func isHeld(
    _ file: FileStatus, _ name: FilePath, _ links: borrowing Directory, by process: pid_t,
    _ hold: Holder.Hold
  ) -> Bool {
    guard test(file, name, links) else { return false }
    // What has ended holds nothing, and its children are looked at.
    return pins?.take(file, name, links, of: process, hold) != true && !hasEnded(process)
  }

  /// Whether nothing of a process is left but its status.
  private func hasEnded(_ process: pid_t) -> Bool {
    do throws(SystemError) {
      return ProcessStat(parsing: try kernelFile("/proc/\(process)/stat"))?.hasEnded ?? false
    } catch {
      return [ENOENT, ESRCH].contains(error.code)
    }
  }

  func isHeld(_ name: FilePath, _ links: borrowing Directory) -> Bool {
    status(behind: name, links).map { test($0, name, links) } == true
  }

  /// Looks several times: a jail that is just being built changes its mounts meanwhile.
  private func detached(_ name: FilePath, _ links: borrowing Directory) -> [Holder.Hold] {
    for _ in 0..<3 {
      guard let file = status(behind: name, links), file.isDirectory,
        doubts?.isDetached(file) == true
      else { return [] }
      pause(.milliseconds(10))
    }
    return [.detachedTree(shownPath(of: name, links))]
  }

  /// What is found among the descriptors of a thread.
  private struct DescriptorLook {
    let task: Task
    let isUsers: Bool
    let isSuspect: Bool
    let mayBind: Bool
    /// What cannot be inspected.
    var unseen: [Holder.Hold]
    var file: FilePath?
    var socket: FilePath?
    var sent: FilePath?
    var watch: FilePath?

    /// A process that has a file open is named by that: a watch of the same process adds nothing.
    var holds: [Holder.Hold] {
      [
        file.map(Holder.Hold.openFile), socket.map(Holder.Hold.socket),
        sent.map(Holder.Hold.sentFile), file == nil ? watch.map(Holder.Hold.watch) : nil,
      ].compactMap { $0 }
    }
  }

  /// The first file, bound socket, sent file and watch among the descriptors of a thread.
  private func descriptors(
    _ task: borrowing Directory, _ look: inout DescriptorLook
  ) throws(SystemError) {
    let links = try task.directory("fd")
    // A million files can be open: each is looked at as its name is read.
    try links.forEachName { name throws(SystemError) in
      guard Inspection.goesOn() else { return false }
      lookAtDescriptor(name, links, task, &look)
      return true
    }
  }

  private func lookAtDescriptor(
    _ name: FilePath, _ links: borrowing Directory, _ task: borrowing Directory,
    _ look: inout DescriptorLook
  ) {
    let process = look.task.process
    guard let status = status(behind: name, links) else { return }
    if status.mode & S_IFMT == S_IFSOCK {
      lookAtSocket(name, status, task, &look)
    } else if let watches, watches.isAnonymous(status) {
      watches.forEachMark(of: name, in: task) { file, name, own in
        if isHeld(file, name, own, by: process, .watch("")) {
          look.watch = look.watch ?? shownPath(of: name, own)
        }
      }
    } else if look.file == nil, isHeld(status, name, links, by: process, .openFile("")) {
      look.file = shownPath(of: name, links)
    } else if look.isUsers, status.isDirectory, look.unseen.isEmpty {
      look.unseen += detached(name, links)
    }
  }

  private func lookAtSocket(
    _ name: FilePath, _ status: FileStatus, _ task: borrowing Directory,
    _ look: inout DescriptorLook
  ) {
    guard SentDescriptors.isUnixSocket(name, task, unknowns) else { return }
    let process = look.task.process
    if look.socket == nil {
      look.socket = boundFile(
        of: name, status.identity, in: task, look.task, mayHide: look.mayBind)
    }
    let waiting = SentDescriptors.find(
      at: name, of: look.task, task,
      waits: look.isSuspect && look.unseen.isEmpty ? waits : nil, unknowns
    ) { file, name, own in
      if file.mode & S_IFMT == S_IFSOCK { return boundFile(of: name, in: own) != nil }
      return test(file, name, own)
        && pins?.take(file, name, own, of: process, .sentFile("")) != true
    }
    switch waiting?.hold {
    case .sentFile(let path): look.sent = look.sent ?? path
    // Any user can hide a descriptor in a table that cannot be copied from.
    case let hold?: if look.isSuspect || waiting?.isHidden == true { look.unseen.append(hold) }
    case nil: return
    }
  }
}

/// The path of a file, as the process knows it that a link of `/proc` belongs to: for messages alone.
func shownPath(of name: FilePath, _ links: borrowing Directory) -> FilePath {
  do throws(SystemError) {
    return try linkTarget(of: links.path(of: name))
  } catch {
    return "?"
  }
}
