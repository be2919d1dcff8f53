import DaemonStoreKernel
import ServiceAudit
import Testing

extension ProcessStatus {
  fileprivate init?(_ text: String) { self.init(Array(text.utf8)) }
}

extension ServiceUnit {
  fileprivate init(_ text: String) { self.init(Array(text.utf8)) }
}

@Suite struct ProcessStatusTests {
  private let text = """
    Name:\tevil\\nUid:\t0\t0\t0\t0
    State:\tS (sleeping)
    Pid:\t12
    Uid:\t1\t2\t3\t4
    Gid:\t5\t6\t7\t8
    CapInh:\t0000000000000000
    CapPrm:\t0000000000000009
    CapEff:\t0000000000000001
    CapBnd:\t000001ffffffffff
    NoNewPrivs:\t1
    Seccomp:\t2
    Seccomp_filters:\t1

    """

  @Test func readsTheEffectiveIdsAndTheRest() throws {
    let status = try #require(ProcessStatus(text))
    #expect(status.user == 2 && status.group == 6)
    #expect(status.permitted.names == ["chown", "fowner"])
    #expect(status.bounding == .all(last: 40))
    #expect(status.noNewPrivileges && status.filter == .filter && !status.isZombie)
    let zombie = try #require(
      ProcessStatus(text.replacing("S (sleeping)", with: "Z (zombie)")))
    #expect(zombie.isZombie)
  }

  @Test(arguments: ["State", "Uid", "Gid", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp"])
  func needsEachField(field: String) {
    let without = text.split(separator: "\n").filter { !$0.hasPrefix("\(field):") }
    #expect(ProcessStatus(without.joined(separator: "\n")) == nil)
  }

  @Test func refusesNonsense() {
    for (old, new) in [
      ("Uid:\t1\t2", "Uid:\t1\t4294967296"), ("Uid:\t1\t2\t3\t4", "Uid:\t1"),
      ("CapPrm:\t0000000000000009", "CapPrm:\txyz"), ("Seccomp:\t2", "Seccomp:\t7"),
      ("Seccomp:\t2", "Seccomp:\t18446744073709551615"), ("State:\tS (sleeping)", "State:"),
    ] {
      #expect(ProcessStatus(text.replacing(old, with: new)) == nil, "\(new)")
    }
    #expect(ProcessStatus("") == nil)
  }

  @Test func readsTheUnit() {
    for (text, unit) in [
      ("0::/system.slice/ssh.service\n", ServiceUnit.service("ssh.service")),
      ("0::/system.slice/system-getty.slice/getty@tty1.service", .service("getty@tty1.service")),
      ("0::/system.slice/notes.service/sub", .service("notes.service")),
      ("1:name=systemd:/system.slice/a.service\n0::/\n", .service("a.service")),
      (
        "4:memory:/x.slice/b.service\n1:name=systemd:/\n0::/app.slice/c.service",
        .service("c.service")
      ),
      ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/d.service", .other),
      ("0::/machine.slice/libpod-1.scope", .other), ("0::/init.scope", .other),
      ("0::/", .none), ("0::/lxc/box", .none), ("4:memory:/x.slice/b.service", .none),
      ("", .none), ("::::", .none),
    ] {
      #expect(ServiceUnit(text) == unit, "\(text)")
    }
  }
}

private func parse(_ text: String) throws -> Baseline {
  try Baseline(parsing: Array(text.utf8), named: "base")
}

@Suite struct BaselineTests {
  private func service(
    _ program: String = "notesd", user: UInt32 = 901, capabilities: CapabilitySet = [],
    namespaces: [String] = ["mnt"], filter: Int = 2, all: Bool = false
  ) throws -> Service {
    let status = try #require(
      ProcessStatus(
        "State:\tS\nUid:\t0\t\(user)\nGid:\t0\t\(user)\nCapBnd:\tff\nNoNewPrivs:\t1\n"
          + "CapPrm:\t\(String(capabilities.rawValue, radix: 16))\nSeccomp:\t\(filter)\n"))
    return Service(
      pid: 12, program: "\(program)", executable: "/usr/bin/\(program)",
      userName: user == 0 ? "root" : "u\(user)", groupName: "g", status: status, unit: nil,
      ownNamespaces: namespaces, hasOtherRoot: false, hasAllCapabilities: all)
  }

  @Test func readsWhatItWrites() throws {
    let services = [
      try service(), try service("a b#\\", user: 0, all: true),
      try service("netd", capabilities: .setgid, filter: 0),
    ]
    let baseline = Baseline(of: services)
    #expect(
      baseline.text == """
        # program user group features: see sandboxed-services(1)
        a\\040b\\043\\134 root g mnt no-new-privs seccomp
        netd u901 g caps=setgid mnt no-new-privs
        notesd u901 g caps=none mnt no-new-privs seccomp

        """)
    #expect(try parse(baseline.text) == baseline)
    #expect(baseline.problems(with: services) == [])
  }

  @Test func comesWithCommentsAndIgnores() throws {
    let baseline = try parse("# all\n\nignore agent\nnotesd\tu901 g  # no features\n")
    #expect(baseline.ignored == ["agent"] && baseline.lines.count == 1)
    #expect(try baseline.problems(with: [service("agent", user: 0), service()]) == [])
    #expect(
      try parse("# all\r\n\r\nignore agent\r\nnotesd\tu901 g  # no features\r\n") == baseline)
  }

  @Test func saysWhatIsWrongWithALine() {
    for (text, words) in [
      ("a b\n", "base:1: a service has a program, a user and a group"),
      ("\r\nignore\r\n", "base:2: ignore is followed by the program"),
      ("\na u g seccmop\n", "base:2: seccmop is no feature"),
      ("a u g caps=\n", "caps= is no feature"), ("a u g caps=nothing", "caps=nothing is no"),
      ("a u g caps=64", "caps=64"), ("a u g caps=1,,2", "caps=1,,2"),
      ("a u g\na u g root\n", "base:2: a of u:g has a line already"),
    ] {
      #expect {
        try parse(text)
      } throws: {
        "\($0)".contains(words)
      }
    }
  }

  @Test func namesWhatIsNewAndWhatIsLost() throws {
    let baseline = try parse(
      "notesd u901 g caps=chown mnt no-new-privs seccomp\nold u1 g\n")
    #expect(try baseline.problems(with: [service(capabilities: .init(rawValue: 1))]) == [])
    for (services, problem) in [
      (
        [try service(filter: 0)],
        "notesd (pid 12) has lost seccomp; if that is meant, the line is: "
          + "notesd u901 g caps=none mnt no-new-privs"
      ),
      ([try service(), try service(namespaces: [])], "notesd (pid 12, 12) has lost mnt; "),
      ([try service(capabilities: .init(rawValue: 3))], "has lost caps=chown; "),
      (
        [try service(capabilities: .init(rawValue: 0xff), all: true)],
        "the line is: notesd u901 g mnt no-new-privs seccomp"
      ),
      (
        [try service("other")],
        "other (pid 12) is an unknown service; if that is meant, add: other u901 g caps=none "
      ),
      ([try service("other", user: 0)], "other (pid 12) is a new service of root; "),
      ([try service(user: 0)], "notesd (pid 12) is a new service of root; "),
      ([try service(user: 7)], "notesd (pid 12) runs as u7:g, and not as u901:g; "),
    ] {
      let problems = baseline.problems(with: services)
      #expect(problems.count == 1 && problems[0].contains(problem), "\(problems)")
    }
  }
}

