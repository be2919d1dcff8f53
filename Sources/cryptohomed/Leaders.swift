import Bus
import Cryptohome
import DaemonStore
import Glibc
import Kernel
import Program

/// Ends sessions whose leader has ended without closing them, and finishes logouts that could not be
/// finished, by `cryptohome pam settle`.
///
/// What there is of sessions is in `/run/cryptohome/sessions`: a directory for each user who has
/// some, and in it a file for each leader. A user whose directory has no leader that is alive is
/// unsettled: settling takes the directory away, or cannot yet, and is tried again.
final class Leaders {
  private unowned let service: Service
  private let directory: FilePath
  private let changes: Inotify
  private var source: EventSource?

  /// The leaders that are alive, by the paths of their files.
  private var alive: [FilePath: Leader] = [:]
  private var isUnsettled = false
  private var isSettling = false
  private var timer: EventSource?
  private var delay = firstDelay
  /// What was said last of why it could not be settled.
  private var complaints: [String] = []

  private static let firstDelay = Duration.seconds(1)
  private static let lastDelay = Duration.seconds(300)

  private final class Leader {
    let handle: Descriptor
    var source: EventSource?
    init(_ handle: consuming Descriptor) { self.handle = handle }
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
    if isUnsettled { settle() }
  }

  /// Looks which leaders there are. Each that is alive is watched by its pidfd.
  private func rescan() {
    var seen: Set<FilePath> = []
    isUnsettled = false
    // Nobody has had a session, or it went meanwhile: the next look follows.
    try? changes.watch(directory, for: CInt(IN_CREATE))
    for user in names(in: directory) where ObfuscatedUsername(user) != nil {
      let path: FilePath = "\(directory)/\(user)"
      try? changes.watch(path, for: CInt(IN_CREATE | IN_DELETE))
      let sessions = names(in: path).compactMap { SessionRecord($0) }
      let living = sessions.filter { watch($0.leader, "\(path)/\($0)") }
      seen.formUnion(living.map { "\(path)/\($0)" })
      if living.isEmpty { isUnsettled = true }
    }
    alive = alive.filter { seen.contains($0.key) }
    if !isUnsettled {
      delay = Self.firstDelay
      complaints = []
      timer = nil
    } else if timer == nil, !isSettling {
      settleLater()
    }
  }

  private func names(in path: FilePath) -> [FilePath] {
    (try? Directory(opening: path).names()) ?? []
  }

  /// Whether a leader is alive.
  private func watch(_ leader: SessionLeader, _ path: FilePath) -> Bool {
    if alive[path] != nil { return true }
    do {
      let entry = Leader(try Descriptor(process: leader.process))
      // Its number is nobody else's as long as it is alive.
      guard leader.isAlive else { return false }
      entry.source = try service.loop.watch(entry.handle.number, for: .readable) {
        [unowned self] in
        alive[path] = nil
        settle()
      }
      alive[path] = entry
      return true
    } catch  where error.code == ESRCH {
      return false
    } catch {
      Program.complain("cryptohomed: \(path): the leader is not watched: \(error)")
      return true
    }
  }

  private func settleLater() {
    timer = try? service.loop.after(delay) { [unowned self] in
      timer = nil
      delay = min(delay * 2, Self.lastDelay)
      settle()
    }
  }

  private func settle() {
    guard !isSettling else {
      isUnsettled = true
      return
    }
    isSettling = true
    timer = nil
    do {
      try service.actions.start(["pam", "settle"], for: nil, in: service.loop) {
        [unowned self] end, lines in
        isSettling = false
        if end != .exited(0), lines != complaints {
          for line in lines { Program.complain("cryptohomed: \(line)") }
        }
        complaints = lines
        rescan()
      }
    } catch {
      isSettling = false
      Program.complain("cryptohomed: sessions are not settled: \(error)")
      settleLater()
    }
  }
}

/// inotify(7), for who looks again whatever has happened.
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
