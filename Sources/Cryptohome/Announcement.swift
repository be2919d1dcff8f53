import DaemonStore
import Glibc
import Kernel

/// Runs `logout`, the logout of a user who is mounted, when all who delay it have been told and have
/// let go, or have had their time. Without a bus, or without cryptohomed on it, nobody delays it.
///
/// The bus is `cryptohomed --announce`'s: who handles keys does not have its libraries inside.
public func announced<Value>(
  _ user: ObfuscatedUsername, _ layout: Layout, _ logout: () throws -> Value
) rethrows -> Value {
  let isMounted = (try? UserStatus.of(user, layout).isMounted) ?? false
  return try withExtendedLifetime(isMounted ? Announcement(of: user) : nil) { try logout() }
}

/// As long as this lives, the logout is under way.
private final class Announcement {
  private let end: Descriptor

  /// nil when there is nobody to tell.
  init?(of user: ObfuscatedUsername) {
    let address = getenv("DBUS_SYSTEM_BUS_ADDRESS").map { String(cString: $0) }
    guard address != nil || access("/run/dbus/system_bus_socket", F_OK) == 0,
      let directory = programDirectory()?.text,
      case let program = directory + "/cryptohomed", access(program, X_OK) == 0,
      let pipe = try? Pipe()
    else { return nil }
    let process = Self.start(
      program, user, address, input: pipe.reading.number)
    end = pipe.intoWriting()
    // Whatever it says it has said itself; a logout does not fail because nobody was told.
    if let process { _ = try? wait(for: process) }
  }

  private static func start(
    _ program: String, _ user: ObfuscatedUsername, _ address: String?, input: CInt
  ) -> pid_t? {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO)
    var argv = [strdup(program), strdup("--announce"), strdup(user.description), nil]
    var envp = [address.map { strdup("DBUS_SYSTEM_BUS_ADDRESS=\($0)") } ?? nil, nil]
    defer {
      for text in argv + envp { free(text) }
    }
    var process: pid_t = 0
    return posix_spawn(&process, program, &actions, nil, &argv, &envp) == 0 ? process : nil
  }
}
