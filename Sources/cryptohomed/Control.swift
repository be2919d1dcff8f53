import DaemonStoreBus
import CDaemonStoreLinux
import Cryptohome
import DaemonStore
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram

/// Serves root on ``ControlSocket``: PAM, which hands over the work of logins, and `cryptohome unmount`,
/// which announces a logout. What is done here is in no process, session, control group or limit of a
/// login.
///
/// The packets are described in control.h. Work begins when the client has said that it waits for it: one
/// that has given up does it itself.
final class Control {
  private unowned let service: Service
  private let socket: PacketSocket
  private var source: EventSource?
  /// Given up for a moment where no descriptor is left, to take a connection and end it.
  private var spare: Descriptor?
  private var pause: EventSource?
  private var connections: [Int: Connection] = [:]
  private var count = 0
  /// Requests that wait, and how many are being done, by user.
  private var waiting: [Request] = []
  private var running: [FilePath: Int] = [:]

  /// Those that have connected, and of each user those that are done at once and those that wait.
  private static let connectionLimit = 256
  private static let runningLimit = 24
  private static let runningLimitForUser = 3
  private static let waitingLimitForUser = 24
  /// How long a connection has for its request, and again to say that it waits.
  private static let timeout = Duration.milliseconds(CONTROL_TIME_TO_TAKE)
  private static let patienceForWork = Duration.milliseconds(CONTROL_TIME_TO_ANSWER)

  private final class Connection {
    let socket: PacketSocket
    var sources: [EventSource] = []
    /// What is done when the client has said that it waits.
    var request: Request?
    init(_ socket: consuming PacketSocket) { self.socket = socket }
  }

  private final class Request {
    let connection: Int
    let user: FilePath
    let arguments: [String]
    let descriptors: [Descriptors]
    init(
      of connection: Int, for user: FilePath, _ arguments: [String], _ descriptors: [Descriptors]
    ) {
      self.connection = connection
      self.user = user
      self.arguments = arguments
      self.descriptors = descriptors
    }
  }

  /// One that came with a request, and the number that it gets in what is started.
  private final class Descriptors {
    let descriptor: Descriptor
    var target: CInt = -1
    init(owning number: CInt) { descriptor = Descriptor(owning: number) }
  }

  init(_ service: Service) throws {
    self.service = service
    let path = ControlSocket.path(service.layout)
    guard try ControlSocket.server(service.layout) == nil else {
      throw Failure("\(path) is served; another cryptohomed runs")
    }
    if unlink(path.cString) != 0, errno != ENOENT { try check("unlink", path, -1) }
    socket = try PacketSocket(listeningAt: path)
    spare = try Self.takeSpare()
    source = try service.loop.watch(socket.descriptor.number, for: .readable, first: true) {
      [unowned self] in accept()
    }
  }

  private func accept() {
    do {
      while let new = try socket.accept() {
        guard try new.peer().user == 0, connections.count < Self.connectionLimit else { continue }
        count += 1
        let key = count
        let connection = Connection(new)
        try wait(for: connection, key)
        connections[key] = connection
      }
    } catch {
      rest("\(error)")
    }
  }

  private static func takeSpare() throws(SystemError) -> Descriptor {
    Descriptor(owning: try check("open", "/dev/null", open("/dev/null", O_RDONLY | O_CLOEXEC)))
  }

  /// Nothing can be taken, as for a lack of descriptors: those that wait are turned away, so that they need
  /// not wait for nothing, and for a second no other is taken.
  private func rest(_ reason: String) {
    Program.complain("cryptohomed: \(reason); root is served again in a second")
    spare = nil
    for _ in 0..<CONTROL_BACKLOG {
      do {
        guard try socket.accept() != nil else { break }
      } catch {
        break
      }
    }
    spare = try? Self.takeSpare()
    source?.enable(false)
    pause = try? service.loop.after(.seconds(1)) { [unowned self] in
      pause = nil
      source?.enable(true)
    }
    if pause == nil { source?.enable(true) }
  }

  /// The next packet of a connection, or its end.
  private func receive(_ key: Int) {
    guard let connection = connections[key] else { return }
    if let request = connection.request {
      connection.request = nil
      let packet = try? connection.socket.receive(atMost: ControlSocket.longestRequest)
      connection.sources = []
      guard packet?.bytes == Array(CONTROL_GO.utf8) else {
        connections[key] = nil  // it has given up
        return
      }
      return queue(request)
    }
    connection.sources = []
    do {
      guard let packet = try connection.socket.receive(atMost: ControlSocket.longestRequest) else {
        connections[key] = nil
        return
      }
      let descriptors = packet.descriptors.map { Descriptors(owning: $0) }
      let words = packet.bytes.split(separator: 0, omittingEmptySubsequences: false).map(Array.init)
      guard packet.bytes.last == 0 else {
        connections[key] = nil
        return
      }
      try take(words.dropLast().map { String(validating: $0, as: UTF8.self) }, descriptors, key)
    } catch {
      answer(key, status: 1, ["\(error)"])
    }
  }

