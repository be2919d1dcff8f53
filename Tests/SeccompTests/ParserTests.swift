import Seccomp
import Testing

@Suite struct ParserTests {
  private func action(_ rule: String, _ arguments: [UInt64] = []) throws -> Action? {
    let number = try #require(Architecture.x86_64.number(ofCall: "read"))
    return try policy("read: \(rule)").decision(
      CallData(number: number, architecture: 0, arguments: arguments)
    ).action
  }

  @Test(
    arguments: [
      ("1", .allow), ("return 5", .errno(5)), ("return EPERM", .errno(1)), ("return", nil),
      ("return 0", .errno(0)), ("return 70000", .errno(4464)), ("return 0x10|1", .errno(17)),
      ("return 5 more", .errno(5)), ("allow", .allow), ("kill", .kill), ("trap", .trap),
      ("kill-process", .killProcess), ("kill-thread", .killThread), ("trace", .trace),
      ("log", .log), ("user-notify", .userNotify), ("{ 1 }", .allow), ("1  # why", .allow),
    ] as [(String, Action?)])
  func actions(_ rule: String, _ expected: Action?) throws {
    #expect(try action(rule) == expected)
  }

  @Test(
    arguments: [
      ("arg0 == 1", 1, .allow), ("arg0 == 1", 2, nil), ("arg0 == 1; return 5", 1, .allow),
      ("arg0 == 1; return 5", 2, .errno(5)), ("arg0 == 1;", 1, .allow),
      ("arg0 == 1; return 5; more", 2, .errno(5)), ("arg0 == 1; return", 2, nil),
      ("arg0 != 1", 1, nil), ("arg0 < 2", 1, .allow), ("arg0 < 2", 2, nil),
      ("arg0 <= 2", 2, .allow), ("arg0 > 2", 2, nil), ("arg0 >= 2", 2, .allow),
      ("arg0 & 6", 4, .allow), ("arg0 & 6", 1, nil), ("arg0 & 0", .max, nil),
      ("arg0 in 6", 4, .allow), ("arg0 in 6", 5, nil), ("arg0 in 6", 0, .allow),
      ("arg0 == -1", 0xffff_ffff, nil), ("arg0 == -1", .max, .allow),
      ("arg0 == AT_FDCWD", 0xffff_ff9c, .allow), ("arg0 == AT_FDCWD", 0x1_ffff_ff9c, .allow),
      ("arg0 == AT_FDCWD", 0xffff_ffff_ffff_ff9c, .allow), ("arg0 == AT_FDCWD", 0x9c, nil),
      ("arg0 == (AT_FDCWD)", 0xffff_ff9c, .allow), ("arg0 == ((AT_FDCWD))", .max - 99, .allow),
      ("arg0 == AT_FDCWD|", 0xffff_ff9c, .allow), ("arg0 == ~AT_FDCWD", 0xffff_ffff_0000_0063, nil),
      ("arg0 == 0|AT_FDCWD", 0xffff_ff9c, nil), ("arg0 == (0|AT_FDCWD)", .max - 99, .allow),
      ("arg0 == ~(AT_FDCWD)", 0x63, .allow), ("arg0 == ~(AT_FDCWD)", 0xf_0000_0063, nil),
      ("arg0 == 1||arg0 == 3", 3, .allow), ("arg0 > 1&&arg0 < 3", 2, .allow),
      ("arg0 > 1&&arg0 < 3", 3, nil), ("arg0 < 9223372036854775808", 1 << 63, nil),
      ("{ arg0 == 0, arg0 == 1; return 5, trap }", 0, .allow),
      ("{ arg0 == 0, arg0 == 1; return 5, trap }", 1, .errno(5)),
      ("{ arg0 == 0, arg0 == 1; return 5, trap }", 2, .trap),
      ("{ arg0 == 0, arg0 == 1; return 5 }", 2, nil),
    ] as [(String, UInt64, Action?)])
  func filters(_ rule: String, _ argument: UInt64, _ expected: Action?) throws {
    #expect(try action(rule, [argument]) == expected)
  }

