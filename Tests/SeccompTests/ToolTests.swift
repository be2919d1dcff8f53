import Seccomp
import Testing

@Suite struct ToolTests {
  private let text = """
    read: 1
    # A terminal.
    ioctl: arg1 == TCGETS || arg1 == TIOCGWINSZ

    {kill, mprotect}: arg2 in ~PROT_EXEC
    socket: arg0 == AF_UNIX; return EACCES
    ptrace: return 1
    mount: 1  # has its reason
    write: arg0 == 1 || arg0 == 0x1 || arg2 >= 0 || arg0 & 0
    """

  @Test(
    arguments: [
      ("ioctl", [1, 0x5401], "ioctl(1, 0x5401): allow, by test.policy(3)"),
      ("ioctl", [1, 2], "ioctl(1, 2): kill-thread (default), by test.policy(3)"),
      ("socket", [2], "socket(2): errno 13, by test.policy(6)"),
      ("open", [], "open(): kill-thread (default), no rule names it"),
    ] as [(String, [UInt64], String)])
  func explanations(_ name: String, _ arguments: [UInt64], _ expected: String) throws {
    let number = try #require(Architecture.x86_64.number(ofCall: name))
    let explanation = try Compiler().explain(
      policy(text), call: SystemCall(number: number, name: name), arguments: arguments)
    #expect(explanation.description.hasPrefix(expected + ", in "), "\(explanation)")
    #expect(explanation.steps > 3)
  }

  @Test func lint() throws {
    let commented = CommentedLines(Array(text.utf8))
    let findings = try policy(text).lint { commented.contains(line: $0.line) }
    #expect(
      findings.map(\.description) == [
        "test.policy(5): kill: dangerous: add a comment before it that says why it is needed",
        "test.policy(6): socket: dangerous: add a comment before it that says why it is needed",
        "test.policy(9): write: 'arg0 == 0x1' is there already",
        "test.policy(9): write: 'arg2 >= 0' always holds",
        "test.policy(9): write: 'arg0 & 0' never holds",
      ])
  }

  @Test func disassembly() throws {
    let program = try Compiler().compile(try policy("read: 1\nioctl: arg1 == TCGETS"))
    #expect(
      program.assembly(for: .x86_64) == """
         0: ld [4]  ; architecture
         1: jeq #0xc000003e, 2, 10  ; x86_64
         2: ld [0]  ; number
         3: jge #0x1, 4, 9  ; write
         4: jeq #0x10, 5, 10  ; ioctl
         5: ld [24]  ; arg1
         6: jeq #0x5401, 7, 10
         7: ld [28]  ; arg1, upper half
         8: jge #0x1, 10, 9
         9: ret #0x7fff0000  ; allow
        10: ret #0x0  ; kill-thread

        """)
  }

  @Test func rawPrograms() throws {
    let program = try Compiler().compile(try policy("read: 1"))
    let bytes = program.bytes
    #expect(try FilterProgram(bytes: bytes) == program)
    #expect(Array(bytes.prefix(8)) == [0x20, 0, 0, 0, 4, 0, 0, 0])
    let header = program.cHeader(name: "my-filter.1")
    #expect(header.contains("static const struct sock_fprog my_filter_1 = {"))
    #expect(header.contains("  0x20, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00,\n"))
  }

  @Test(
    arguments: [
      ([], "the program is empty"),
      ([1, 2, 3], "3 bytes are no whole number of 8-byte instructions"),
      (
        [UInt8](repeating: 0, count: 8 * 4097),
        "the program has 4097 instructions; the kernel takes 4096"
      ),
      (
        [UInt8](repeating: 0, count: 8 * 65537),
        "the program has 65537 instructions; the kernel takes 4096"
      ),
      ([0x20, 0, 0, 0, 4, 0, 0, 0], "instruction 0: the last instruction is no return"),
      (
        [0x20, 0, 0, 0, 3, 0, 0, 0],
        "instruction 0: load from offset 3 of the 64 bytes that a filter sees"
      ),
      ([0xff, 0xff, 0, 0, 0, 0, 0, 0], "instruction 0: code 0xffff is not allowed in a filter"),
      (
        [0x15, 0, 0, 1, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0],
        "instruction 0: jump past the end of the program"
      ),
      (
        [0x60, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0],
        "instruction 0: memory cell 0 is read before it is written"
      ),
    ] as [([UInt8], String)])
  func badPrograms(_ bytes: [UInt8], _ expected: String) {
    do throws(ProgramError) {
      _ = try FilterProgram(bytes: bytes)
      Issue.record("accepted")
    } catch {
      #expect(error.description == expected)
    }
  }
}

@Suite struct CompilerTests {
  @Test func options() throws {
    let some = try policy("read: 1\nwrite: arg0 == 1\nopen: return 5\nclose: arg0 == 1; return 6\n")
    func action(_ name: String, _ change: (inout Compiler) -> Void) throws -> Action? {
      var compiler = Compiler()
      change(&compiler)
      return try compiler.compile(some).action(name, 2)
    }
    #expect(try action("write") { _ in } == .killThread)
    #expect(try action("write") { $0.killsProcess = true } == .killProcess)
    #expect(
      try action("write") {
        $0.killsProcess = true; $0.hasActionKillProcess = false
      } == .trap)
    #expect(try action("write") { $0.logs = true } == .log)
    #expect(try action("mount") { $0.logs = true } == .log)
    #expect(try action("open") { $0.logs = true } == .errno(5))
    #expect(try action("close") { $0.logs = true } == .errno(6))
    #expect(
      try action("mount") {
        $0.logs = true; $0.hasActionLog = false
      } == .trap)
    #expect(try action("sendto") { $0.allowsSyslog = true } == .allow)
    #expect(try action("mount") { $0.defaultAction = .errno(9) } == .errno(9))
  }

  @Test func foreignCallsAreKilled() throws {
    let program = try Compiler().compile(try policy("0: 1\n@default trap"))
    #expect(program.run(CallData(number: 0, architecture: 0x4000_0003)).action == .killThread)
    // x32: the same architecture, other numbers.
    #expect(program.run(CallData(number: 0x4000_0000, architecture: 0xc000_003e)).action == .trap)
  }

  @Test func emptyPolicyIsOneInstruction() throws {
    #expect(try Compiler().compile(try policy("")).instructions.count == 1)
  }

  @Test func equalRulesShareAndMerge() throws {
    let rule = "arg0 == 1 && arg1 == 2; return 7"
    let one = try Compiler().compile(try policy("read: \(rule)"))
    let four = try Compiler().compile(
      try policy("read: \(rule)\nwrite: \(rule)\nopen: \(rule)\nclose: \(rule)"))
    #expect(four.instructions.count == one.instructions.count)  // numbers 0 to 3
  }

  @Test func frequentCallsComeFirst() throws {
    var text = "@frequency ./f\n"
    for call in Architecture.x86_64.systemCalls where call.number % 3 == 0 {
      text += "\(call.name): 1\n"
    }
    let without = try Compiler().compile(try policy(String(text.dropFirst(15))))
    let mkdir = try #require(Architecture.x86_64.number(ofCall: "rmdir"))
    #expect(mkdir % 3 == 0)
    let files = ["./f": "rmdir: 100000\n"]
    let tuned = try Compiler().compile(try policy(text, files: files))
    let call = CallData(number: mkdir, architecture: 0xc000_003e)
    #expect(tuned.run(call).steps == 5)
    #expect(without.run(call).steps > 8)
  }
}
