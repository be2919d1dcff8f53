import DaemonStoreBus
import Cryptohome
import DaemonStore
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram

/// The connection to the bus, and what is known by it.
final class BusLink {
  let bus: Connection
  let callers = Callers()
  init() throws(SystemError) { bus = try Connection(sendsAll: false) }
}

/// The running service: one thread, which waits in `loop` and nowhere else.
final class Service {
  let loop: EventLoop
  /// nil while there is no bus.
  private(set) var link: BusLink?
  let layout = Layout.system
  /// How long a logout waits for those who delay it.
  let delay: Duration
  let actions: Actions
  let delays = Delays()
  let names = Names()
  var tracker = SessionTracker()

  private let mounts: MountWatch
  private var mountSource: EventSource?
  private var leaders: Leaders?
  private var control: Control?
  private let busEvents: Inotify
  private var busSource: EventSource?
  private var busTimer: EventSource?
  private var busDelay = firstBusDelay
  private var readyTimer: EventSource?
  /// The next look at users whose login is under way.
  private var pendingTimer: EventSource?
  /// Nothing was tried before: then what the bus refuses ends the service.
  private var isFirstAttempt = true
  private var failure: (any Error)?
  /// Of those who are mounted: whose data is gone after the logout.
  private var ephemeral: Set<ObfuscatedUsername> = []

  private static let firstBusDelay = Duration.seconds(1)
  private static let lastBusDelay = Duration.seconds(60)
  /// For the bus to give a name.
  private static let busPatience = Duration.seconds(30)
  /// How long callers on the bus are waited for until the system goes on.
  private static let patienceToBeReady = Duration.seconds(5)

  init(delay: Duration) throws {
    self.delay = delay
    actions = try Actions()
    try enterMountNamespaceOfProcess1()
    try makeState(layout)
    loop = try EventLoop()
    try actions.watch(in: loop)
    try loop.stop(onSignals: [SIGTERM, SIGINT])
    mounts = try MountWatch()
    busEvents = try Inotify()
  }

  /// Serves until it is told to stop.
  func run() throws {
    // What is there already is not news.
    let mounted = try MountedUsers.current(layout)
    _ = tracker.update(mounted, isInWork: isInWork)
    lookForEphemeral(mounted)
    mountSource = try loop.watch(mounts.descriptor, for: .urgent, first: true) {
      [unowned self] in update()
    }
    // First: root, and the logins of all users, need no bus.
    control = try Control(self)
    busSource = try loop.watch(busEvents.descriptor.number, for: .readable) { [unowned self] in
      busEvents.drain()
      guard link == nil else { return }
      // A socket appears before anything listens there: the next attempt is soon.
      busDelay = Self.firstBusDelay
      connect()
    }
    readyTimer = try loop.after(Self.patienceToBeReady) { [unowned self] in ready() }
    connect()
    leaders = try Leaders(self)
    _ = try loop.run()
    if let failure { throw failure }
  }

  /// Tells that root is served, and callers on the bus if there is one that answers.
  private func ready() {
    guard readyTimer != nil else { return }
    readyTimer = nil
    releaseCode()
    tellReady()
  }

  // MARK: The bus

  /// Connects to the bus, if there is one; else tries again when it may be there. Nothing here waits for an
  /// answer: the bus may be stopped, and root is served all the same.
  private func connect() {
    busTimer = nil
    do {
      let link = try BusLink()
      try link.bus.publish(manager, at: Manager.path)
      try link.bus.publish(cryptohome, at: Self.cryptohomePath)
      try link.bus.publish(sessionManager, at: Self.sessionManagerPath)
      try link.bus.publish(userDataAuth, at: Self.userDataAuthPath)
      try link.bus.publish(cryptohomeMisc, at: Self.userDataAuthPath)
      try link.bus.attach(to: loop) { [unowned self] in
        disconnect("the connection to the bus is gone")
      }
      self.link = link
      try link.bus.take(name: Manager.name) { [unowned self] error in
        if let error { refused(error) } else { begin() }
      }
      busTimer = try loop.after(Self.busPatience) { [unowned self] in
        disconnect("the bus does not answer")
      }
    } catch {
      link = nil
      connectLater()
    }
  }

  /// The name by which callers know this is taken.
  private func begin() {
    guard let link else { return }
    busTimer = nil
    busDelay = Self.firstBusDelay
    isFirstAttempt = false
    // Another service may have these; then clients of that are served as before.
    for name in [Self.cryptohomeName, Self.sessionManagerName, Self.userDataAuthName] {
      let warn = { (error: SystemError) in
        Program.complain("cryptohomed: warning: \(name) is not served: \(error)")
      }
      do {
        try link.bus.take(name: name) { error in
          if let error { warn(error) }
        }
      } catch {
        warn(error)
      }
    }
    startAndStopUnits()
    names.learn(self)
    ready()
  }

  private func refused(_ error: SystemError) {
    let reason: any Error =
      switch error.code {
      case EEXIST: Failure("\(Manager.name) has an owner; another cryptohomed runs")
      case EACCES:
        Failure(
          "the bus does not let this own \(Manager.name); install \(Manager.name).conf in "
            + "/usr/share/dbus-1/system.d")
      default: error
      }
    if isFirstAttempt, error.code == EEXIST || error.code == EACCES {
      failure = reason
      loop.stop(status: 1)
    } else {
      disconnect("\(reason)")
    }
  }

  /// - Parameter reason: said in the log.
  private func disconnect(_ reason: String) {
    isFirstAttempt = false
    // Not from inside of what is dispatched.
    busTimer = try? loop.after(.zero) { [unowned self] in
      Program.complain("cryptohomed: \(reason)")
      link = nil
      connectLater()
    }
  }