  @Test(arguments: [
    ("01", "1:7: invalid atom '01'"), ("0x1", "1:7: invalid atom '0x1'"),
    ("2", "1:7: invalid atom '2'"), ("0", "1:7: invalid atom '0'"),
    ("return1", "1:7: invalid action 'return1': return N has a blank before the number"),
    ("return(1)", "1:7: invalid action 'return(1)': return N has a blank before the number"),
    ("return -1", "1:14: invalid errno value '-1'"),
    ("return X", "1:14: trailing garbage after constant: 'X'; invalid errno value 'X'"),
    ("arg0==0", "1:7: invalid atom 'arg0==0'"), ("arg0 == 1 | 2", "1:17: extra token '|'"),
    ("arg0\t==\t1", "1:7: invalid atom 'arg0 == 1'"),
    ("arg0 == 1 ||", "1:19: empty atom"), ("&& arg0 == 1", "1:7: empty atom"),
    ("arg0 == 1; ;", "1:17: invalid action '' after ';'"), ("", "1:5: empty policy line"),
    ("arg6 == 1", "1:7: invalid argument index 'arg6': arg0 to arg5"),
    ("arg-1 == 1", "1:7: invalid argument index 'arg-1': arg0 to arg5"),
    ("foo == 1", "1:7: invalid argument token 'foo'"),
    ("arg0 = 1", "1:12: invalid operator '='"),
    (
      "arg1 == LOOP_GET_STATUS65",
      "1:15: trailing garbage after constant: 'LOOP_GET_STATUS65'; "
        + "invalid constant 'LOOP_GET_STATUS65'"
    ),
    (
      "arg0 == 1; trap",
      "1:17: invalid action 'trap' after ';': write { arg0 == 1, trap } for what happens otherwise"
    ),
    ("arg0 == 1; 1", "1:17: invalid action '1' after ';'"),
    ("{ 1, arg0 == 1 }", "1:12: never reached: 'arg0 == 1'"), ("{ 1", "1:7: unclosed '{'"),
  ])
  func badRules(_ rule: String, _ expected: String) {
    #expect(mistakes("read: \(rule)") == [expected])
  }

  @Test(
    arguments: [
      ("1", 1), ("0x10", 16), ("010", 8), ("-1", .max), ("+1", 1), ("~0", .max), ("(1)|2", 3),
      ("~(~1)", 1), ("1|", 1), ("PROT_READ|PROT_EXEC", 5), ("18446744073709551615", .max),
      ("-9223372036854775808", 1 << 63), ("((((1))))", 1), ("~(1|2)", ~3), ("O_PATH", 0x20_0000),
    ] as [(String, UInt64)])
  func values(_ text: String, _ expected: UInt64) throws {
    #expect(constantExpression(text, on: .x86_64) == expected)
  }

  @Test(arguments: [
    "", "|1", "()", "(1", "1)", "(1)2", "~~1", "(1)|", "08", "0x", "18446744073709551616", "1||2",
    "-9223372036854775809", "MS_", "0x1g", "- 1", "+", "-", "(1|)", "prot_read",
  ])
  func badValues(_ text: String) {
    #expect(constantExpression(text, on: .x86_64) == nil)
  }

