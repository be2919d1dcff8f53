import Glibc
import DaemonStoreKernel
import TestSupport

/// A command of a page, and what the page shows of it.
struct PageCommand {
  /// Whom the prompt belongs to: `#` is root's, `$` is alice's.
  let user: String?
  let text: String
  let shown: String
  /// The number of its line in the page.
  let line: Int
  /// Whether the next command asks how this one ended: otherwise it has to end well.
  let mayFail: Bool

  /// Those of a block `console`. What is below a command, up to the next prompt, is what it says. A
  /// command goes on in the next line after a backslash.
  static func all(in block: Page.Block) throws -> [PageCommand] {
    var commands: [PageCommand] = []
    var rest = block.lines[...]
    func isPrompt(_ line: String?) -> Bool {
      line.map { $0.hasPrefix("# ") || $0.hasPrefix("$ ") } ?? true
    }
    guard isPrompt(rest.first) else { throw Problem("\(block.line): does not begin with a prompt") }
    while let first = rest.first {
      let line = block.line + rest.startIndex
      var text = String(first.dropFirst(2)) + "\n"
      rest = rest.dropFirst()
      while text.hasSuffix("\\\n"), let next = rest.popFirst() { text += next + "\n" }
      let shown = rest.prefix { !isPrompt($0) }
      rest = rest.dropFirst(shown.count)
      commands.append(
        PageCommand(
          user: first.hasPrefix("$") ? "alice" : nil, text: text,
          shown: shown.map { $0 + "\n" }.joined(), line: line,
          mayFail: rest.first?.dropFirst(2) == "echo $?"))
    }
    return commands
  }
}

/// What a text of today has in common with that of any other day: the numbers of processes and of
/// peer groups by the order in which they come, so that the same is the same and another another.
struct Numbering {
  private var known: [Substring] = []

  /// Blanks at the end of a line are left out: nobody sees them. A password costs what half a second
  /// of the machine allows.
  mutating func renumber(_ text: String) -> String {
    text.replacing(#/ +\n/#, with: "\n").replacing(
      #/(?:32|64) MiB for each guess/#, with: "half a second for each guess"
    ).replacing(
      #/((?:pid|peer group|child process|kill) |libminijail\[)([0-9]+)/#
    ) { match in
      if !known.contains(match.2) { known.append(match.2) }
      return "\(match.1)#\(known.firstIndex(of: match.2) ?? 0)"
    }
  }
}

/// A Debian on which `make install` was run: with the bus, a `/home` that can encrypt, and the users
/// alice and bob. What is typed changes nothing outside.
struct PageMachine {
  static let password = "correct horse"

  let terminal: Terminal

  /// Runs `body` on such a machine. Call it in an exit test.
  static func run(_ body: (PageMachine) throws -> Void) {
    inEncryptedHost { host in
      try install(host)
      let machine = try BusMachine(host, stores: [])
      let groups = try readFile("/etc/group")
      try writeFile("/etc/group", groups + "alice:x:1000:\nbob:x:1001:\n")
      let terminal = try Terminal(at: machine.first, password: password)
      // As systemd leaves it.
      _ = try terminal.type("mount --make-rshared /")
      try body(PageMachine(terminal: terminal))
    }
  }

  /// Makes a file, of root's working directory if its name is relative, and what is above it.
  func write(_ text: String, to file: String) throws {
    let path = file.hasPrefix("/") ? file : "/root/\(file)"
    let above = path.split(separator: "/").dropLast().joined(separator: "/")
    if !exists("/\(above)") { try makeDirectory("/\(above)") }
    try writeFile(path, text, mode: text.hasPrefix("#!") ? 0o755 : 0o644)
  }

  private static func install(_ host: Host) throws {
    // The test runner sees what was here before.
    let outside = "/proc/\(getppid())/root"
    let outcome = try host.script(
      """
      set -e
      mkdir /mnt/usr /mnt/work /var/empty /var/tmp /home/alice /home/bob
      mount -t overlay -o lowerdir=/usr,upperdir=/mnt/usr,workdir=/mnt/work usr /usr
      cp -a \(outside)/etc/alternatives \(outside)/etc/login.defs /etc/
      make -s -C "\(outside)\(projectFile(""))" BIN=/mnt/programs PREFIX=/usr \\
        INSTALL_PROGRAM=install install
      for place in /root /tmp; do mount -t tmpfs -o mode=1777 tmp $place; done
      cp -R "\(outside)\(projectFile("docs"))" /root/
      touch /etc/shadow /etc/gshadow
      chown alice /home/alice
      chown bob /home/bob
      mount -o remount,bind,ro /
      """)
    guard outcome.status == 0 else { throw Problem("\(outcome)") }
  }
}
