import Glibc
import DaemonStoreKernel
import TestSupport

/// A shell at a terminal of its own, in the mount namespace of a process, that is given one command
/// after another. It answers who asks for a password without echo.
final class Terminal {
  private let terminal: Descriptor
  private let commands: Descriptor
  private let process: pid_t
  private let first: pid_t
  private let password: String
  private var count = 0

  private static let mark: Character = "\u{1e}"

  /// - Parameter first: process 1 of a pid namespace, in which the calling thread starts programs.
  init(at first: pid_t, password: String) throws {
    self.first = first
    self.password = password
    var settings = termios()
    cfmakeraw(&settings)  // what comes out is what was written
    settings.c_lflag |= tcflag_t(ICANON | ISIG | ECHO)
    var numbers: (CInt, CInt) = (-1, -1)
    try check("openpty", nil, openpty(&numbers.0, &numbers.1, nil, &settings, nil))
    terminal = Descriptor(owning: numbers.0)
    let slave = Descriptor(owning: numbers.1)
    try check("mkfifo", "/run/commands", mkfifo("/run/commands", 0o600))
    commands = Descriptor(owning: try check("open", "/run/commands", open("/run/commands", O_RDWR)))
    process = try spawn(
      "nsenter",
      ["--mount=/proc/\(first)/ns/mnt", "setsid", "--ctty", "sh", "-c", Self.loop].map {
        Array($0.utf8CString)
      },
      environment: [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
        "TERM=dumb", "HOME=/root", "USER=root", "SYSTEMD_PAGER=cat", "PAGER=cat",
      ], stdin: slave.number, stdout: slave.number, stderr: slave.number)
    _ = try read(until: 0)
  }

  deinit {
    kill(process, SIGKILL)
    _ = try? reap(process)
  }

  /// Runs what it reads the names of, and says how each ended.
  private static let loop = """
    exec 3</run/commands
    cd /root
    status=0
    while printf '\\036%s\\036' $status; read -r file <&3; do
      (exit $status)
      . "$file" 3<&-
      status=$?
    done
    """

  /// What a command has said, and its status, when nothing runs any more.
  ///
  /// - Parameter user: who types it; root's run in the shell itself.
  func type(_ command: String, as user: String? = nil) throws -> (text: String, status: Int) {
    count += 1
    let file = "/run/command\(count)"
    try writeFile(file, command + "\n")
    var run = file
    if let user {
      run += ".sh"
      try writeFile(
        run,
        "setpriv --reuid \(user) --regid \(user) --init-groups "
          + "env HOME=/home/\(user) USER=\(user) sh \(file)\n")
    }
    try commands.write(Array("\(run)\n".utf8), shown: "pipe")
    return try read(until: count)
  }

  private func read(until count: Int) throws -> (text: String, status: Int) {
    var text = ""
    var answered = -1
    var before: [String]?
    let deadline = ContinuousClock.now + .seconds(60)
    while ContinuousClock.now < deadline {
      if let more = try readMore() {
        text += more
        before = nil
        continue
      }
      if text.count > answered && text.hasSuffix(": ") && isHidden {
        try terminal.write(Array("\(password)\n".utf8), shown: "terminal")
        answered = text.count
      }
      // Nothing has run between two looks.
      let parts = text.split(separator: Self.mark, omittingEmptySubsequences: false)
      if parts.count == 3, let status = Int(parts[1]) {
        let now = try sleepers()
        if now != nil && now == before { return (String(parts[0] + parts[2]), status) }
        before = now
      }
    }
    throw Problem("it goes on for a minute, after:\n\(text)")
  }

  /// What has come within a moment.
  private func readMore() throws -> String? {
    var poller = pollfd(fd: terminal.number, events: Int16(POLLIN), revents: 0)
    guard poll(&poller, 1, 5) == 1 else { return nil }
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = try check("read", "terminal", Glibc.read(terminal.number, &buffer, buffer.count))
    // systemd's programs end a line for a terminal with a carriage return, too.
    return String(
      decoding: buffer[..<count].filter { $0 != UInt8(ascii: "\r") }, as: UTF8.self)
  }

  private var isHidden: Bool {
    var settings = termios()
    return tcgetattr(terminal.number, &settings) == 0 && settings.c_lflag & tcflag_t(ECHO) == 0
  }

  /// The processes of the namespace, and how often each has run; nil while one of them runs.
  private func sleepers() throws -> [String]? {
    let proc = "/proc/\(first)/root/proc"
    var found: [String] = []
    for process in try names(in: proc) where Int(process) != nil {
      guard let status = try? readFile("\(proc)/\(process)/status") else { return nil }
      let lines = status.split(separator: "\n")
      guard let state = lines.first(where: { $0.hasPrefix("State:") }),
        !state.contains("R (") && !state.contains("D (")
      else { return nil }
      found.append("\(process) \(lines.filter { $0.contains("ctxt_switches") })")
    }
    return found
  }
}
