import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// A machine with a process 1 and a `/proc` of its own, in which users log in through the real
/// libpam, by pamtester. Every program that the test starts from here on is in its pid namespace.
struct PamMachine {
  static let password = "correct horse"
  private static let hash =
    "$6$rounds=1000$K7woSafW.oZ6HgVL$SbKpayEpIiIPxjsJHWthvV1J63fbELUqqwaoDWlbnFGV3YzzXFaJFo1"
    + "OUq7wyB1oQcQo7Tg7gISm7G5tBUood/"

  let host: Host
  /// Process 1, as this test sees it.
  let first: pid_t

  init(_ host: Host) throws {
    self.host = host
    try makeDirectory("/etc/pam.d")
    for service in ["login", "sudo"] { try Self.write(service: service) }
    let shadow = Host.accounts.keys.sorted().map { "\($0):\(Self.hash):19000:0:99999:7:::\n" }
    try writeFile("/etc/shadow", shadow.joined(), mode: 0o600)
    try check("unshare", nil, linux_unshare(CLONE_NEWPID))
    first = try host.helpers.fork {
      signal(SIGCHLD, SIG_IGN)  // orphans leave nothing
      try check("unshare", nil, linux_unshare(CLONE_NEWNS))
      try mountFilesystem("none", "/", nil, MS_REC | MS_PRIVATE)
      try mountFilesystem("proc", "/proc", "proc")
    }
  }

  /// What Debian's service of that name has, without what asks other daemons.
  static func write(
    service: String, with arguments: String = "", cryptohome: String = "/mnt/programs/cryptohome"
  ) throws {
    let module =
      "/mnt/programs/pam_daemonstore.so cryptohome=\(cryptohome) \(arguments)"
    try writeFile(
      "/etc/pam.d/\(service)",
      """
      auth [success=1 default=ignore] pam_unix.so
      auth requisite pam_deny.so
      auth required pam_permit.so
      auth optional \(module)
      account required pam_unix.so
      session required pam_unix.so
      session optional \(module)
      password [success=1 default=ignore] pam_unix.so sha512 rounds=1000
      password requisite pam_deny.so
      password required pam_permit.so
      password optional \(module)

      """)
  }

  /// The command line that is run in the mount namespace of process 1, or in a copy of it.
  ///
  /// - Parameter isForeign: a copy, private to whoever runs it.
  func words(_ arguments: [String], isForeign: Bool = false) -> [String] {
    ["--mount=/proc/\(first)/ns/mnt", "--"]
      + (isForeign ? ["unshare", "--mount", "--propagation", "private", "--"] : []) + arguments
  }

  func run(_ arguments: String..., isForeign: Bool = false, stdin: String = "") throws -> Outcome {
    try TestSupport.run("nsenter", words(arguments, isForeign: isForeign), stdin: stdin)
      .named(arguments.joined(separator: " "))
  }

