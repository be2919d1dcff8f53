import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import MountTable

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
  /// What is left to judge a socket by whose path leads nowhere any more.
  private let isNamed: (_ path: FilePath) -> Bool
  /// What counts against a process beside the files that it shows.
  private let doubts: Doubts?
  /// Takes up the directories that other users' processes keep: those are no holders.
  private let pins: DirectoryPins?
  private let unknowns: Unknowns
  private var sockets: BoundSockets
  private let watches: Watches?
  private let waits = SentDescriptors.Waits()
  /// When the search ends, whatever has not been looked at.
  private let deadline: ContinuousClock.Instant?
  /// The descriptors that the test needs.
  private let kept: [CInt]

  /// What cannot be inspected, and where it counts.
  struct Doubts {
    /// Whether a process may have been sent one of the files.
    let isSuspect: (_ process: borrowing Directory) -> Bool
    /// Whether a process may have hidden one of the files: it runs as the user.
    let isUsers: (_ process: borrowing Directory) -> Bool
    /// Whether a directory is on a mount that no namespace shows now.
    let isDetached: (_ file: FileStatus) -> Bool
  }

  init(
    for test: @escaping Test, isNamed: @escaping (_ path: FilePath) -> Bool = { _ in false },
    doubts: Doubts? = nil, pins: DirectoryPins? = nil, unknowns: Unknowns = Unknowns(),
    watched: Watches.Open? = nil, keeping kept: [CInt] = [],
    until deadline: ContinuousClock.Instant? = nil
  ) {
    self.test = test
    self.isNamed = isNamed
    self.doubts = doubts
    self.pins = pins
    self.unknowns = unknowns
    sockets = BoundSockets(unknowns)
    watches = watched.map { Watches($0, unknowns) }
    self.deadline = deadline
    self.kept = kept
  }

  /// Whether the time of the search is over. What it leaves out then counts as not inspected.
  private func isLate() -> Bool {
    Inspection.goesOn()
    guard let deadline, ContinuousClock.now >= deadline else { return false }
    unknowns.add("all processes within the time of a logout")
    return true
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
    var hidden: [pid_t] = []
    var seen = Inspection.ownProcesses
    var round = 0
    let enough = ContinuousClock.now + .seconds(2)
    repeat {
      var isComplete = round > 0
      round += 1
      for process in try Processes.all() where seen.insert(process).inserted {
        if isLate() { return holders + Self.entry(for: hidden) + unknowns.holders }
        guard !Inspection.isInspecting(process), Inspection.begins(at: "\(process)") else {
          continue
        }
        do throws(SystemError) {
          let directory = try Directory(opening: "/proc/\(process)")
          sockets.read(from: directory)
          if Processes.isHidden(process, directory) {
            hidden.append(process)
            continue
          }
          holders += uses(of: process, in: directory).map {
            Holder(keeper: .process(ProcessName(process)), hold: $0)
          }
          if Processes.threads(of: process, unknowns).isEmpty { isComplete = false }
        } catch {
          isComplete = false
          unknowns.add(error, about: "/proc/\(process)")
        }
      }
      if isComplete { return holders + Self.entry(for: hidden) + unknowns.holders }
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
    look(.program, "exe", directory)
    for thread in Processes.threads(of: process, unknowns) {
      do throws(SystemError) {
        let task = try directory.directory("task/\(thread)")
        look(.workingDirectory, "cwd", task)
        look(.root, "root", task)
      } catch {
        unknowns.add(error, about: directory.path(of: "task/\(thread)"))
      }
    }
    for thread in Processes.descriptorTables(of: process, unknowns) {
      do throws(SystemError) {
        let task = try directory.directory("task/\(thread)")
        try descriptors(of: process, task, in: directory, isUsers: isUsers, &found, &unseen)
      } catch {
        unknowns.add(error, about: directory.path(of: "task/\(thread)"))
      }
    }
    if let file = mapping(of: process, directory) { found.append(.mapping(file)) }
    if let first = unseen.first { found.append(first) }  // what cannot be inspected counts once
    return found
  }

  /// nil when the link is gone, or leads to what could not be inspected.
  private func status(behind name: FilePath, _ links: borrowing Directory) -> FileStatus? {
    do throws(SystemError) {
      return try links.status(behind: name)
    } catch {
      unknowns.add(error, about: links.path)
      return nil
    }
  }

  /// Whether a file is one of them, and counts: a directory that another user's process keeps is a
  /// pin.
  private func isHeld(
    _ file: FileStatus, _ name: FilePath, _ links: borrowing Directory, by process: pid_t,
    _ hold: Holder.Hold
  ) -> Bool {
    guard test(file, name, links) else { return false }
    return pins?.take(file, name, links, of: process, hold) != true
  }

  private func isHeld(_ name: FilePath, _ links: borrowing Directory) -> Bool {
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

  /// The first file, bound socket, sent file and watch among the descriptors of a thread.
  private func descriptors(
    of process: pid_t, _ task: borrowing Directory, in directory: borrowing Directory,
    isUsers: Bool, _ found: inout [Holder.Hold], _ unseen: inout [Holder.Hold]
  ) throws(SystemError) {
    let links = try task.directory("fd")
    let isSuspect = doubts?.isSuspect(directory) == true
    var file: FilePath?
    var socket: FilePath?
    var sent: FilePath?
    var watch: FilePath?
    for (index, name) in try links.names().enumerated() {
      if index % 256 == 255, isLate() { break }
      guard let status = status(behind: name, links) else { continue }
      if status.mode & S_IFMT == S_IFSOCK {
        if socket == nil, let path = sockets.path(of: status.identity) {
          let isFound = isHeld("root\(path)", directory)
          socket =
            path.isAbsolute && (isFound || isNamed(path))
            ? path : boundFile(of: name, status.identity, in: process)
        }
        let waiting = SentDescriptors.find(
          at: name, of: process, task, waits: isSuspect && unseen.isEmpty ? waits : nil,
          unknowns
        ) { [pins, test] file, name, links in
          test(file, name, links)
            && pins?.take(file, name, links, of: process, .sentFile("")) != true
        }
        switch waiting {
        case .sentFile(let path): sent = sent ?? path
        case let hold?: if isSuspect { unseen.append(hold) }
        case nil: continue
        }
      } else if let watches, watches.isAnonymous(status) {
        watches.forEachMark(of: name, in: task) { file, name, own in
          if isHeld(file, name, own, by: process, .watch("")) {
            watch = watch ?? shownPath(of: name, own)
          }
        }
      } else if file == nil, isHeld(status, name, links, by: process, .openFile("")) {
        file = shownPath(of: name, links)
      } else if isUsers, status.isDirectory, unseen.isEmpty {
        unseen += detached(name, links)
      }
    }
    // A process that has a file open is named by that: a watch of the same process adds nothing.
    for hold in [
      file.map(Holder.Hold.openFile), socket.map(Holder.Hold.socket),
      sent.map(Holder.Hold.sentFile), file == nil ? watch.map(Holder.Hold.watch) : nil,
    ] {
      if let hold, !found.contains(hold) { found.append(hold) }
    }
  }

  /// The path of what a socket is bound to, if that is one of them: as the kernel has it, whatever
  /// path it was bound by, and from where. It takes CAP_NET_ADMIN.
  private func boundFile(of name: FilePath, _ socket: FileIdentity, in process: pid_t) -> FilePath?
  {
    guard let number: CInt = name.bytes.number() else { return nil }
    do throws(SystemError) {
      let copy = linux_get_descriptor(process, number)
      guard copy >= 0 else {
        SentDescriptors.note(errno, process, unknowns)
        return nil
      }
      let descriptor = Descriptor(owning: copy)
      // Another one, when the table of this thread is its own.
      guard try descriptor.status().identity == socket else { return nil }
      let bound = linux_socket_file(copy)
      // `EPERM`: without CAP_NET_ADMIN. The path of the socket was compared before.
      if bound < 0, [ENOENT, EPERM, EINVAL, EOPNOTSUPP].contains(errno) { return nil }
      let file = Descriptor(owning: try check("SIOCUNIXFILE", nil, bound))
      let own = try Directory(opening: "/proc/\(getpid())/fd")
      return isHeld("\(file.number)", own) ? shownPath(of: "\(file.number)", own) : nil
    } catch {
      unknowns.add(error)
      return nil
    }
  }

  /// The first file that a process has mapped. Each file is looked at once, however many mappings there
  /// are of it: the text of maps costs little.
  private func mapping(of process: pid_t, _ directory: borrowing Directory) -> FilePath? {
    do throws(SystemError) {
      let links = try directory.directory("map_files")
      let text = try kernelFile(directory.path(of: "maps")).map { CChar(bitPattern: $0) }
      var mapping = linux_mapping()
      var place = 0
      var seen: Set<FileIdentity> = []
      while linux_next_mapping(text, text.count, &place, &mapping) != 0 {
        let file = FileIdentity(
          device: linux_makedev(mapping.major, mapping.minor), inode: mapping.inode)
        guard !seen.contains(file) else { continue }
        let range = text[mapping.range..<(mapping.range + mapping.length)]
        let name = Self.entry(of: range.map { UInt8(bitPattern: $0) })
        // One that was changed meanwhile has another name by now.
        guard let status = status(behind: name, links) else { continue }
        seen.insert(file)
        if isHeld(status, name, links, by: process, .mapping("")) {
          return shownPath(of: name, links)
        }
        if seen.count % 256 == 255, isLate() { break }
      }
    } catch {
      unknowns.add(error, about: directory.path)
    }
    return nil
  }

  /// The name in map_files of a range in maps, whose numbers begin with zeros.
  private static func entry(of range: [UInt8]) -> FilePath {
    let ends = range.split(separator: UInt8(ascii: "-")).map { end in
      FilePath(truncating: end.drop { $0 == UInt8(ascii: "0") })
    }
    return ends.count == 2 ? "\(ends[0])-\(ends[1])" : ""
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