  @Test func linesAreJoined() throws {
    let joined = try policy("# a comment \\\nread: 2\nread: arg0 == 1 \\\n  || arg0 == 2\\\n\n")
    #expect(joined.rules.count == 1 && joined.rules.first?.clauses.first?.condition.count == 2)
    #expect(joined.rules.first?.place.line == 3)
    #expect(try policy("read: return\\\n5").rules.first?.otherwise == .errno(5))
    // The message names the line that an editor shows.
    #expect(
      mistakes("read: arg0 == 1 \\\n  || arg0 == X\n") == [
        "2:14: trailing garbage after constant: 'X'; invalid constant 'X'"
      ])
    #expect(mistakes("read: 1\\") == ["1:7: line continues past the end of the file"])
    #expect(mistakes("read: 1\\\n") == ["1:7: line continues past the end of the file"])
  }

  @Test func namesAndNumbers() throws {
    let rules = try policy("  read :1\n 1: 1\n0x2:1\n").rules
    #expect(rules.map(\.call.name) == ["read", "write", "open"])
    #expect(rules.map(\.call.number) == [0, 1, 2])
    #expect(mistakes("Read: 1") == ["1:1: nonexistent syscall 'Read'"])
    #expect(mistakes("0x40000000: 1") == ["1:1: nonexistent syscall '0x40000000'"])
    #expect(mistakes("-1: 1") == ["1:1: nonexistent syscall '-1'"])
    #expect(mistakes("read 1") == ["1:7: malformed policy line, missing ':'"])
    #expect(mistakes(": 1") == ["1:1: empty syscall name"])
    #expect(
      mistakes("read: 1\n\n0: 1\n") == [
        "3:1: syscall 'read' redefined here", "1:1: previous definition here",
      ])
  }

  @Test func groupsAndArchitectures() throws {
    let text =
      "{read, write[arch=arm,x86_64;note=a]}: 1\nopenat[arch=arm]: 1\nno_such[arch=arm]: 1\n"
    #expect(try policy(text).rules.map(\.call.name) == ["read", "write"])
    #expect(mistakes(text, on: .arm) == ["3:1: nonexistent syscall 'no_such'"])
    #expect(mistakes("{read, foo}: 1") == ["1:8: nonexistent syscall 'foo'"])
    #expect(mistakes("read[arch=arm;arch=x86]: 1") == ["1:15: metadata 'arch' redefined here"])
    #expect(
      mistakes("read: 1\n{write, open[arch=arm, foo]}: 1") == [
        "2:24: unknown architecture 'foo': x86_64, i386, aarch64, arm, riscv64"
      ])
    #expect(try policy("read[arch=loong64]: 1\nwrite[arch=amd64]: 1").rules.count == 1)
    #expect(mistakes("read[arch=x86_64,]: 1").count == 1)
    #expect(mistakes("read[arch]: 1") == ["1:6: invalid metadata 'arch'"])
    #expect(mistakes("read[arch=arm: 1") == ["1:5: unclosed '['"])
  }

  @Test func compileToolDialect() throws {
    func action(_ text: String, _ argument: UInt64) throws -> Action? {
      try policy(text, dialect: .compileTool).decision(
        CallData(number: 0, architecture: 0, arguments: [argument])
      ).action
    }
    #expect(try action("read: arg0 == 1; return 5", 1) == .errno(5))
    #expect(try action("read: arg0 == 1; return 5", 2) == nil)
    #expect(try action("read:arg0==1|2;trap\r", 3) == .trap)
    #expect(try action("read: arg0 in 1 | 2", 3) == .allow)
    #expect(try action("read: arg0 == 1; return 5\nread: allow", 2) == .allow)
    #expect(try action("read: 0x1", 2) == .allow)
    #expect(try action("read: arg0 == 08", 8) == .allow)
    let again = mistakes("read: 1\nread: arg0 == 1", dialect: .compileTool)
    #expect(again.first == "2:1: syscall 'read' redefined here")
    #expect(mistakes("read: return", dialect: .compileTool).count == 1)
    #expect(mistakes("read: return 1|2", dialect: .compileTool).count == 1)
  }

  @Test func statements() throws {
    #expect(try policy("@default trap\n").defaultAction == .trap)
    #expect(mistakes("@default allow").count == 1)
    #expect(mistakes("@default trap\n@default trap").count == 1)
    #expect(mistakes("@denylist") == ["1:1: invalid statement '@denylist'"])
    let files = ["./f": "# counts\nread: 7\nwrite:8\nno_such: 1\n"]
    let counted = try policy("@frequency ./f\nread: 1", files: files)
    #expect(counted.frequencies == [0: 7, 1: 8])
    #expect(
      counted.warnings.map(\.description) == ["compile_file: ./f(4): nonexistent syscall 'no_such'"]
    )
    // The reference ignores the statement.
    #expect(try policy("@frequency ./missing\nread: 1").warnings.count == 1)
    #expect(mistakes("@frequency ./missing", dialect: .compileTool).count == 1)
  }

  @Test func messagesOfTheReference() throws {
    let text = "read: 1\nioctl: arg1 == LOOP_X\n"
    do throws(PolicyError) {
      _ = try parser(.x86_64, .minijail, ["/p/e2fsck.policy": text]).parse(file: "/p/e2fsck.policy")
      Issue.record("accepted")
    } catch {
      #expect(
        error.lines == [
          "trailing garbage after constant: 'LOOP_X'",
          "compile_atom: /p/e2fsck.policy(2): invalid constant 'LOOP_X'",
          "ioctl: arg1 == LOOP_X",
          "               ^",
          "could not allocate filter block",
          "compile_filter: compile_file() failed",
          "failed to compile seccomp filter BPF program in '/p/e2fsck.policy'",
        ])
    }
  }
}
