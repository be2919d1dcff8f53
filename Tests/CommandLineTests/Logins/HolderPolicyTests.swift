import FoundationEssentials
import Glibc
import TestSupport
import Testing

/// `/etc/daemon-store.conf`: what a logout does with processes that hold files.
@Suite(.needsRoot) struct HolderPolicyTests {
  private struct Output: Decodable {
    struct Setting: Decodable {
      let section: String
      let key: String
      let value: String
      let origin: String?
    }
    let settings: [Setting]
    let errors: [String]
  }

  private static let file = "/etc/daemon-store.conf"

  private static func holder(_ host: Host, _ path: String, ignores: Bool = false) throws -> pid_t {
    try host.helpers.start(
      "python3", "-c",
      "import signal\nfile = open('\(path)', 'w')\n"
        + (ignores ? "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" : "")
        + "print('ready', flush=True)\nwhile True: signal.pause()")
  }

  @Test(arguments: ["report", "terminate", "kill"])
  func endsHoldersOfFiles(policy: String) async {
    await #expect(processExitsWith: .success) { [policy] in
      inHost(.shared) { host in
        try host.boot("alpha")
        try writeFile(Self.file, "# comment\n[home]\nholders = \(policy)\n")
        for ignores in [false, true] where policy == "terminate" || !ignores {
          try host.login("alice")
          let holder = try Self.holder(host, "/home/user/\(Host.alice)/file", ignores: ignores)
          let start = ContinuousClock.now
          let outcome = try host.run("cryptohome", "unmount", "alice")
          let time = ContinuousClock.now - start
          let name = try shownName(of: holder)
          if policy == "report" {
            #expect(outcome.status == 3 && outcome.complains(of: name), "\(outcome)")
          } else {
            #expect(outcome.status == 0 && outcome.output.contains("ended \(name)"), "\(outcome)")
            #expect(time < .seconds(30) && (time >= .seconds(10)) == ignores, "\(time)")
          }
          try host.helpers.stop(holder)
          try host.logout("alice")
        }
      }
    }
  }

  /// A section counts for its own part of the vault, and a directory is no file.
  @Test func sparesWhatNoSectionNames() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha", "bravo")
        try writeFile(Self.file, "[store alpha]\nholders=kill\n")
        try host.login("alice")
        let alpha = try Self.holder(host, "/run/daemon-store/alpha/\(Host.alice)/file")
        let bravo = try Self.holder(host, "/run/daemon-store/bravo/\(Host.alice)/file")
        let outcome = try host.run("cryptohome", "unmount", "alice")
        #expect(outcome.status == 3 && outcome.output.contains("(pid \(alpha))"), "\(outcome)")
        #expect(outcome.complains(of: "(pid \(bravo))") && kill(bravo, 0) == 0, "\(outcome)")
        try host.helpers.stop(alpha)
        try host.helpers.stop(bravo)
        try host.logout("alice")
      }
    }
  }

  @Test func printsWhatIsInEffect() async {
    await #expect(processExitsWith: .success) {
      let schema = try Schema("config")
      inHost(.shared) { host in
        let none = try host.succeed("daemon-store", "config")
        #expect(none.lines.contains("holders=report  # default"), "\(none)")
        try makeDirectory("\(Self.file).d")
        try writeFile(Self.file, "[home]\nholders=kill\n[store *]\nholders=terminate\n")
        try writeFile(
          "\(Self.file).d/10-own.conf",
          "[home]\nholders=report\nquota=1G\nholder=kill\nholders=never\n[stores]\nholders=kill\n"
            + "[store notes]\nholders-services=yes\nx\n")
        try writeFile("\(Self.file).d/20-open.conf", "[home]\nholders=kill\n", mode: 0o666)
        try writeFile("\(Self.file).d/30-big.conf", String(repeating: "#\n", count: 40_000))
        try makeLink("\(Self.file).d/40-link.conf", to: Self.file)
        try writeFile("\(Self.file).d/not-read", "[home]\nholders=kill\n")
        let outcome = try host.run("daemon-store", "config", "--json")
        #expect(outcome.status == 3, "\(outcome)")
        #expect(try schema.violations(in: outcome.output).isEmpty, "\(outcome)")
        let output = try decode(Output.self, outcome.output)
        func value(_ section: String, _ key: String) -> String? {
          output.settings.first { $0.section == section && $0.key == key }.map {
            "\($0.value) \($0.origin ?? "-")"
          }
        }
        let own = "\(Self.file).d/10-own.conf"
        #expect(value("home", "holders") == "report \(own):2")
        #expect(value("store *", "holders") == "terminate \(Self.file):4")
        #expect(value("store notes", "holders") == "terminate \(Self.file):4")
        #expect(value("store notes", "holders-services") == "yes \(own):9")
        let places = [
          "\(own):3: quota is not supported", "\(own):4: unknown key holder",
          "\(own):5: holders cannot be never", "\(own):6: unknown section [stores]",
          "\(own):10: x is no setting", "20-open.conf: can be changed by others",
          "30-big.conf: is larger", "40-link.conf: is a symbolic link",
        ]
        for place in places {
          #expect(output.errors.contains { $0.contains(place) }, "\(place): \(output.errors)")
        }
        #expect(output.errors.count == places.count, "\(output.errors)")
      }
    }
  }
}
