import CDaemonStoreLinux
import DaemonStore
import Glibc
import DaemonStoreKernel

/// Runs `logout`, the logout of a user who is mounted, when all daemons that delay it have been told and
/// have let go, or have had their time. Where cryptohomed does not run, no daemon delays it.
package func announced<Value>(
  _ user: ObfuscatedUsername, _ layout: Layout, _ logout: () throws -> Value
) rethrows -> Value {
  // Where that cannot be found out, daemons are told.
  let isMounted = (try? UserMounts(.current(), layout).isMounted(user)) ?? true
  return try withExtendedLifetime(isMounted ? Announcement(of: user, layout) : nil) {
    try logout()
  }
}

/// As long as this lives, the logout is under way.
private final class Announcement {
  /// The other end is cryptohomed's: its hang-up says that the logout is over.
  private let end: Descriptor

  /// More than any delay that cryptohomed has.
  private static let timeout = Duration.seconds(25)

  /// nil when cryptohomed does not run, so that there is no daemon to be told. A logout does not fail
  /// because daemons could not be told, but that is said.
  init?(of user: ObfuscatedUsername, _ layout: Layout) {
    let deadline = ContinuousClock.now + ControlSocket.patienceToTake
    do {
      let pipe = try Pipe()
      guard
        let socket = try Self.begin(user, until: pipe.reading.number, layout, deadline: deadline)
      else { return nil }
      end = pipe.intoWriting()
      let packet = try socket.receive(
        atMost: ControlSocket.longestAnswer, until: .now + Self.timeout)
      guard let answer = packet?.bytes, !answer.isEmpty else {
        Self.complain("cryptohomed has not answered")
        return
      }
      // The first line is a status.
      for line in answer.split(separator: UInt8(ascii: "\n")).dropFirst() {
        Self.write(Array(line))
      }
    } catch {
      Self.complain("\(error)")
      return nil
    }
  }

  /// Has cryptohomed take the request; nil when it does not run. One that turns this away, as it has too much
  /// to do, is asked again.
  private static func begin(
    _ user: ObfuscatedUsername, until end: CInt, _ layout: Layout,
    deadline: ContinuousClock.Instant
  ) throws -> PacketSocket? {
    let request = ControlSocket.request(CONTROL_ANNOUNCE, user.description)
    while true {
      guard let socket = try ControlSocket.connectIfServed(layout, until: deadline) else {
        return nil
      }
      if try isTaken(request, with: end, on: socket, until: deadline) { return socket }
      guard ContinuousClock.now < deadline else {
        throw SystemError(operation: "connect", path: ControlSocket.path(layout), code: ETIMEDOUT)
      }
      pause(.milliseconds(10))
    }
  }

  private static func isTaken(
    _ request: [UInt8], with end: CInt, on socket: borrowing PacketSocket,
    until deadline: ContinuousClock.Instant
  ) throws(SystemError) -> Bool {
    do {
      try socket.send(request, [end])
      return try socket.receive(atMost: 16, until: deadline)?.bytes == Array(CONTROL_TAKEN.utf8)
    } catch {
      guard error.code == ECONNRESET || error.code == EPIPE else { throw error }
      return false
    }
  }

  private static func complain(_ reason: String) {
    write(Array("cryptohome: daemons that delay the logout were not told: \(oneLine(reason))".utf8))
  }

  private static func write(_ line: [UInt8]) {
    _ = Glibc.write(STDERR_FILENO, line + [UInt8(ascii: "\n")], line.count + 1)
  }
}

/// The socket on which cryptohomed serves root: PAM, logouts and doctor. Nothing on the bus, and no
/// other user, can keep it from answering there. What is said there is in control.h.
package enum ControlSocket {
  package static let longestRequest = Int(CONTROL_LONGEST_REQUEST)
  package static let longestAnswer = Int(CONTROL_LONGEST_ANSWER)
  /// For cryptohomed to take a request, if it is not stopped.
  static let patienceToTake = Duration.milliseconds(CONTROL_TIME_TO_TAKE)

  package static func path(_ layout: Layout) -> FilePath { "\(layout.state)/\(CONTROL_NAME)" }

  /// Connects to cryptohomed; nil when it does not run. One that runs and has not taken those who have
  /// connected before is waited for.
  ///
  /// - Throws: `EAGAIN` when it still has not at `deadline`.
  package static func connectIfServed(
    _ layout: Layout, until deadline: ContinuousClock.Instant = .now
  ) throws -> PacketSocket? {
    let path = path(layout)
    while true {
      do {
        let socket = try PacketSocket(connectingTo: path)
        let peer = try socket.peer()
        guard peer.user == 0 else {
          throw Refusal(
            path: path, reason: "is served by user \(peer.user), not by root; remove it")
        }
        return socket
      } catch let error as SystemError {
        switch error.code {
        case ENOENT, ECONNREFUSED: return nil
        case EAGAIN where ContinuousClock.now < deadline: pause(.milliseconds(10))
        default: throw error
        }
      }
    }
  }

  /// The process that serves it; nil when no service runs.
  package static func server(_ layout: Layout) throws -> pid_t? {
    guard let socket = try connectIfServed(layout) else { return nil }
    return try socket.peer().process
  }

  /// The words, each with a zero byte at its end.
  static func request(_ words: String...) -> [UInt8] { words.flatMap { Array($0.utf8) + [0] } }
}
