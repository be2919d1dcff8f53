import ArgumentParser
import CDaemonStoreLinux
import Cryptohome
import DaemonStore
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram

/// What `pam_daemonstore.so` and cryptohomed call. What goes wrong is said to the user who logs in.
struct PamCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pam",
    abstract: "Sessions: for pam_daemonstore.so and cryptohomed.",
    discussion: """
      A session is held by its leader, a process; what was mounted for sessions goes with the last \
      of them. What a person mounts stays until a person unmounts it. All of it is done in the mount \
      namespace of process 1.
      """,
    subcommands: [
      PamOpenCommand.self, PamCloseCommand.self, PamChangeCommand.self, PamLockEndedCommand.self,
      PamStayCommand.self, PamNamesCommand.self, PamAccountCommand.self,
    ])

  /// What all of them begin with.
  static func begin() throws {
    try Program.requireRoot()
    try InitNamespace.enter()
    try Program.leaveWorkingDirectory()
  }

  /// Each in one line, for the user.
  fileprivate static func tell(_ report: LogoutReport?, of user: String = "your") throws {
    guard let report, !report.isComplete else { return }
    for line in report.complaints {
      Program.complain("\(user) daemon-store vault is not locked yet: \(line)")
    }
    throw Ending(.partial)
  }
}

/// The leader of a session, open on a descriptor: so it is not taken for another of its number.
struct LeaderOption: ParsableArguments {
  @Option(
    help: ArgumentHelp("The descriptor of the session's leader (pidfd_open(2)).", valueName: "n"))
  var leaderFd: CInt

  @Option(
    name: .customLong("session"),
    help: ArgumentHelp(
      "The session among those of the leader: 16 hexadecimal digits; any one of them when left out.",
      valueName: "id"))
  var id: String?

  func leader() throws -> SessionLeader {
    try SessionLeader(open: Descriptor(owning: leaderFd))
  }

  func session() throws -> SessionRecord {
    guard let session = SessionRecord(try leader(), id: id) else {
      throw Failure("--session takes 16 hexadecimal digits")
    }
    return session
  }
}

/// For a command that the process of a login starts, as cryptohomed does not run.
struct LoginOption: ParsableArguments {
  @Flag(name: .customLong("stay"), help: .hidden)
  var isByLogin = false

  func begin() throws {
    try PamCommand.begin()
    if isByLogin { leaveControlGroup() }
  }

  /// Leaves a process that ends the user's sessions when their leaders have ended.
  func stay(with user: String) {
    guard isByLogin, let hash = try? Username.name("\(user)").resolve(in: .system),
      let leaders = try? Sessions.leaders(of: hash, .system), !leaders.isEmpty
    else { return }
    do {
      _ = try startAgain(["pam", "stay", "--", hash.description])
    } catch {
      Program.complain(
        "your daemon-store vault: the end of this session is noticed by the next command only: "
          + "\(error)")
    }
  }
}

struct PamOpenCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "open",
    abstract: "Begin a session, and mount the user; nothing for a user without a vault.",
    discussion: """
      Reads the password from standard input, if there is one.

      Exit status: 0 mounted, or nothing to do; 1 the vault stays locked, 2 usage, 3 mounted, but \
      not in the stores that are named.
      """)

  @OptionGroup var leader: LeaderOption

  @OptionGroup var login: LoginOption

  @Argument(help: "The user's name.")
  var user: String

  func run() throws {
    let report: LoginReport?
    defer { login.stay(with: user) }
    do {
      try login.begin()
      report = try Sessions.open(.name("\(user)"), leader.session(), .system) {
        try beginSecrets()
        return try Secret(passwordFrom: STDIN_FILENO)
      }
    } catch is NoPassword {
      Program.complain(
        "your daemon-store vault stays locked: this login took no password; log in with the "
          + "password to open it")
      throw Ending(.failed)
    } catch is WrongPassword {
      Program.complain(
        "your daemon-store vault stays locked: its password is not that of the login; as root, "
          + "make it so with cryptohome passwd \(user)")
      throw Ending(.failed)
    } catch {
      Program.complain("your daemon-store vault stays locked: \(error)")
      throw Ending(.failed)
    }
    guard let report, !report.problems.isEmpty else { return }
    for problem in report.problems { Program.complain("your daemon-store vault: \(problem)") }
    throw Ending(.partial)
  }
}

