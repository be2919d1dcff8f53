import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// Ends the processes that hold files of a user who logs out, where the configuration says so.
package final class HolderEnding {
  /// How long a process has to end after SIGTERM.
  private static let timeToEnd = Duration.seconds(10)
  /// How long the kernel has to end a process that gets SIGKILL.
  private static let timeToDie = Duration.seconds(3)

  private let subtree: UserSubtree
  private let configuration: Configuration
  /// This process and those above it: the login that is just ending.
  private let spared: Set<pid_t>
  private var pidfds: [CInt] = []

  package init(_ subtree: UserSubtree, _ configuration: Configuration) {
    self.subtree = subtree
    self.configuration = configuration
    spared = Self.ancestors()
  }

  deinit { for pidfd in pidfds { close(pidfd) } }

  /// Whether any holder can be ended at all.
  package static func isAsked(by configuration: Configuration) -> Bool {
    configuration.sections.contains { configuration.holderPolicy(in: $0) != .report }
  }

  /// Finds them, ends them and waits for that.
  ///
  /// - Returns: those that got a signal.
  package func run() throws -> [ProcessName] {
    let lost = Unknowns()
    let found = try Inspection.run(
      .files, keeping: subtree.descriptors, for: subtree.owner, until: subtree.deadline, lost
    ) {
      try look()
    }
    // What was not looked at is not ended; the search for what is left says so.
    var ended: [(process: ProcessName, policy: HolderPolicy)] = []
    for candidate in found ?? [] {
      let pidfd = linux_pidfd_open(candidate.process.pid)
      guard pidfd >= 0 else { continue }
      // Its number was not given to another process meanwhile.
      guard ProcessStat(of: candidate.process.pid)?.startTime == candidate.startTime else {
        close(pidfd)
        continue
      }
      pidfds.append(pidfd)
      ended.append((candidate.process, candidate.isKilled ? .kill : .terminate))
      signal(pidfd, candidate.isKilled ? SIGKILL : SIGTERM)
    }
    guard !ended.isEmpty else { return [] }
    let isSlow = ended.contains { $0.policy == .terminate }
    wait(isSlow ? Self.timeToEnd : Self.timeToDie)
    let left = pidfds.filter { !hasEnded($0) }
    for pidfd in left { signal(pidfd, SIGKILL) }
    if !left.isEmpty { wait(Self.timeToDie) }
    return ended.map(\.process)
  }

  /// A process that may be ended for what it holds.
  private struct Candidate: Transferable {
    let process: ProcessName
    let startTime: UInt64
    var isKilled: Bool

    init(process: ProcessName, startTime: UInt64, isKilled: Bool) {
      self.process = process
      self.startTime = startTime
      self.isKilled = isKilled
    }

    func write(to answer: inout Answer) {
      process.write(to: &answer)
      startTime.write(to: &answer)
      isKilled.write(to: &answer)
    }

    init(from answer: inout Answer) throws(SystemError) {
      process = try .init(from: &answer)
      startTime = try .init(from: &answer)
      isKilled = try .init(from: &answer)
    }
  }

  /// The search itself: for an inspecting process.
  private func look() throws -> [Candidate] {
    var candidates: [pid_t: Candidate] = [:]
    var search = HolderSearch(
      for: { [self] file, link, links in
        guard let (process, policy) = candidate(file, link, links) else { return false }
        if let known = candidates[process] {
          candidates[process]?.isKilled = known.isKilled || policy == .kill
        } else if let start = ProcessStat(of: process)?.startTime,
          // Its directory still answers, so the number was not given to another process meanwhile.
          (try? links.status(behind: link)) ?? nil != nil
        {
          candidates[process] = Candidate(
            process: ProcessName(process), startTime: start, isKilled: policy == .kill)
        }
        return false
      }, until: subtree.deadline)
    _ = try search.processes()
    return candidates.values.sorted { $0.process.pid < $1.process.pid }
  }

  /// The process that has a file, and what may be done for that; nil for nothing.
  private func candidate(
    _ file: FileStatus, _ link: FilePath, _ links: borrowing Directory
  ) -> (pid_t, HolderPolicy)? {
    guard !file.isDirectory, let process = Self.process(in: links.path), process > 1,
      !spared.contains(process), subtree.contains(file, link, in: links)
    else { return nil }
    let section = subtree.section(of: file, link, in: links)
    let policy = configuration.holderPolicy(in: section)
    guard policy != .report else { return nil }
    if !configuration.mayEndServices(in: section), Self.isService(process) { return nil }
    return (process, policy)
  }

  /// The number in `/proc/12/task/13/fd`; nil for our own descriptors of what another process was sent.
  private static func process(in path: FilePath) -> pid_t? {
    let parts = path.components
    guard parts.count >= 2, parts[0] == "proc" else { return nil }
    guard let thread: pid_t = parts[1].bytes.number(), thread != getpid(),
      let text = try? kernelFile("/proc/\(thread)/status")
    else { return nil }
    // What is mapped is found by a thread, whose number is not always that of the process.
    return text.field("Tgid")?.number()
  }

  /// Whether a process is part of a unit of the system, and not of a user's session: by its control
  /// group. Where that cannot be told it counts as one.
  private static func isService(_ process: pid_t) -> Bool {
    guard let text = try? kernelFile("/proc/\(process)/cgroup") else { return true }
    let lines = text.split(separator: UInt8(ascii: "\n"))
    // Without systemd there are no units.
    let paths = lines.compactMap { line -> [UInt8]? in
      let fields = line.split(
        separator: UInt8(ascii: ":"), maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3, fields[1].isEmpty || fields[1].elementsEqual("name=systemd".utf8)
      else { return nil }
      return Array(fields[2])
    }
    return paths.contains {
      $0.starts(with: "/system.slice/".utf8) || $0.starts(with: "/init.scope".utf8)
        || $0.starts(with: "/machine.slice/".utf8)
    }
  }

  private static func ancestors() -> Set<pid_t> {
    var found: Set<pid_t> = [getpid()]
    var next = getppid()
    while next > 0, found.insert(next).inserted {
      guard let parent = ProcessStat(of: next)?.parent else { break }
      next = parent
    }
    return found
  }

  private func signal(_ pidfd: CInt, _ number: CInt) { _ = linux_signal(pidfd, number) }

  private func hasEnded(_ pidfd: CInt) -> Bool {
    var poller = pollfd(fd: pidfd, events: Int16(POLLIN), revents: 0)
    return poll(&poller, 1, 0) == 1
  }

  private func wait(_ time: Duration) {
    let deadline = ContinuousClock.now + time
    while true {
      var pollers = pidfds.filter { !hasEnded($0) }.map {
        pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
      }
      let left = ContinuousClock.now.duration(to: deadline)
      guard !pollers.isEmpty, left > .zero else { return }
      let milliseconds = left.components.seconds * 1000 + 1
      _ = poll(&pollers, nfds_t(pollers.count), CInt(clamping: milliseconds))
    }
  }
}

extension UserSubtree {
  /// The section of the configuration that is about a file of the user's.
  fileprivate func section(
    of file: FileStatus, _ link: FilePath, in process: borrowing Directory
  ) -> Configuration.Section {
    guard let path = relativePath(of: file, link, in: process) else { return .home }
    var names = path.components[...]
    guard names.popFirst() == "root" else { return .home }
    if names.first == ".cache" { names.removeFirst() }
    guard let store = names.first.flatMap({ StoreName($0) }) else { return .home }
    return .store(store)
  }
}