  private func take(_ words: [String?], _ descriptors: [Descriptors], _ key: Int) throws {
    let texts = words.compactMap { $0 }
    guard texts.count == words.count else { throw Failure("a request that is not UTF-8") }
    switch (texts.first, texts.count, descriptors.count) {
    case (CONTROL_OPEN, 3, 2):
      try take(
        [CONTROL_OPEN] + session(texts[1]), of: texts[2], descriptors, as: [0, 3], from: key)
    case (CONTROL_CLOSE, 3, 1):
      try take([CONTROL_CLOSE] + session(texts[1]), of: texts[2], descriptors, as: [3], from: key)
    case (CONTROL_CHANGE, 2, 1):
      try take([CONTROL_CHANGE], of: texts[1], descriptors, as: [0], from: key)
    case (CONTROL_LOCK_ENDED, 2, 0):
      try take([CONTROL_LOCK_ENDED], of: texts[1], descriptors, as: [], from: key)
    case (CONTROL_ANNOUNCE, 2, 1): try announce(key, texts[1], descriptors[0])
    default: throw Failure("a request that this version does not know")
    }
  }

  private func session(_ id: String) -> [String] {
    ["--leader-fd=3"] + (id == CONTROL_ANY_SESSION ? [] : ["--session=\(id)"])
  }

  private func take(
    _ arguments: [String], of user: String, _ descriptors: [Descriptors], as targets: [CInt],
    from key: Int
  ) throws {
    guard let connection = connections[key] else { return }
    for (descriptor, target) in zip(descriptors, targets) { descriptor.target = target }
    try wait(for: connection, key)
    try send(key, Array(CONTROL_TAKEN.utf8))
    connection.request = Request(
      of: key, for: "\(user)", ["pam"] + arguments + ["--", user], descriptors)
  }

  /// Waits for the next packet of a connection.
  private func wait(for connection: Connection, _ key: Int) throws(SystemError) {
    connection.sources = [
      try service.loop.watch(
        connection.socket.descriptor.number, for: .readable, first: true
      ) { [unowned self] in receive(key) },
      try service.loop.after(Self.timeout) { [unowned self] in connections[key] = nil },
    ]
  }

  private func queue(_ request: Request) {
    let user = request.user
    guard waiting.count(where: { $0.user == user }) < Self.waitingLimitForUser else {
      return answer(
        request.connection, status: 1,
        ["your daemon-store vault: too many logins of \(user) are under way; try again"])
    }
    waiting.append(request)
    startNext()
  }

  private func startNext() {
    while running.values.reduce(0, +) < Self.runningLimit,
      let next = waiting.firstIndex(where: {
        running[$0.user, default: 0] < Self.runningLimitForUser
      })
    {
      let request = waiting.remove(at: next)
      let (key, user) = (request.connection, request.user)
      running[user, default: 0] += 1
      do {
        try service.actions.start(
          request.arguments,
          descriptors: Dictionary(
            uniqueKeysWithValues: request.descriptors.map { ($0.target, $0.descriptor.number) }),
          for: nil, atMost: Self.patienceForWork, in: service.loop
        ) { [unowned self] end, lines in
          finish(user)
          switch end {
          case .exited(let status): answer(key, status: status, lines)
          case .killed, nil: answer(key, status: -1, lines)
          }
          startNext()
        }
      } catch {
        finish(user)
        answer(key, status: -1, ["\(error)"])
      }
    }
  }

  private func finish(_ user: FilePath) {
    let left = running[user, default: 1] - 1
    running[user] = left > 0 ? left : nil
  }

  private func announce(_ key: Int, _ user: String, _ end: Descriptors) throws {
    guard let user = ObfuscatedUsername(user) else { throw Failure("\(user) is no 40-digit hash") }
    try send(key, Array(CONTROL_TAKEN.utf8))
    service.announce(
      user,
      until: Descriptor(
        owning: try check("fcntl", nil, fcntl(end.descriptor.number, F_DUPFD_CLOEXEC, 3)))
    ) { [unowned self] delays in
      answer(
        key, status: 0,
        delays.map { "cryptohomed: not waiting any longer for the store \($0.store): \($0.why)" })
    }
  }

  private func answer(_ key: Int, status: CInt, _ lines: [String]) {
    var bytes = Array("\(status)\n".utf8)
    let rest = "cryptohomed: more is in the system's log\n"
    let limit = ControlSocket.longestAnswer - rest.utf8.count
    let fitting = lines.prefix { line in
      guard bytes.count + line.utf8.count < limit else { return false }
      bytes += Array(line.utf8) + [UInt8(ascii: "\n")]
      return true
    }
    if fitting.count < lines.count {
      for line in lines[fitting.endIndex...] { Program.complain("cryptohomed: \(line)") }
      bytes += Array(rest.utf8)
    }
    // The login may be gone; what was done for it is done.
    _ = try? send(key, bytes)
    connections[key] = nil
  }

  private func send(_ key: Int, _ bytes: [UInt8]) throws(SystemError) {
    guard let connection = connections[key] else { return }
    try connection.socket.send(bytes)
  }
}

extension Service {
  /// Tells that a user is about to log out. `answer` gets the delays that are not waited for any longer.
  ///
  /// - Parameter end: hangs up when the logout is over.
  func announce(
    _ user: ObfuscatedUsername, until end: consuming Descriptor, answer: @escaping Delays.Answer
  ) {
    look()
    let stores = tracker.mounted.stores[user, default: []]
    tell(tracker.announce(user))
    do {
      try delays.wait(for: stores, until: end, atMost: delay, in: loop, answer: answer) {
        [unowned self] in
        look()
        tell(tracker.withdraw(user))
      }
    } catch {
      Program.complain("cryptohomed: a logout is not delayed: \(error)")
      tell(tracker.withdraw(user))
      answer([])
    }
  }
}
