import FoundationEssentials
import TestSupport
import Testing

/// `--explain` tells the truth, and starts nothing.
@Suite(.needsRoot) struct MinijailExplainTests {
  private struct Report: Decodable {
    let program: [String]
    let user: UInt32
    let group: UInt32
    let groups: [UInt32]
    let capabilities: [String: [String]]
    let securebits: UInt32
    let noNewPrivileges: Bool
    let namespaces: [String: String]
    let steps: [String]
    let mounts: [[String: Value]]
  }

  private enum Value: Decodable {
    case text(String)
    case texts([String])

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if let text = try? container.decode(String.self) {
        self = .text(text)
      } else {
        self = .texts(try container.decode([String].self))
      }
    }
  }

  private func explain(_ options: String, as user: Int = 0) throws -> Report {
    let outcome = try CommandLine.run(
      "minijail0 --explain=json \(options) -- /bin/cat /proc/self/status", as: user)
    #expect(outcome.status == 0, "\(outcome)")
    return try JSONDecoder().decode(Report.self, from: Data(outcome.output.utf8))
  }

  /// The capabilities by their numbers, as the kernel's header has them.
  private static let names = [
    "cap_chown", "cap_dac_override", "cap_dac_read_search", "cap_fowner", "cap_fsetid",
    "cap_kill", "cap_setgid", "cap_setuid", "cap_setpcap", "cap_linux_immutable",
    "cap_net_bind_service", "cap_net_broadcast", "cap_net_admin", "cap_net_raw", "cap_ipc_lock",
    "cap_ipc_owner", "cap_sys_module", "cap_sys_rawio", "cap_sys_chroot", "cap_sys_ptrace",
    "cap_sys_pacct", "cap_sys_admin", "cap_sys_boot", "cap_sys_nice", "cap_sys_resource",
    "cap_sys_time", "cap_sys_tty_config", "cap_mknod", "cap_lease", "cap_audit_write",
    "cap_audit_control", "cap_setfcap", "cap_mac_override", "cap_mac_admin", "cap_syslog",
    "cap_wake_alarm", "cap_block_suspend", "cap_audit_read", "cap_perfmon", "cap_bpf",
    "cap_checkpoint_restore",
  ]

  /// Every field against what the program then is.
  @Test(arguments: [
    ("", 0), ("-n", 0), ("--no-default-runtime-environment", 0), ("-u 5 -g 6", 0),
    ("-u 5", 0), ("-c 9", 0), ("-c 9 --ambient", 0), ("-u 5 -g 6 -c 9", 0),
    ("-u 5 -g 6 -c 9 --ambient", 0), ("-c 9 -B 3", 0),
    ("-u games -g games -G", 0), ("-g 7 --add-suppl-group 8 --add-suppl-group 3", 0), ("-y", 0),
    ("-U", 0), ("-m -M", 0), ("-m -M -u 5 -g 6", 0), ("-m -M -u 5 -g 6 -c 3", 0),
    ("'-m0 0 1,5 9 4' '-M0 0 1' -u 6 -c 3 --ambient", 0), ("-p -v -u 5 -g 5 -y", 0),
    ("", 1000), ("-m -M", 1000), ("-m -M -u 5 -g 6 -c 1", 1000), ("-U", 1000),
  ])
  func whatTheProgramWillBe(_ options: String, _ user: Int) throws {
    let report = try explain(options, as: user)
    let outcome = try CommandLine.run(
      "minijail0 \(options) -- /bin/cat /proc/self/status", as: user)
    #expect(outcome.status == 0, "\(outcome)")
    var status: [String: [String]] = [:]
    for line in outcome.lines {
      let parts = line.split(separator: ":", maxSplits: 1).map(String.init)
      guard parts.count == 2 else { continue }
      status[parts[0]] = parts[1].split(whereSeparator: { " \t".contains($0) }).map(String.init)
    }
    #expect(status["Uid"] == Array(repeating: "\(report.user)", count: 4))
    #expect(status["Gid"] == Array(repeating: "\(report.group)", count: 4))
    #expect(status["Groups"] == report.groups.map { "\($0)" })
    #expect(status["NoNewPrivs"] == [report.noNewPrivileges ? "1" : "0"])
    for (field, name) in [
      ("CapInh", "inheritable"), ("CapPrm", "permitted"), ("CapEff", "effective"),
      ("CapBnd", "bounding"), ("CapAmb", "ambient"),
    ] {
      let bits = UInt64(status[field]?.first ?? "", radix: 16) ?? 0
      let expected = Self.names.indices.filter { bits & (1 << UInt64($0)) != 0 }
        .map { Self.names[$0] }
      #expect(report.capabilities[name] == expected, "\(field) of \(options)")
    }
  }

  @Test func theWholeReport() throws {
    let report = try explain(
      "-vl -e/proc/self/ns/net -I -c 9 -R RLIMIT_CPU,1,unlimited --fs-path-ro /usr -P /mnt/empty -b /"
    )
    #expect(report.program == ["/bin/cat", "/proc/self/status"])
    #expect(report.securebits == 0x2f)
    #expect(
      report.namespaces == [
        "mnt": "new", "pid": "new, the program is process 1", "ipc": "new",
        "net": "that of /proc/self/ns/net",
      ])
    #expect(report.steps.last == "execute the program")
    #expect(report.mounts.count == 1)
    let text = try CommandLine.run(
      "minijail0 --explain -R RLIMIT_CPU,1,unlimited --fs-path-ro /usr -u 5 -g 6 /bin/true")
    for line in [
      "program: /bin/true", "  ids            user 5, group 6, groups none",
      "  limit          RLIMIT_CPU 1 unlimited", "                 ro /usr", "  no_new_privs   yes",
      "  namespaces     the caller's",
    ] {
      #expect(text.lines.contains(line), "\(line): \(text)")
    }
  }

  /// Names on the command line cannot forge lines, nor break the JSON.
  @Test func hostileWords() throws {
    let outcome = try CommandLine.run(
      "minijail0 --explain=json -T static --env-add A=1 \"$(printf 'a\\nb\"\\001\\\\')\" x")
    let report = try JSONDecoder().decode(Report.self, from: Data(outcome.output.utf8))
    #expect(report.program == ["a\nb\"\u{1}\\", "x"])
    let text = try CommandLine.run("minijail0 --explain -T static \"$(printf 'a\\nsteps:')\"")
    #expect(text.lines.filter { $0 == "steps:" }.count == 1, "\(text)")
  }

  @Test(arguments: [
    CommandLine("--explain -u nobody-here /bin/true", 1, says: "Bad user"),
    CommandLine("--explain -u 5 -g 6 -c 100 -B 3c /bin/true", 1, says: "lacks cap_setpcap"),
    CommandLine("-u 5 -g 6 -c 100 -B 3c /bin/true", 1, says: "lacks cap_setpcap"),
    CommandLine("--explain /none", 1, says: "is not accessible"),
    CommandLine("--explain -v -b /none,/mnt/s /bin/true", 251, says: "open /none"),
    CommandLine("--explain -P /none /bin/true", 1, says: "not accessible"),
    CommandLine("--explain -f /none/pid /bin/true", 1, says: "-f /none/pid: open /none"),
    CommandLine("--explain --uts=\(String(repeating: "x", count: 65)) /bin/true", 1, says: "64"),
    CommandLine(
      "--explain -c 1 --jail-by=preload --preload-library /none /bin/true", 1, says: "/none"),
    CommandLine("--explain -e/none /bin/true", 1, says: "-e/none"),
    CommandLine("--explain --daemon-store absent /bin/true", 1, says: "daemon-store startup"),
    CommandLine("--explain -v -b /etc,/mnt/new -- /bin/true; test ! -e /mnt/new", 0, "steps:"),
    CommandLine("--explain -- /bin/touch /mnt/ran; test ! -e /mnt/ran", 0, "steps:"),
    CommandLine("--explain=xml /bin/true", 1, says: "--explain is 'text' or 'json'"),
  ])
  func checksAndStartsNothing(_ line: CommandLine) throws { try line.expect() }
}
