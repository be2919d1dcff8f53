import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// The files that a service manager reads. Upstart is not there to read its own, so a job is taken
/// apart here, as init(5) of Upstart says, and its exec line is run by sh, as Upstart does.
@Suite struct UpstartJobTests {
  /// What one stanza may say, of those that our jobs use.
  private static let stanzas: Set<String> = [
    "description", "start", "stop", "task", "respawn", "normal", "exec", "expect", "env",
  ]

  @Test(arguments: [
    "daemon-store-startup", "cryptohomed", "example-store-daemon", "permission_broker", "mtpd",
  ])
  func everyLineIsAStanza(job: String) throws {
    let lines = try UpstartJob.lines(job)
    for line in lines {
      let word = line.split(separator: " ").first.map(String.init) ?? ""
      #expect(Self.stanzas.contains(word), "\(job): \(line)")
    }
    #expect(lines.filter { $0.hasPrefix("exec ") }.count == 1)
    #expect(lines.contains { $0.hasPrefix("start on ") })
  }
}

@Suite(.needsRoot) struct ServiceTests {
  @Test func upstartStartsTheStores() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        try host.template("alpha")
        let outcome = try host.shell(UpstartJob.command("daemon-store-startup"))
        #expect(outcome.status == 0 && outcome.lines.last == "1 store ready", "\(outcome)")
        #expect(try host.mount(at: "/run/daemon-store/alpha").peerGroup != nil)
      }
    }
  }

  @Test(arguments: ["upstart", "systemd"])
  func theExampleDaemonFollowsItsStore(manager: String) async {
    await #expect(processExitsWith: .success) { [manager] in
      inHost(.shared) { host in
        try host.addExampleUser()
        try host.template("example", owner: 903, group: 903)
        // Another daemon's store, which this one must not see.
        try host.template("other", owner: 903, group: 903)
        try host.succeed("daemon-store", "startup")
        try host.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        // The daemon says who it is and what it sees, and ends.
        try mountFilesystem("sbin", "/usr/local/sbin", "tmpfs")
        try writeFile(
          "/usr/local/sbin/example-daemon",
          "#!/bin/sh\nid -u; cd /run; ls daemon-store daemon-store-cache daemon-store/example\n",
          mode: 0o755)
        let command =
          manager == "upstart"
          ? try UpstartJob.command("example-store-daemon") : try SystemdUnit.command()
        let outcome = try host.shell(command)
        #expect(
          outcome.status == 0
            && outcome.lines == [
              "903", "daemon-store:", "example", "daemon-store-cache:", "example",
              "daemon-store/example:", Host.alice,
            ], "\(outcome)")
      }
    }
  }

  @Test func initScriptSaysWhetherTheServiceRuns() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        let outcome = try host.script("sh \(initFile("sysvinit/cryptohomed")) status")
        #expect(
          outcome.status == 3 && outcome.output == "cryptohomed is not running\n", "\(outcome)")
      }
    }
  }

  @Test func theUnitStartsTheStores() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.template("alpha")
        let unit = try readFile(initFile("systemd/daemon-store-startup.service"))
        #expect(unit.contains("\nType=oneshot\n") && !unit.contains("\nExecStop="), "\(unit)")
        let outcome = try host.shell(SystemdUnit.command("daemon-store-startup.service"))
        #expect(outcome.status == 0, "\(outcome)")
        #expect(try host.mount(at: "/run/daemon-store/alpha").peerGroup != nil)
      }
    }
  }
}

/// What systemd says of our units.
@Suite struct UnitTests {
  /// The service that callers reach has an exposure of 3.0 of 10 at most; the other one makes the system's
  /// mounts, and can have nothing that takes a mount namespace of its own.
  @Test(arguments: [("cryptohomed", 30), ("daemon-store-startup", 45)])
  func isConfined(unit: String, tenths: Int) throws {
    let outcome = try run(
      "/usr/bin/systemd-analyze",
      [
        "security", "--offline=true", "--threshold=\(tenths)", "--no-pager",
        initFile("systemd/\(unit).service"),
      ])
    #expect(outcome.status == 0 && outcome.output.contains("exposure level"), "\(outcome)")
  }

  /// A stop, or a stop and start, of what sets stores up would cut off who follows them.
  @Test func nothingStopsTheStores() throws {
    let unit = try readFile(initFile("systemd/daemon-store-startup.service"))
    #expect(!unit.contains("\nExecStop"))
    let rules = try readFile(projectFile("debian/rules"))
    for helper in ["dh_installsystemd", "dh_installinit"] {
      let line = rules.split(separator: "\n").first {
        $0.hasPrefix("\t\(helper) ") && $0.contains("daemon-store-startup")
      }
      #expect(line?.contains(" --no-stop-on-upgrade ") == true, "\(helper)")
    }
  }
}

private func initFile(_ name: String) -> String { projectFile("init/" + name) }

/// A file of lines, those that end in a backslash joined with the next, without comments.
private func joinedLines(_ path: String) throws -> [String] {
  var lines: [String] = []
  var isContinued = false
  for line in try readFile(path).split(separator: "\n", omittingEmptySubsequences: false) {
    let text = line.drop { $0 == " " }
    let rest = text.hasSuffix("\\") ? text.dropLast() : text
    if isContinued, let last = lines.popLast() {
      lines.append(last + rest)
    } else {
      lines.append(String(rest))
    }
    isContinued = text.hasSuffix("\\")
  }
  return lines.filter { !$0.isEmpty && !$0.hasPrefix("#") }
}

enum UpstartJob {
  fileprivate static func lines(_ job: String) throws -> [String] {
    try joinedLines(initFile("upstart/\(job).conf"))
  }

  static func command(_ job: String) throws -> String {
    guard let line = try lines(job).first(where: { $0.hasPrefix("exec ") }) else {
      throw Problem("\(job) has no exec line")
    }
    return line.replacing("exec /usr/bin/", with: "exec ")
  }

  /// What sh runs for it: its variables, and the command.
  static func script(_ job: String) throws -> String {
    let variables = try lines(job).filter { $0.hasPrefix("env ") }
    return try (variables.map { "export " + $0.dropFirst(4) } + [command(job).dropFirst(5)])
      .joined(separator: "\n")
  }
}

private enum SystemdUnit {
  static func command(_ unit: String = "example-store-daemon.service") throws -> String {
    let lines = try joinedLines(initFile("systemd/\(unit)"))
    guard let line = lines.first(where: { $0.hasPrefix("ExecStart=/usr/bin/") }) else {
      throw Problem("\(unit) has no ExecStart line")
    }
    return String(line.dropFirst("ExecStart=/usr/bin/".count))
  }
}

extension Host {
  /// Has sh run a command line, with the built programs found first.
  fileprivate func shell(_ command: String) throws -> Outcome {
    try TestSupport.run(
      "/bin/sh",
      ["-c", "exec " + (command.hasPrefix("exec ") ? String(command.dropFirst(5)) : command)],
      environment: ["PATH=/mnt/programs:/usr/sbin:/usr/bin:/sbin:/bin"])
  }

  fileprivate func addExampleUser() throws {
    let passwd = try readFile("/etc/passwd")
    try writeFile("/etc/passwd", passwd + "example:x:903:903::/:/bin/false\n")
    let group = try readFile("/etc/group")
    try writeFile("/etc/group", group + "example:x:903:\n")
  }
}
