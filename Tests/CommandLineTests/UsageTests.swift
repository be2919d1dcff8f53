import Glibc
import TestSupport
import Testing

@Suite(.needsRoot) struct UsageTests {
  private static let verbs = [
    "daemon-store": [
      "startup", "shutdown", "status", "tree", "who", "wait", "watch", "doctor", "template add",
      "template remove", "template list", "template check",
    ],
    "cryptohome": [
      "create", "remove", "rename", "adopt", "repair-home", "passwd", "key add", "key remove",
      "key list", "mount", "unmount", "status", "sanitize", "pam open", "pam close", "pam change",
      "pam lock-ended",
    ],
    "sandboxed-services": ["list", "check", "baseline"],
    "seccomp-policy": ["compile", "check", "explain", "generate", "disassemble", "syscalls"],
  ]

  private static func words(_ verb: String) -> [String] {
    verb.split(separator: " ").map { String($0) }
  }

  private static let programs = verbs.keys.sorted()

  @Test(arguments: programs)
  func helpAndVersion(program: String) async {
    await #expect(processExitsWith: .success) { [program] in
      inHost(.isolated) { host in
        let verbs = Self.verbs[program] ?? []
        for arguments in [["--help"], ["-h"]] + verbs.map({ Self.words($0) + ["--help"] }) {
          let outcome = try run("/mnt/programs/\(program)", arguments)
          #expect(outcome.status == 0 && outcome.errors.isEmpty, "\(outcome)")
          #expect(outcome.output.contains("USAGE: \(program)"), "\(outcome)")
        }
        let help = try host.run(program, "--help")
        for verb in verbs {
          #expect(help.output.contains("  \(Self.words(verb)[0]) "), "\(verb): \(help)")
        }
        let version = try host.run(program, "--version")
        #expect(version.status == 0 && version.errors.isEmpty, "\(version)")
        #expect(version.lines.count == 1 && version.output.contains("."), "\(version)")
      }
    }
  }

  @Test(arguments: [["cryptohome", "key", "add"], ["daemon-store", "template", "check"]])
  func theHelpThatIsNamedIsThatOfTheVerb(words: [String]) async {
    await #expect(processExitsWith: .success) { [words] in
      inHost(.isolated) { host in
        let command = words.joined(separator: " ")
        let mistake = try host.script("\(command) --frobnicate a b c")
        #expect(
          mistake.status == 2 && mistake.errors.hasSuffix("; see \(command) --help\n"), "\(mistake)"
        )
        #expect(try host.script("\(command) --help").status == 0)
      }
    }
  }

  /// A word that is no command names the one that it may have been.
  @Test(arguments: [
    ["statsu": "daemon-store: there is no command 'statsu'; did you mean 'status'?"],
    ["help statsu": "daemon-store: there is no command 'statsu'; did you mean 'status'?"],
    ["template lsit": "daemon-store template: there is no command 'lsit'; did you mean 'list'?"],
    ["help template nothing": "daemon-store template: there is no command 'nothing';"],
    ["template": "daemon-store template: name a command;"],
    ["": "daemon-store: name a command;"],
  ])
  func noCommandIsAMistake(_ scene: [String: String]) async {
    await #expect(processExitsWith: .success) { [scene] in
      inHost(.isolated) { host in
        for (words, expected) in scene {
          let outcome = try host.script("daemon-store \(words)")
          #expect(outcome.status == 2 && outcome.output.isEmpty, "\(outcome)")
          let program = expected.prefix { $0 != ":" }
          #expect(outcome.errors == "\(expected) see \(program) --help\n")
        }
      }
    }
  }

  @Test(arguments: programs)
  func mistakesAreOneLineAndStatusTwo(program: String) async {
    await #expect(processExitsWith: .success) { [program] in
      inHost(.isolated) { host in
        let before = try host.table()
        let verbs = Self.verbs[program] ?? []
        let mistakes =
          [["--frobnicate"], ["frobnicate"]]
          + verbs.flatMap { verb in
            [["--frobnicate"], ["a", "b", "c", "d", "--frobnicate"]].map { Self.words(verb) + $0 }
          }
        for arguments in mistakes {
          let outcome = try run("/mnt/programs/\(program)", arguments)
          #expect(outcome.status == 2 && outcome.output.isEmpty, "\(outcome)")
          let errors = outcome.errors.split(separator: "\n", omittingEmptySubsequences: false)
          #expect(errors.count == 2 && outcome.errors.hasPrefix("\(program): "), "\(outcome)")
          let verb = verbs.first { arguments.starts(with: Self.words($0)) }.map { "\($0) " } ?? ""
          #expect(outcome.errors.hasSuffix("; see \(program) \(verb)--help\n"), "\(outcome)")
        }
        #expect(try host.table() == before)
      }
    }
  }

  @Test(arguments: programs)
  func nothingSaidIsAMistake(program: String) async {
    await #expect(processExitsWith: .success) { [program] in
      inHost(.isolated) { host in
        let outcome = try host.run(program)
        #expect(outcome.status == 2 && outcome.output.isEmpty, "\(outcome)")
        #expect(outcome.complaints.count == 1 && outcome.complains(of: "--help"), "\(outcome)")
      }
    }
  }

  @Test func aMistakeSaysWhatIsValid() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        let time = "5s, 500ms, 2m or 1.5h"
        for (command, valid) in [
          ("daemon-store wait a/b alice", "letters, digits"),
          ("daemon-store watch .alpha", "letters, digits"),
          ("daemon-store template check alpha ''", "letters, digits"),
          ("daemon-store template add alpha --owner root", "user:group"),
          ("daemon-store template add alpha --owner root:root --mode 0800", "0700"),
          ("daemon-store template add alpha --owner root:root --mode 17777", "0700"),
          ("daemon-store wait alpha alice --timeout 5d", time),
          ("daemon-store wait alpha alice --timeout 1.2.3s", time),
          ("daemon-store wait alpha alice --timeout .5s", time),
          ("daemon-store wait alpha alice --timeout 8761h", time),
          ("daemon-store wait alpha alice --timeout ms", time),
          ("cryptohome unmount alice --wait 1e3", time), ("cryptohomed --delay inf", time),
        ] {
          let outcome = try host.script(command)
          #expect(outcome.status == 2 && outcome.complaints.count == 1, "\(outcome)")
          #expect(outcome.complains(of: valid, "--help"), "\(command): \(outcome)")
        }
        try host.boot("alpha")
        try host.login("alice")
        for time in ["0", "5", "1h", "8760h", "1.5s", "0.25ms", "2.m"] {
          try host.succeed("daemon-store", "wait", "alpha", "alice", "--timeout", time)
        }
      }
    }
  }

  @Test func whatCanBeChosenIsSaid() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        try host.refuse(
          status: 2, ["'dot' or 'svg'; see daemon-store tree --help"], "daemon-store", "tree",
          "--format", "gif")
      }
    }
  }

  @Test func missingUserIsAMistake() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        for verb in ["mount", "unmount", "sanitize"] {
          let outcome = try host.run("cryptohome", verb)
          #expect(outcome.status == 2 && outcome.complaints.count == 1, "\(outcome)")
        }
      }
    }
  }

  @Test func ordinaryUsersAreToldSo() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        try host.boot("alpha")
        try host.login("alice")
        let before = try host.table()
        for (program, arguments) in [
          ("daemon-store", ["startup"]), ("daemon-store", ["shutdown"]),
          ("cryptohome", ["mount", "alice"]), ("cryptohome", ["unmount", "alice"]),
          ("cryptohome", ["unmount", "--all"]), ("cryptohome", ["status"]),
        ] {
          let outcome = try run(
            "setpriv",
            ["--reuid", "65534", "--regid", "65534", "--clear-groups", "/mnt/programs/\(program)"]
              + arguments)
          #expect(outcome.status == 1 && outcome.output.isEmpty, "\(outcome)")
          #expect(
            outcome.errors == "\(program): \(arguments[0]): only root can do that\n", "\(outcome)")
        }
        #expect(try host.table() == before)
      }
    }
  }

  /// S31: the status says what was done, whether or not the report about it arrives.
  @Test(.tags(.attack)) func lostReportDoesNotChangeTheStatus() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        try host.template("alpha")
        for place in [">/dev/full", ">&-"] {
          for command in [
            "daemon-store startup", "cryptohome mount alice --vault plain",
            "cryptohome unmount alice", "daemon-store shutdown --force",
          ] {
            let outcome = try host.script("\(command) \(place)")
            #expect(outcome.status == 0, "\(place): \(outcome)")
          }
        }
      }
    }
  }

  @Test func resultsThatDoNotArriveAreAFailure() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        for command in [
          "cryptohome sanitize alice", "cryptohome --help", "cryptohome status --json",
        ] {
          let outcome = try host.script("\(command) >/dev/full")
          #expect(outcome.status == 1 && outcome.complaints.count == 1, "\(outcome)")
        }
      }
    }
  }

  @Test func warnsAwayFromTheFirstNamespace() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        // A process namespace of its own, whose pid 1 is the shell.
        let space = "unshare --fork --pid --mount-proc sh -c"
        for (command, words) in [
          ("mount alice --vault plain", "does not see"), ("unmount alice", "detached"),
        ] {
          let here = try host.script("\(space) 'cryptohome \(command)'")
          #expect(here.status == 0 && here.errors.isEmpty, "\(here)")
          let away = try host.script("\(space) 'unshare --mount cryptohome \(command); true'")
          let verb = command.prefix { $0 != " " }
          #expect(away.errors.contains(words), "\(away)")
          #expect(
            away.errors.hasPrefix("cryptohome: \(verb): warning: this is not the mount namespace"),
            "\(away)")
        }
      }
    }
  }
}