struct PamCloseCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "close",
    abstract: "End a session, and with the last one unmount the user.",
    discussion: """
      Exit status: 0 done, 1 nothing was done, 2 usage, 3 unmounted but for what is named.
      """)

  @OptionGroup var leader: LeaderOption

  @OptionGroup var login: LoginOption

  @Argument(help: "The user's name.")
  var user: String

  func run() throws {
    let report: LogoutReport?
    do {
      try login.begin()
      report = try Sessions.close(.name("\(user)"), leader.leader(), id: leader.id, .system)
    } catch {
      Program.complain("your daemon-store vault is not locked yet: \(error)")
      throw Ending(.failed)
    }
    try PamCommand.tell(report)
  }
}

struct PamChangeCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "change",
    abstract: "Give a user's vault the new password of the login; nothing for one that has none.",
    discussion: """
      Reads the old password and then the new one from standard input, each on a line of its own.

      Exit status: 0 changed, or nothing to do; 1 the vault keeps its password, 2 usage.
      """)

  @OptionGroup var login: LoginOption

  @Argument(help: "The user's name.")
  var user: String

  func run() throws {
    do {
      try login.begin()
      guard try Sessions.userWithPassword(.name("\(user)"), .system) != nil else { return }
      try beginSecrets()
      try change()
    } catch let error as NotDurable {
      Program.complain("\(vaultName) has the new password: \(error)")
      throw Ending(.partial)
    } catch let error {
      let reason =
        switch error {
        case is NoPassword: "the old one was not asked for"
        case is WrongPassword: "it is not the old one of the login"
        default: "\(error)"
        }
      Program.complain(
        "\(vaultName) keeps its password: \(reason); as root, change it with cryptohome "
          + "passwd \(user)")
      throw Ending(.failed)
    }
  }

  /// Root changes the passwords of others.
  private var vaultName: String {
    getuid() == 0 && user != "root"
      ? "the daemon-store vault of \(user)" : "your daemon-store vault"
  }

  private func change() throws {
    let old = Credential.password(try Secret(passwordFrom: STDIN_FILENO))
    let new = Credential.password(try Secret(passwordFrom: STDIN_FILENO))
    let keys = try VaultKeys(of: .name("\(user)"), in: .system, by: .session)
    do {
      try keys.change(from: old, to: new)
    } catch let error as WrongPassword {
      // The vault may have got the new password before the login.
      let isDone = (try? keys.change(from: new, to: new)) != nil
      guard isDone else { throw error }
    }
  }
}

struct PamLockEndedCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "lock-ended",
    abstract: "Lock the vaults of users whose sessions have all ended.",
    discussion: """
      Forgets the sessions whose leaders are gone, and finishes logouts that are not finished.

      Exit status: 0 all is done, 1 nothing was done, 2 usage, 3 something of what is named is in \
      use still.
      """)

  @Argument(help: "The name or 40-digit hash of one user; all users when left out.")
  var user: String?

  @Flag(help: .hidden)
  var now = false  // without waiting for another login or logout of the user

  @OptionGroup var login: LoginOption

  @Flag(name: .customLong("init-namespace"), help: .hidden)
  var entersInitNamespace = false  // as all of these verbs do

  func run() throws {
    try login.begin()
    guard let user else {
      let timeout = Duration.milliseconds(CONTROL_TIME_TO_ANSWER)
      let users = try Sessions.usersWithEndedSessions(.system)
      if !lockEnded(users, [], isHeard: true, until: .now + timeout) { throw Ending(.partial) }
      return
    }
    guard let user = try Username("\(user)").resolveIfSalted(in: .system) else { return }
    let report: LogoutReport?
    do {
      report = try Sessions.lockIfEnded(user, .system, until: now ? .now : nil)
    } catch {
      Program.complain("cryptohome: pam lock-ended: \(user): \(error)")
      throw Ending(.partial)
    }
    try PamCommand.tell(report, of: "\(user)'s")
  }
}

struct PamStayCommand: ChangingCommand {
  static let configuration = CommandConfiguration(
    commandName: "stay",
    abstract: "Wait for the end of a user's sessions, and unmount the user then.",
    discussion: """
      pam open starts this where cryptohomed does not run. It ends when nothing is mounted for \
      sessions of the user.
      """)

  @Argument(help: "The 40-digit hash of the user.")
  var user: String

  func run() throws {
    try PamCommand.begin()
    guard let hash = ObfuscatedUsername("\(user)") else {
      throw ValidationError("\(user) is no 40-digit hash")
    }
    releaseCode()
    try Sessions.stay(with: hash, .system)
  }
}
