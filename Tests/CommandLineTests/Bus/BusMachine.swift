import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// A machine with a process 1, a `/proc` and a system bus of its own: a real dbus-daemon, with the
/// policy and the activation files that are installed.
struct BusMachine {
  static let manager = "org.daemonstore.Manager1"
  static let group = 950

  let host: Host
  /// Process 1, as this test sees it.
  let first: pid_t
  let bus: Launched

  init(_ host: Host, stores: [String] = ["alpha", "bravo"]) throws {
    self.host = host
    for store in stores { try host.template(store, owner: 5, group: 60, mode: 0o2770) }
    try writeFile(
      "/etc/group", "root:x:0:\nnogroup:x:65534:\ncryptohome:x:\(Self.group):alice\n")
    try check("unshare", nil, linux_unshare(CLONE_NEWPID))
    first = try host.helpers.fork {
      signal(SIGCHLD, SIG_IGN)  // orphans leave nothing
      try check("unshare", nil, linux_unshare(CLONE_NEWNS))
      try mountFilesystem("none", "/", nil, MS_REC | MS_PRIVATE)
      try mountFilesystem("proc", "/proc", "proc")
    }
    try Self.configure()
    bus = try Launched(
      "nsenter",
      Self.words(first, ["dbus-daemon", "--config-file=/etc/bus.conf", "--nofork", "--nopidfile"]))
    try succeed("daemon-store", "startup")
    guard eventually({ exists("/run/dbus/system_bus_socket") }) else {
      throw Problem("dbus-daemon does not listen")
    }
  }

  private static func configure() throws {
    try makeDirectory("/run/dbus")
    try makeLink("/var/run", to: "/run")  // where some clients look
    try makeDirectory("/etc/services")
    try writeFile(
      "/etc/client.py", try readFile(projectFile("Tests/CommandLineTests/Bus/client.py")))
    for file in try names(in: projectFile("init/dbus")) {
      let text = try readFile(projectFile("init/dbus/\(file)"))
      if file.hasSuffix(".service") {
        try writeFile(
          "/etc/services/\(file)",
          text.replacing("Exec=/usr/bin/", with: "Exec=/mnt/programs/"))
      } else {
        try writeFile("/etc/policy.conf", text)
      }
    }
    // As the system's own, but for who may be started and how many there may be.
    try writeFile(
      "/etc/bus.conf",
      """
      <busconfig>
        <type>system</type>
        <listen>unix:path=/run/dbus/system_bus_socket</listen>
        <auth>EXTERNAL</auth>
        <servicedir>/etc/services</servicedir>
        <policy context="default">
          <allow user="*"/>
          <deny own="*"/>
          <deny send_type="method_call"/>
          <allow send_type="signal"/>
          <allow send_requested_reply="true" send_type="method_return"/>
          <allow send_requested_reply="true" send_type="error"/>
          <allow receive_type="method_call"/>
          <allow receive_type="method_return"/>
          <allow receive_type="error"/>
          <allow receive_type="signal"/>
          <allow send_destination="org.freedesktop.DBus"/>
        </policy>
        <policy user="root"><allow send_destination="org.freedesktop.systemd1"/></policy>
        <include>/etc/policy.conf</include>
        <limit name="max_completed_connections">4000</limit>
        <limit name="max_connections_per_user">4000</limit>
      </busconfig>
      """)
  }

  static func words(_ first: pid_t, _ arguments: [String]) -> [String] {
    ["--mount=/proc/\(first)/ns/mnt", "--"] + arguments
  }

  /// Runs a command where process 1 is, as this user and the groups of that, or as root.
  func run(_ arguments: [String], as user: String? = nil) throws -> Outcome {
    try TestSupport.run("nsenter", Self.words(first, Self.identity(user) + arguments))
      .named(arguments.joined(separator: " "))
  }

  private static func identity(_ user: String?) -> [String] {
    let groups = ["alice": "1000,\(group)", "bob": "1001"]
    guard let user else { return [] }
    // The owner of the stores has no name here.
    let id = Host.accounts[user].map { "\($0)" } ?? user
    return ["setpriv", "--reuid", id, "--regid", id, "--groups", groups[user] ?? id, "--"]
  }

