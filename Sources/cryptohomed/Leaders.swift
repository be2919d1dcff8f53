import DaemonStoreBus
import CDaemonStoreLinux
import Cryptohome
import DaemonStore
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram

/// Locks the vaults of users whose sessions have all ended, though they were not closed, and finishes
/// logouts that could not be finished, by `cryptohome pam lock-ended`: a process for each user, so that no
/// user's waits for another's.
///
/// What there is of sessions is in `/run/cryptohome/sessions`: a directory for each user with sessions, and
/// in it a file for each leader. The process takes away the directory of a user without a leader that is
/// alive, or cannot yet, and is tried again.
final class Leaders {
  private unowned let service: Service
  private let directory: FilePath
  private let changes: Inotify
  private var source: EventSource?
  private var users: [ObfuscatedUsername: User] = [:]
  /// The next look at what could not be watched.
  private var timer: EventSource?

  private static let firstDelay = Duration.seconds(1)
  private static let lastDelay = Duration.seconds(300)
  /// How many leaders of a user are watched. As long as one of them is alive, the others do not matter.
  private static let limitForUser = 4
  /// How many processes begin at a time: those that have run for ten seconds do not count.
  private static let limit = 32
  private static let timeout = Duration.milliseconds(CONTROL_TIME_TO_ANSWER)

  private final class User {
    /// The leaders that are watched, by the names of their files.
    var leaders: [String: EventSource] = [:]
    /// When the process that runs was started.
    var start: ContinuousClock.Instant?
    /// A leader has ended meanwhile.
    var isAskedAgain = false
    /// A process that was given up, as it did not end in time.
    var stuck: pid_t?
    var timer: EventSource?
    var delay = firstDelay
    /// What was said last of why the vault could not be locked.
    var complaints: [String] = []
  }

  init(_ service: Service) throws {
    self.service = service
    let state = service.layout.state
    directory = "\(state)/sessions"
    changes = try Inotify()
    // A lock that is let go says that a login is over, as far as it goes.
    try changes.watch(state, for: CInt(IN_CREATE | IN_DELETE | IN_CLOSE_WRITE))
    source = try service.loop.watch(changes.descriptor.number, for: .readable) { [unowned self] in
      changes.drain()
      service.lookAgain()
      rescan()
    }
    rescan()
    for (hash, user) in users where user.leaders.isEmpty { lock(hash, user) }
  }

  /// Looks which sessions there are, and watches leaders that are alive by their pidfds.
  private func rescan() {
    timer = nil
    do {
      let names = try names(in: directory)
      let known = Set(names.compactMap { ObfuscatedUsername($0) })
      users = users.filter { known.contains($0.key) || $0.value.start != nil }
      for hash in known { rescan(hash) }
    } catch {
      lookLater(directory, error)
    }
  }

  private func rescan(_ hash: ObfuscatedUsername) {
    let user = users[hash] ?? User()
    users[hash] = user
    do {
      let sessions = try names(in: "\(directory)/\(hash)").compactMap { SessionRecord($0) }
      let recorded = Set(sessions.map(\.description))
      user.leaders = user.leaders.filter { recorded.contains($0.key) }
      for session in sessions where user.leaders.count < Self.limitForUser {
        try watch(session, hash, user)
      }
    } catch {
      // It may have one that is alive: what cannot be seen locks nothing.
      lookLater("\(directory)/\(hash)", error)
      return
    }
    if !user.leaders.isEmpty {
      user.delay = Self.firstDelay
      user.complaints = []
      user.timer = nil
    } else if user.timer == nil, user.start == nil {
      lockLater(hash, user, after: user.delay)
    }
  }

  /// Empty where there is no such directory. It is watched from here on.
  private func names(in path: FilePath) throws(SystemError) -> [FilePath] {
    do throws(SystemError) {
      try changes.watch(path, for: CInt(IN_CREATE | IN_DELETE))
      return try Directory(opening: path).names()
    } catch {
      guard error.code == ENOENT else { throw error }
      return []
    }
  }