  private func connectLater() {
    isFirstAttempt = false
    ready()
    // A look follows when one of these appears; where neither is, the timer is all there is.
    for place: FilePath in ["run", "run/dbus"] {
      try? busEvents.watch(layout.below(place), for: CInt(IN_CREATE) | CInt(IN_MOVED_TO))
    }
    busTimer = try? loop.after(busDelay) { [unowned self] in connect() }
    busDelay = min(busDelay * 2, Self.lastBusDelay)
  }

  /// Looks at the mounts if they have changed, or if a login was under way. Whoever answers a question calls
  /// this before: a mount that was there, and a login that was over, when the question was asked is in the answer.
  func look() {
    if mounts.haveChanged || !tracker.pending.isEmpty { update() }
  }

  /// Looks again at those whose login was under way: a lock may have been let go.
  ///
  /// - Parameter delay: until the next look, where there are more of them. The lock of a process that was killed
  ///   goes a moment after the kernel tells that its file was closed.
  func lookAgain(after delay: Duration = .milliseconds(50)) {
    pendingTimer = nil
    guard !tracker.pending.isEmpty else { return }
    update()
    guard !tracker.pending.isEmpty else { return }
    pendingTimer = try? loop.after(delay) { [unowned self] in
      lookAgain(after: min(delay * 2, .seconds(5)))
    }
  }

  /// Looks at the mounts, and tells what is new.
  private func update() {
    do {
      // Whose login is over by now is whole in what is looked at afterwards, and not before.
      let done = try MountedUsers.current(layout).users.filter { !isInWork($0) }
      let mounted = try MountedUsers.current(layout)
      lookForEphemeral(mounted)
      tell(tracker.update(mounted, isInWork: { !done.contains($0) }))
    } catch {
      // Whatever was known stays true until the next look.
      Program.complain("cryptohomed: \(error)")
    }
  }

  /// Whether a login or logout of the user is under way. Where that cannot be found out, it may be.
  private func isInWork(_ user: ObfuscatedUsername) -> Bool {
    do {
      return try isLocked(user, layout)
    } catch {
      Program.complain("cryptohomed: \(error)")
      return true
    }
  }

  private func lookForEphemeral(_ mounted: MountedUsers) {
    ephemeral = Set(
      mounted.users.filter { (try? UserHome.isEphemeral($0, in: layout)) == true })
  }

  /// Whether the data of a user who is mounted is gone after the logout.
  func isEphemeral(_ user: ObfuscatedUsername) -> Bool { ephemeral.contains(user) }

  func tell(_ events: [SessionEvent]) {
    do {
      for event in events { try tell(event) }
      let isChanged = events.contains { event in
        switch event {
        case .userMounted, .userUnmounted, .stateChanged: true
        default: false
        }
      }
      if isChanged {
        try link?.bus.tellChange(of: Manager.state, in: Manager.name, at: Manager.path)
      }
    } catch {
      Program.complain("cryptohomed: a signal was not sent: \(error)")
    }
  }

  private func tell(_ event: SessionEvent) throws(SystemError) {
    switch event {
    case .storeMounted(let store, let user): try emit("StoreMounted", store, user)
    case .storeUnmounting(let store, let user): try emit("StoreUnmounting", store, user)
    case .storeUnmounted(let store, let user): try emit("StoreUnmounted", store, user)
    case .userMounted(let user):
      names.learn(self)
      try emit("UserMounted", nil, user)
      startUnit(of: user)
    case .userUnmounted(let user):
      names.forget(user)
      try emit("UserUnmounted", nil, user)
      stopUnit(of: user)
    case .stateChanged(let state):
      try link?.bus.emit(
        "SessionStateChanged", of: Self.sessionManagerInterface, at: Self.sessionManagerPath
      ) { message throws(SystemError) in
        try message.append(state.rawValue)
      }
    }
  }

  private func emit(
    _ signal: String, _ store: StoreName?, _ user: ObfuscatedUsername
  ) throws(SystemError) {
    try link?.bus.emit(signal, of: Manager.name, at: Manager.path) { message throws(SystemError) in
      if let store { try message.append(store.description) }
      try message.append(user.description)
    }
  }
}

/// Goes where process 1 is: what is mounted for the system is mounted there, whoever starts this.
private func enterMountNamespaceOfProcess1() throws {
  let path: FilePath = "/proc/1/ns/mnt"
  guard try linkTarget(of: path) != linkTarget(of: "/proc/self/ns/mnt") else { return }
  let namespace = Descriptor(
    owning: try check("open", path, open(path.cString, O_RDONLY | O_CLOEXEC)))
  try NamespaceKinds.mount.enter(namespace, shown: path)
}

/// Makes `/run/cryptohome`, where whoever logs users in and out leaves word.
private func makeState(_ layout: Layout) throws {
  let run = try Directory(opening: layout.root).trusted("run")
  let state = try OwnedDirectory("cryptohome", in: run, owner: 0, group: 0, mode: 0o700)
  for repair in state.repairs { Program.complain("cryptohomed: repaired \(repair)") }
}

/// The changes of the mount table.
final class MountWatch {
  private let file: Descriptor
  var descriptor: CInt { file.number }

  init() throws(SystemError) {
    let path: FilePath = "/proc/self/mountinfo"
    file = Descriptor(owning: try check("open", path, open(path.cString, O_RDONLY | O_CLOEXEC)))
  }

  /// Whether there was one since this, or the event loop, has said so.
  var haveChanged: Bool {
    var entry = pollfd(fd: file.number, events: Int16(POLLPRI), revents: 0)
    return poll(&entry, 1, 0) > 0
  }
}