  @discardableResult
  func succeed(
    _ program: String, _ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    let outcome = try run(["/mnt/programs/\(program)"] + arguments)
    #expect(
      outcome.status == 0 && outcome.errors.isEmpty, "\(outcome)", sourceLocation: sourceLocation)
    return outcome
  }

  /// Starts the service, and waits until it has all its names.
  func startService(_ arguments: String...) throws -> Launched {
    let service = try Launched(
      "nsenter",
      Self.words(
        first,
        ["sh", "-c", "exec /mnt/programs/cryptohomed \"$@\" 2>>/run/service.log", "sh"]
          + arguments))
    let outcome = try run(
      ["gdbus", "wait", "--system", "--timeout", "30", "org.chromium.UserDataAuth"])
    guard outcome.status == 0 else { throw Problem("\(outcome)\n\(log)") }
    return service
  }

  /// What the service has complained about.
  var log: String { (try? readFile("/run/service.log")) ?? "" }

  /// Calls a method of the service with gdbus: `Manager1.List`.
  func call(_ method: String, _ arguments: String..., as user: String? = nil) throws -> Outcome {
    let (service, path) = Self.object(of: method)
    return try run(
      [
        "gdbus", "call", "--system", "--dest", service, "--object-path", path, "--method",
        Self.interface(of: method),
      ] + arguments, as: user)
  }

  /// The same, and expects this answer.
  func expect(
    _ answer: String, from method: String, _ arguments: String..., as user: String? = nil,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let (service, path) = Self.object(of: method)
    let outcome = try run(
      [
        "gdbus", "call", "--system", "--dest", service, "--object-path", path, "--method",
        Self.interface(of: method),
      ] + arguments, as: user)
    #expect(
      outcome.status == 0 && outcome.lines == [answer], "\(outcome)",
      sourceLocation: sourceLocation)
  }

  private static func interface(of method: String) -> String {
    method.hasPrefix("Manager1.") ? "org.daemonstore.\(method)" : "org.chromium.\(method)"
  }

  private static func object(of method: String) -> (service: String, path: String) {
    let name =
      switch method.prefix(while: { $0 != "." }) {
      case "Manager1": manager
      case "CryptohomeInterface": "org.chromium.Cryptohome"
      case "SessionManagerInterface": "org.chromium.SessionManager"
      default: "org.chromium.UserDataAuth"
      }
    return (name, "/" + name.replacing(".", with: "/"))
  }

  /// Starts `client.py`.
  func client(_ arguments: String..., as user: String? = nil) throws -> Dialogue {
    try Dialogue(
      "nsenter", Self.words(first, Self.identity(user) + ["python3", "/etc/client.py"] + arguments))
  }

  /// What of a user's the system has mounted.
  func mounts(of hash: String) throws -> [MountLine] { try mountTable(of: first).naming(hash) }

  /// Hears the signals of the service, whichever process that is, with gdbus.
  func listen() throws -> Listener { try Listener(self) }

  final class Listener {
    private let process: Launched
    private let file: String

    init(_ machine: BusMachine) throws {
      let file = "/run/signals.\(machine.first)"
      self.file = file
      process = try Launched(
        "nsenter",
        words(
          machine.first,
          ["sh", "-c", "exec gdbus monitor --system --dest \(manager) >\(file)"]))
      guard eventually({ (try? readFile(file))?.contains("\nThe name ") == true }) else {
        throw Problem("gdbus monitor says nothing")
      }
    }

    /// `StoreMounted alpha alice`, in their order, without changes of properties. Stores that come
    /// or go one after another have no order among them.
    var signals: [String] {
      var groups: [[String]] = []
      for signal in all {
        let member = signal.prefix { $0 != " " }
        if let last = groups.last?.first, last.prefix(while: { $0 != " " }) == member,
          member.hasPrefix("Store")
        {
          groups[groups.count - 1].append(signal)
        } else {
          groups.append([signal])
        }
      }
      return groups.flatMap { $0.sorted() }
    }

    private var all: [String] {
      let lines = ((try? readFile(file)) ?? "").split(separator: "\n")
      return lines.filter { $0.hasPrefix("/") && !$0.contains("PropertiesChanged") }.map { line in
        let parts = line.split(separator: " ", maxSplits: 2).map(String.init)
        let member = parts[1].split(separator: ".").last ?? ""
        let values = parts.count > 2 ? parts[2].filter { !"(),'".contains($0) } : ""
        return "\(member) \(values)".replacing(Host.alice, with: "alice")
          .replacing(Host.bob, with: "bob").trimmed
      }
    }

    /// Expects just these, in this order.
    func expect(_ expected: [String], sourceLocation: SourceLocation = #_sourceLocation) {
      _ = eventually { signals.count >= expected.count }
      #expect(signals == expected, "\(signals)", sourceLocation: sourceLocation)
    }
  }
}

extension String {
  fileprivate var trimmed: String { String(reversed().drop { $0 == " " }.reversed()) }
}

/// Runs `body` on such a machine, with two stores. Call it in an exit test.
func inBusMachine(_ body: (BusMachine) throws -> Void) {
  inHost(.shared) { host in try body(BusMachine(host)) }
}
