import DaemonStore
import Glibc
import Kernel

/// Runs `logout`, the logout of a user who is mounted, when all daemons that delay it have been told and
/// have let go, or have had their time. Where cryptohomed does not run, no daemon delays it.
public func announced<Value>(
  _ user: ObfuscatedUsername, _ layout: Layout, _ logout: () throws -> Value
) rethrows -> Value {
  let isMounted = (try? UserStatus.of(user, layout).isMounted) ?? false
  return try withExtendedLifetime(isMounted ? Announcement(of: user, layout) : nil) {
    try logout()
  }
}

/// As long as this lives, the logout is under way.
private final class Announcement {
  /// The other end is cryptohomed's: its hang-up says that the logout is over.
  private let end: Descriptor

  /// For cryptohomed to take the request, if it is not stopped; then more than any delay that it has.
  private static let patienceToTake = Duration.seconds(5)
  private static let patience = Duration.seconds(25)

  /// nil when cryptohomed does not run. A logout does not fail because the daemons were not told.
  init?(of user: ObfuscatedUsername, _ layout: Layout) {
    guard let socket = try? ControlSocket.connect(layout), let pipe = try? Pipe(),
      (try? socket.send(ControlSocket.request("announce", user.description), [pipe.reading.number]))
        != nil
    else { return nil }
    end = pipe.intoWriting()
    guard
      let taken = try? socket.receive(atMost: 16, until: .now + Self.patienceToTake),
      !taken.bytes.isEmpty,
      let answer = try? socket.receive(
        atMost: ControlSocket.longestAnswer, until: .now + Self.patience)
    else { return }
    // The first line is a status.
    for line in answer.bytes.split(separator: UInt8(ascii: "\n")).dropFirst() {
      _ = write(STDERR_FILENO, Array(line) + [UInt8(ascii: "\n")], line.count + 1)
    }
  }
}

/// The socket on which cryptohomed serves root: PAM, logouts and doctor. Nothing on the bus, and no
/// other user, can keep it from answering there.
public enum ControlSocket {
  public static let longestRequest = 1024
  public static let longestAnswer = 1 << 16

  public static func path(_ layout: Layout) -> FilePath { "\(layout.state)/control" }

  /// - Throws: `ENOENT` or `ECONNREFUSED` when cryptohomed does not run.
  public static func connect(_ layout: Layout) throws -> PacketSocket {
    let socket = try PacketSocket(connectingTo: path(layout))
    let peer = try socket.peer()
    guard peer.user == 0 else {
      throw Refusal(
        path: path(layout), reason: "is served by user \(peer.user), not by root; remove it")
    }
    return socket
  }

  /// The process that serves it; nil when there is none.
  public static func server(_ layout: Layout) throws -> pid_t? {
    do {
      return try connect(layout).peer().process
    } catch let error as SystemError where [ENOENT, ECONNREFUSED].contains(error.code) {
      return nil
    }
  }

  /// The words, each with a zero byte at its end.
  static func request(_ words: String...) -> [UInt8] { words.flatMap { Array($0.utf8) + [0] } }
}
