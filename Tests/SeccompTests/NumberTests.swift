import Seccomp
import Testing

/// Numbers, masks and comparisons, in each dialect as its reference documents them.
@Suite struct NumberTests {
  private func action(
    _ rule: String, _ dialect: Dialect, _ argument: UInt64 = 0,
    on architecture: Architecture = .x86_64
  ) throws -> Action? {
    let number = try #require(architecture.number(ofCall: "read"))
    return try policy("read: \(rule)", on: architecture, dialect: dialect).decision(
      CallData(number: number, architecture: 0, arguments: [argument])
    ).action
  }

  /// The value that `arg0 == TEXT` compares with; nil when the text is refused.
  private func value(
    _ text: String, _ dialect: Dialect, on architecture: Architecture = .x86_64
  ) throws -> UInt64? {
    do throws(PolicyError) {
      let rule = try policy("read: arg0 == \(text)", on: architecture, dialect: dialect).rules.first
      return rule?.clauses.first?.condition.first?.first?.value.bits
    } catch {
      return nil
    }
  }

  /// A text, and its value in -S and in the compile tool.
  static let readings: [(String, UInt64?, UInt64?)] = [
    ("0", 0, 0), ("00", 0, 0), ("000", 0, 0), ("-0", 0, 0), ("1", 1, 1), ("9", 9, 9),
    // A leading zero.
    ("010", 8, 8), ("010777", 0o10777, 0o10777), ("0600", 0o600, 0o600), ("06000", 3072, 3072),
    ("0777", 511, 511), ("0017", 15, 15), ("-010", 0 &- 8, 0 &- 8), ("-0777", 0 &- 511, 0 &- 511),
    ("01777777777777777777777", .max, .max), ("02000000000000000000000", nil, nil),
    // No octal digit behind the zero: decimal to the compile tool, no number to -S.
    ("08", nil, 8), ("09", nil, 9), ("-08", nil, 0 &- 8), ("089", nil, 89), ("0900", nil, 900),
    // An octal number that goes on with another digit is none to either.
    ("018", nil, nil), ("0079", nil, nil), ("07778", nil, nil), ("0o10", nil, nil),
    ("0b1", nil, nil), ("0_1", nil, nil), ("010u", nil, nil), ("1L", nil, nil),
    // Hexadecimal.
    ("0x10", 16, 16), ("0X1f", 31, 31), ("0xFf", 255, 255), ("-0x1", .max, .max), ("0x", nil, nil),
    ("0xg", nil, nil), ("0x010", 16, 16), ("00x1", nil, nil), ("ff", nil, nil),
    ("0xffffffffffffffff", .max, .max), ("0x10000000000000000", nil, nil),
    // Signs.
    ("-1", .max, .max), ("+1", 1, nil), ("+010", 8, nil), ("--1", nil, nil), ("-+1", nil, nil),
    ("-", nil, nil), ("-9223372036854775808", 1 << 63, 1 << 63), ("-9223372036854775809", nil, nil),
    ("18446744073709551615", .max, .max), ("18446744073709551616", nil, nil),
    // Bars, complements, parentheses.
    ("1|2", 3, 3), ("010|02", 10, 10), ("S_IFIFO|0777", 0o10777, 0o10777), ("08|1", nil, 9),
    ("1|", 1, nil), ("|1", nil, nil), ("1||2", nil, nil), ("(1)|", nil, nil), ("~0", .max, .max),
    ("~1|2", ~1, ~1), ("~(1|2)", ~3, ~3), ("~010", ~8, ~8), ("~07777", ~4095, ~4095),
    ("~-1", 0, 0), ("~~1", nil, nil), ("~(~1)", 1, 1), ("~", nil, nil), ("()", nil, nil),
    ("((010))", 8, 8), ("(1", nil, nil), ("1)", nil, nil), ("(1)2", nil, nil),
    ("1 | 2", nil, 3), ("~ 1", nil, ~1), ("( 1 )", nil, 1), ("1\u{301}", nil, nil),
    ("0\u{661}", nil, nil),
  ]

  @Test(arguments: readings)
  func readsNumbersAsTheReference(_ text: String, _ minijail: UInt64?, _ tool: UInt64?) throws {
    #expect(try value(text, .minijail) == minijail)
    #expect(try value(text, .compileTool) == tool)
    // Options and arguments on command lines are read as in -S.
    #expect(constantExpression(text, on: .x86_64) == minijail)
  }

  /// On a machine of 32 bits: a text and its value, the same in both dialects.
  @Test(
    arguments: [
      ("4294967295", 0xffff_ffff), ("4294967296", nil), ("0x100000000", nil), ("-1", 0xffff_ffff),
      ("-2147483648", 0x8000_0000), ("-2147483649", nil), ("-0x80000000", 0x8000_0000),
      ("037777777777", 0xffff_ffff), ("040000000000", nil), ("~0", 0xffff_ffff), ("~1", ~1),
      ("~0x100000000", nil), ("~(1|0x100000000)", nil), ("1|0x100000000", nil),
      ("~010", 0xffff_fff7), ("~-1", 0), ("18446744073709551615", nil),
      ("0xffffffff80000000", nil), ("AT_FDCWD", 0xffff_ff9c), ("~AT_FDCWD", 0x63),
    ] as [(String, UInt32?)])
  func readsNumbersOf32Bits(_ text: String, _ expected: UInt32?) throws {
    for architecture in [Architecture.i386, .arm] {
      for dialect in [Dialect.minijail, .compileTool] {
        #expect(try value(text, dialect, on: architecture) == expected.map(UInt64.init))
      }
    }
  }