  @discardableResult
  func succeed(
    _ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    let outcome = try TestSupport.run("nsenter", words(["/mnt/programs/cryptohome"] + arguments))
    #expect(
      outcome.status == 0 && outcome.errors.isEmpty, "\(outcome)", sourceLocation: sourceLocation)
    return outcome
  }

  /// A login that has opened its session, and waits: it closes it when it is told to end.
  ///
  /// - Parameter isAlone: the process that waits for the end of the session is killed.
  func login(
    _ user: String, password: String = PamMachine.password, service: String = "login",
    isForeign: Bool = false, isAlone: Bool = false
  ) throws -> Login {
    let login = try Login(
      "nsenter",
      words(
        // The second time it asks for the password is where it waits.
        ["pamtester", service, user, "authenticate", "open_session", "authenticate"]
          + ["close_session"], isForeign: isForeign))
    try login.dialogue.wait(for: "Password: ")
    try login.dialogue.tell(password)
    try login.dialogue.wait(for: "Password: ")
    if isAlone {
      for process in try processes(with: ["pam", "stay"]) { Glibc.kill(process, SIGKILL) }
    }
    return login
  }

  /// A login whose session is being opened, and the process that does the work.
  func beginLogin(_ user: String) throws -> (login: Dialogue, helper: pid_t) {
    let login = try Dialogue(
      "nsenter", words(["pamtester", "login", user, "authenticate", "open_session"]))
    try login.tell(Self.password)
    var helper: pid_t = 0
    let isThere = try eventually {
      helper = try processes(with: ["pam", "open", user]).first ?? 0
      return helper > 0
    }
    guard isThere else { throw Problem("no work is done for the login of \(user)") }
    return (login, helper)
  }

  /// The processes of the machine that have these words in their command line, as this test sees them.
  func processes(with words: [String]) throws -> [pid_t] {
    try commandLines(of: first).filter { $0.words.isSuperset(of: words) }.map(\.process)
  }

  struct Login {
    let dialogue: Dialogue
    init(_ program: String, _ arguments: [String]) throws {
      dialogue = try Dialogue(program, arguments)
    }

    var text: String { dialogue.text }

    /// What its leader is called under `/run/cryptohome/sessions`: from the kernel.
    func leaderName() throws -> String { try PamMachine.leaderName(of: dialogue.process) }

    func logout(sourceLocation: SourceLocation = #_sourceLocation) throws {
      try dialogue.tell(PamMachine.password)
      let status = try dialogue.end()
      #expect(
        status == 0 && text.contains("session has successfully been closed"), "\(text)",
        sourceLocation: sourceLocation)
    }

    func kill() { dialogue.kill() }
  }

  /// The number that a process has in its own pid namespace, and when it began.
  static func leaderName(of process: pid_t) throws -> String {
    let status = try readFile("/proc/\(process)/status").split(separator: "\n")
    guard let line = status.first(where: { $0.hasPrefix("NSpid:") }),
      let number = line.split(separator: "\t").last,
      let fields = try readFile("/proc/\(process)/stat").split(separator: ")").last?
        .split(separator: " "), fields.count > 19
    else { throw Problem("cannot read the status of \(process)") }
    return "\(number).\(fields[19])"
  }

  /// The names of what is recorded of a user's sessions.
  func records(of hash: String) -> [String] {
    recordFiles(of: hash).map { $0.split(separator: ".").prefix(2).joined(separator: ".") }
  }

  /// The same with the ids of the sessions.
  func recordFiles(of hash: String) -> [String] {
    ((try? names(in: "/run/cryptohome/sessions/\(hash)")) ?? []).sorted()
  }

  /// What of a user's the system has mounted.
  func mounts(of hash: String) throws -> [MountLine] {
    try mountTable(of: first).naming(hash)
  }
}

/// Runs `body` on such a machine, with a store and a plain vault of alice's. Call it in an exit test.
func inPamMachine(_ body: (PamMachine) throws -> Void) {
  inHost(.shared) { host in
    let machine = try PamMachine(host)
    try machine.boot()
    try machine.succeed("mount", "alice", "--vault", "plain")
    try machine.succeed("unmount", "alice")
    try body(machine)
  }
}

/// The same with encrypted vaults of alice's and bob's, whose passwords are those of the logins.
func inEncryptedPamMachine(_ body: (PamMachine) throws -> Void) {
  inEncryptedHost { host in
    let machine = try PamMachine(host)
    try machine.boot()
    for user in ["alice", "bob"] {
      let outcome = try machine.run(
        "/mnt/programs/cryptohome", "create", user, stdin: PamMachine.password)
      #expect(outcome.status == 0, "\(outcome)")
    }
    try body(machine)
  }
}

extension PamMachine {
  fileprivate func boot() throws {
    try host.template("alpha", owner: 5, group: 60, mode: 0o2770)
    let startup = try run("/mnt/programs/daemon-store", "startup")
    #expect(startup.status == 0, "\(startup)")
  }
}

/// The processes in the pid namespace of `first`, and the words of their command lines.
func commandLines(of first: pid_t) throws -> [(process: pid_t, words: Set<String>)] {
  let namespace = try linkTarget(of: "/proc/\(first)/ns/pid")
  return try names(in: "/proc").compactMap { pid_t($0) }
    .filter { (try? linkTarget(of: "/proc/\($0)/ns/pid")) == namespace }
    .map { process in
      let line = (try? readFile("/proc/\(process)/cmdline")) ?? ""
      return (process, Set(line.split(separator: "\0").map(String.init)))
    }
}