  private func lookLater(_ path: FilePath, _ error: any Error) {
    guard timer == nil else { return }
    Program.complain("cryptohomed: \(path): the sessions are not watched: \(error)")
    timer = try? service.loop.after(.seconds(5)) { [unowned self] in rescan() }
  }

  /// Watches the leader of a session, if it is alive.
  private func watch(
    _ session: SessionRecord, _ hash: ObfuscatedUsername, _ user: User
  ) throws(SystemError) {
    let name = session.description
    guard user.leaders[name] == nil else { return }
    do {
      let handle = try Descriptor(process: session.leader.process)
      // Its number is no other's as long as it is alive.
      guard session.leader.isAlive else { return }
      user.leaders[name] = try service.loop.watch(handle.number, for: .readable) {
        [unowned self, unowned user] in
        user.leaders[name] = nil
        lock(hash, user)
      }
    } catch {
      if error.code != ESRCH { throw error }
    }
  }

  private func lockLater(_ hash: ObfuscatedUsername, _ user: User, after time: Duration) {
    user.timer = try? service.loop.after(time) { [unowned self, unowned user] in
      user.timer = nil
      user.delay = min(user.delay * 2, Self.lastDelay)
      lock(hash, user)
    }
  }

  private func lock(_ hash: ObfuscatedUsername, _ user: User) {
    guard user.start == nil else {
      user.isAskedAgain = true
      return
    }
    user.timer = nil
    if let stuck = user.stuck, service.actions.isRunning(stuck) {
      return lockLater(hash, user, after: Self.lastDelay)
    }
    let now = ContinuousClock.now
    let young = users.values.count { $0.start.map { now - $0 < .seconds(10) } ?? false }
    guard young < Self.limit else { return lockLater(hash, user, after: Self.firstDelay) }
    do {
      var process: pid_t = -1
      process = try service.actions.start(
        ["pam", "lock-ended", "--", hash.description], for: nil, atMost: Self.timeout,
        in: service.loop
      ) { [unowned self] end, lines in
        user.start = nil
        tell(of: hash, user, process: process, end, lines)
        if user.isAskedAgain {
          user.isAskedAgain = false
          lock(hash, user)
        } else {
          rescan()
        }
      }
      user.start = now
    } catch {
      Program.complain("cryptohomed: the vault of \(hash) is not locked: \(error)")
      lockLater(hash, user, after: user.delay)
    }
  }

  private func tell(
    of hash: ObfuscatedUsername, _ user: User, process: pid_t, _ end: ProcessEnd?,
    _ lines: [String]
  ) {
    var complaints = end == .exited(0) ? [] : lines
    if end == nil {
      user.stuck = process
      complaints.append(
        "the vault of \(hash) is not locked after \(CONTROL_TIME_TO_ANSWER / 1000) seconds; process "
          + "\(process) was killed, and is not waited for")
    }
    if complaints != user.complaints {
      for line in complaints { Program.complain("cryptohomed: \(line)") }
    }
    user.complaints = complaints
  }
}

/// inotify(7), for what looks again whatever has happened.
final class Inotify {
  let descriptor: Descriptor

  init() throws(SystemError) {
    descriptor = Descriptor(
      owning: try check("inotify_init", nil, inotify_init1(CInt(IN_CLOEXEC | IN_NONBLOCK))))
  }

  /// Twice is once.
  func watch(_ path: FilePath, for events: CInt) throws(SystemError) {
    try check(
      "inotify_add_watch", path,
      inotify_add_watch(descriptor.number, path.cString, UInt32(bitPattern: events)))
  }

  func drain() {
    var buffer = [UInt8](repeating: 0, count: 4096)
    while read(descriptor.number, &buffer, buffer.count) > 0 {}
  }
}
