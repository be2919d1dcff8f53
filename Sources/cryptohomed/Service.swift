import Bus
import Cryptohome
import DaemonStore
import Glibc
import Kernel
import Program

/// The running service: one thread, which waits in `loop` and nowhere else.
final class Service {
  let loop: EventLoop
  let bus: Connection
  let layout = Layout.system
  /// How long a logout waits for those who delay it.
  let delay: Duration

  private(set) var tracker = SessionTracker()
  private let mounts: MountWatch
  private var sources: [EventSource] = []

  init(delay: Duration) throws {
    self.delay = delay
    try enterMountNamespaceOfProcess1()
    loop = try EventLoop()
    try loop.stop(onSignals: [SIGTERM, SIGINT])
    mounts = try MountWatch()
    bus = try Connection()
  }

  /// Serves until it is told to stop.
  func run() throws {
    // What is there already is not news.
    _ = tracker.update(try MountedUsers.current(layout), isInWork: { _ in false })
    sources.append(
      try loop.watch(mounts.descriptor, for: .urgent, first: true) { [unowned self] in update() })
    try bus.publish(manager, at: Manager.path)
    try bus.attach(to: loop)
    try bus.take(name: Manager.name)
    let status = try loop.run()
    if status != 0 { throw Failure("the connection to the bus is gone") }
  }

  /// Looks at the mounts if they have changed. Whoever answers a question calls this before: a mount
  /// that was there when the question was asked is in the answer.
  func look() {
    if mounts.haveChanged { update() }
  }

  /// Looks at the mounts, and tells what is new.
  private func update() {
    do {
      let now = try MountedUsers.current(layout)
      tell(tracker.update(now, isInWork: { _ in false }))
    } catch {
      Program.complain("cryptohomed: \(error)")
    }
  }

  func tell(_ events: [SessionEvent]) {
    for event in events {
      do {
        try tell(event)
      } catch {
        Program.complain("cryptohomed: a signal was not sent: \(error)")
      }
    }
  }

  private func tell(_ event: SessionEvent) throws {
    switch event {
    case .storeMounted(let store, let user): try emit("StoreMounted", store, user)
    case .storeUnmounting(let store, let user): try emit("StoreUnmounting", store, user)
    case .storeUnmounted(let store, let user): try emit("StoreUnmounted", store, user)
    case .userMounted(let user): try emit("UserMounted", nil, user)
    case .userUnmounted(let user): try emit("UserUnmounted", nil, user)
    case .stateChanged: break
    }
  }

  private func emit(_ signal: String, _ store: StoreName?, _ user: ObfuscatedUsername) throws {
    try bus.emit(signal, of: Manager.name, at: Manager.path) { message throws(SystemError) in
      if let store { try message.append(store.description) }
      try message.append(user.description)
    }
  }
}

/// Goes where pid 1 is: what is mounted for the system is mounted there, whoever starts this.
private func enterMountNamespaceOfProcess1() throws {
  let path = "/proc/1/ns/mnt"
  guard try linkTarget(of: path) != linkTarget(of: "/proc/self/ns/mnt") else { return }
  let namespace = Descriptor(owning: try check("open", path, open(path, O_RDONLY | O_CLOEXEC)))
  try NamespaceKinds.mount.enter(namespace, shown: path)
}

/// The changes of the mount table.
final class MountWatch {
  private let file: Descriptor
  var descriptor: CInt { file.number }

  init() throws(SystemError) {
    let path = "/proc/self/mountinfo"
    file = Descriptor(owning: try check("open", path, open(path, O_RDONLY | O_CLOEXEC)))
  }

  /// Whether there was one since this, or the event loop, has said so.
  var haveChanged: Bool {
    var entry = pollfd(fd: file.number, events: Int16(POLLPRI), revents: 0)
    return poll(&entry, 1, 0) > 0
  }
}