  /// What `return TEXT` fails with in -S and in the compile tool; nil when it is refused.
  @Test(
    arguments: [
      ("0", 0, 0), ("1", 1, 1), ("010", 8, 8), ("013", 11, 11), ("0x10", 16, 16), ("08", nil, 8),
      ("EPERM", 1, 1), ("4095", 4095, 4095), ("4096", 4096, 4096), ("65536", 0, 0),
      ("070000", 0o70000, 0o70000), ("70000", 4464, 4464), ("-1", nil, nil), ("-010", nil, nil),
      ("~0", nil, nil), ("1|2", 3, nil), ("(1)", 1, nil), ("2147483647", 0xffff, 0xffff),
      ("2147483648", nil, nil), ("0x100000001", nil, nil), ("+1", 1, nil), ("018", nil, nil),
    ] as [(String, UInt16?, UInt16?)])
  func readsErrorNumbers(_ text: String, _ minijail: UInt16?, _ tool: UInt16?) throws {
    for (dialect, expected) in [(Dialect.minijail, minijail), (.compileTool, tool)] {
      var result: UInt16?
      do throws(PolicyError) {
        let parsed = try policy("read: return \(text)", dialect: dialect)
        if case .errno(let number)? = parsed.rules.first?.otherwise { result = number }
      } catch {}
      #expect(result == expected, "\(dialect)")
    }
  }

  /// A condition, an argument, and whether it holds: the same in both dialects.
  @Test(
    arguments: [
      // Octal in each operator.
      ("== 010", 8, true), ("== 010", 10, false), ("!= 010", 10, true), ("< 010", 8, false),
      ("<= 010", 9, false), ("> 010", 9, true), (">= 010", 8, true), ("& 06000", 0o4000, true),
      ("& 06000", 0o777, false), ("& 06000", 0x1000, false), ("in 010777", 0o10644, true),
      ("in 010777", 0o20000, false), ("in 010777", 0o20644, false), ("in 010777", 0, true),
      // Unsigned, over 64 bits.
      ("== -1", .max, true), ("== -1", 0xffff_ffff, false), ("> -1", .max, false),
      ("< -1", 0, true), ("< 0x8000000000000000", 1, true), ("> 0x7fffffff", 0x8000_0000, true),
      ("> 0", 1 << 63, true), ("== 0x100000000", 1 << 32, true), ("== 0x100000000", 0, false),
      ("<= 0xffffffff", 1 << 32, false), ("> 0xffffffff", 1 << 32, true),
      (">= 0x100000001", 1 << 32, false), (">= 0x100000001", 0x2_0000_0000, true),
      // Masks wider than 32 bits.
      ("& 0", .max, false), ("& 0x100000000", 1 << 32, true), ("& 0x100000000", 0xffff_ffff, false),
      ("& -1", 1 << 63, true), ("in 0xffffffff", 1 << 32, false), ("in 0", 0, true),
      ("in 0", 1 << 32, false), ("in ~1", .max - 1, true), ("in ~1", 1, false),
      ("in -1", .max, true),
      ("in ~PROT_EXEC", 3, true), ("in ~PROT_EXEC", 4, false), ("== ~010", ~8, true),
      ("== ~010", 0xffff_fff7, false),
    ] as [(String, UInt64, Bool)])
  func comparesAsTheReference(_ condition: String, _ argument: UInt64, _ holds: Bool) throws {
    let expected: Action? = holds ? .allow : nil
    for dialect in [Dialect.minijail, .compileTool] {
      #expect(try action("arg0 \(condition)", dialect, argument) == expected)
      let compiled = try Compiler().compile(
        policy("read: arg0 \(condition)", dialect: dialect))
      let result = compiled.action("read", argument)
      #expect((result == .allow) == holds, "the program: \(condition) of \(argument)")
    }
  }

  @Test func readsIndexesAsDecimal() throws {
    for dialect in [Dialect.minijail, .compileTool] {
      #expect(try action("arg00 == 1", dialect, 1) == .allow)
      for index in ["arg6", "arg08", "arg010", "arg0x1", "arg18446744073709551616"] {
        #expect(!mistakes("read: \(index) == 1", dialect: dialect).isEmpty, "\(index)")
      }
    }
  }

  /// `1` is an action in any notation to the compile tool, and only as `1` to -S.
  @Test func readsOneAsAllow() throws {
    for one in ["1", "01", "001", "0x1"] {
      #expect(try action(one, .compileTool) == .allow)
      #expect(mistakes("read: \(one)").isEmpty == (one == "1"))
    }
    for other in ["0", "2", "010", "+1", "-1"] {
      #expect(!mistakes("read: \(other)", dialect: .compileTool).isEmpty, "\(other)")
    }
  }

  @Test func separatesTheOperatorInFromItsValue() throws {
    #expect(try action("arg0 in ~1", .compileTool, 2) == .allow)
    #expect(try action("arg0 in~1", .compileTool, 2) == .allow)
    #expect(try action("arg0 in(1)", .compileTool, 1) == .allow)
    #expect(!mistakes("read: arg0 in1", dialect: .compileTool).isEmpty)
    #expect(!mistakes("read: arg0 inPROT_EXEC", dialect: .compileTool).isEmpty)
  }

  @Test func namesCallsByNumber() throws {
    for dialect in [Dialect.minijail, .compileTool] {
      #expect(try policy("010: 1", dialect: dialect).rules.first?.call.number == 8)
      #expect(try policy("0x10: 1", dialect: dialect).rules.first?.call.number == 16)
    }
    #expect(!mistakes("08: 1").isEmpty)
  }
}