@Suite struct HostileStatusTests {
  /// A combining mark behind a separator hides neither the separator nor what follows.
  @Test func readsFieldsByBytes() {
    let hidden = "1:name=systemd:/\u{301}/system.slice/a.service\n"
    #expect(ServiceUnit(Array(hidden.utf8)) == .service("a.service"))
    #expect(ServiceUnit(Array("0::/user.slice\u{301}/a.service\n".utf8)) == .none)
    #expect(ServiceUnit(Array("0::/x.slice/a.service\u{301}\n".utf8)) == .other)
    let odd = Array("0::/x.slice/".utf8) + [0xff] + Array(".service".utf8)
    #expect(ServiceUnit(odd) == .service("\\xff.service"))
  }

  /// Two names that text takes for the same are two programs.
  @Test func tellsProgramsByBytes() throws {
    let baseline = try parse("ignore caf\u{e9}\ncafe\u{301} root root\n")
    #expect(baseline.ignored == ["caf\u{e9}"] && baseline.lines.map(\.program) == ["cafe\u{301}"])
    #expect(!baseline.ignored.contains("cafe\u{301}"))
    let bytes = try parse(#"\377\301 root root"#)
    #expect(bytes.lines.first.map { Array($0.program.bytes) } == [0xff, 0xc1])
    #expect(bytes.text.utf8.starts(with: "# program".utf8))
    #expect(try parse(bytes.text) == bytes)
    #expect(throws: Baseline.Mistake.self) {
      try parse(#"a\000b root root"#)
    }
    #expect(throws: Baseline.Mistake.self) {
      try parse("a root root root\u{301}")
    }
  }
}
