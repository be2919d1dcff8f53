import Seccomp
import Testing

/// Whatever a file holds: an answer, soon.
@Suite(.timeLimit(.minutes(2))) struct BadInputTests {
  private static let megabytes = 10 << 20

  @Test func longLines() {
    let filler = [UInt8](repeating: UInt8(ascii: "a"), count: Self.megabytes)
    #expect(mistakes(filler) == ["1:1: line is too long: 10485760 bytes"])
    let atoms = Array(String(repeating: "arg0 == 1 || ", count: 800_000).utf8)
    #expect(mistakes(Array("read: ".utf8) + atoms) == ["1:1: line is too long: 10400005 bytes"])
    #expect(mistakes([UInt8(ascii: "#")] + filler) == [])
    #expect(mistakes([UInt8](repeating: 0x0a, count: Self.megabytes / 10)) == [])
    let joined = Array(String(repeating: "\\\n", count: Self.megabytes / 20).utf8)
    #expect(mistakes(joined) == [])  // all blank
    #expect(mistakes([UInt8](repeating: 0x20, count: 20 << 20)).count == 1)
  }

  @Test func strangeBytes() {
    #expect(mistakes(Array("read: 1\0".utf8)) == ["1:8: NUL byte"])
    #expect(
      mistakes([0xff, 0xfe] + Array(": 1".utf8)) == ["1:1: nonexistent syscall '\u{fffd}\u{fffd}'"])
    #expect(mistakes(Array("read: 1\r\n".utf8)) == ["1:7: invalid atom '1\\x0d'"])
    #expect(mistakes(Array("\u{1b}m: 1".utf8)) == ["1:1: nonexistent syscall '\\x1bm'"])
    #expect(mistakes([0x23, 0xff, 0x0a]) == [])
  }

  @Test func deepNesting() {
    let deep = String(repeating: "(", count: 100_000)
    #expect(mistakes("read: arg0 == \(deep)1").count == 1)
    #expect(mistakes("read: arg0 == \(String(repeating: "~(", count: 50_000))").count == 1)
    #expect(mistakes("read: \(String(repeating: "{", count: 100_000))").count == 1)
    #expect(mistakes("\(String(repeating: "{", count: 100_000)): 1").count == 1)
    #expect(
      mistakes(
        "read: arg0 == \(String(repeating: "(", count: 64))1\(String(repeating: ")", count: 64))")
        == [])
  }

  @Test func manyRules() throws {
    let same = String(repeating: "read: 1\n", count: 100_000)
    #expect(mistakes(same).count <= 1001)
    var text = ""
    for number in 0..<100_000 { text += "\(number * 2): 1\n" }
    let policy = try policy(text)
    #expect(throws: CompileError.self) { try Compiler().compile(policy) }
    #expect(throws: CompileError.self) { try Compiler().startupFilter(for: policy) }
    // All of them neighbours: one range.
    text = ""
    for number in 0..<100_000 { text += "\(number): 1\n" }
    #expect(try Compiler().compile(try self.policy(text)).instructions.count == 6)
  }

  private func policy(_ text: String) throws(PolicyError) -> Policy {
    try parser(.x86_64, .minijail, [:]).parse(Array(text.utf8), name: "many")
  }

  @Test func manyComparisons() throws {
    // Against one argument: a search tree of its own.
    let values = (0..<1500).map { "arg1 == \($0 * 7 + 3)" }.joined(separator: " || ")
    let program = try Compiler().compile(try policy("ioctl: \(values)"))
    #expect(program.action("ioctl", 0, 7 * 1499 + 3) == .allow)
    #expect(program.action("ioctl", 0, 7 * 1499 + 4) == .killThread)
    #expect(
      program.run(
        CallData(number: 16, architecture: 0xc000_003e, arguments: [0, 3])
      ).steps < 24)
    // Masks of every pair of bits: too many remainders for shared loads.
    let masks = (0..<64).map {
      "arg\($0 % 5) & \(1 << UInt64($0 % 31)) && arg5 & \(2 << UInt64($0 % 29))"
    }
    let masked = try policy("ioctl: \(masks.joined(separator: " || "))")
    let large = try Compiler().compile(masked)
    var random = RandomPolicies(seed: 3, architecture: .x86_64)
    for call in random.calls(for: masked, count: 2000) {
      try #require(large.run(call).code == Compiler().code(for: call, masked), "\(call)")
    }
    let endless = (0..<3000).map { "arg0 == \($0 * 7) && arg1 == \($0 * 5)" }
    #expect(throws: CompileError.self) {
      try Compiler().compile(try policy("ioctl: \(endless.joined(separator: " || "))"))
    }
  }

  @Test func manyClauses() throws {
    let lines = (0..<500).map { "read: arg0 == \($0); return \($0 + 1)\n" }.joined()
    let policy = try parser(.x86_64, .compileTool, [:]).parse(Array(lines.utf8), name: "many")
    let program = try Compiler().compile(policy)
    #expect(program.action("read", 499) == .errno(500))
    #expect(program.action("read", 500) == .killThread)
  }
}

/// Texts made of the language's own pieces, and of noise.
@Suite(.timeLimit(.minutes(2))) struct FuzzTests {
  private static let pieces = [
    "read", "write", ": ", ":", "arg0", "arg5", " == ", " in ", " & ", "&&", "||", "1", "0x", "~",
    "(", ")", "{", "}", "[arch=", "]", ",", ";", "return ", "return", "allow", "trap", "\n", "\\\n",
    "#", "@include ./f", "@default ", "@frequency ./f", "PROT_READ", "|", " ", "\t", "\r", "-1",
    "18446744073709551615", "99999999999999999999", "\u{0}", "\u{fffd}", "ioctl: arg1 == 1", "=",
  ]

  @Test(arguments: Dialect.allCases)
  func whatIsAcceptedPrintsBack(_ dialect: Dialect) throws {
    var accepted = 0
    for seed in 1...UInt64(4_000) {
      var numbers = Numbers(seed: seed)
      var bytes: [UInt8] = []
      if seed % 2 == 0 { bytes += Array("read: arg0 == 1".utf8) }
      for _ in 0..<Int.random(in: 0..<14, using: &numbers) {
        bytes += Array(Self.pieces[Int.random(in: 0..<Self.pieces.count, using: &numbers)].utf8)
        if Int.random(in: 0..<20, using: &numbers) == 0, !bytes.isEmpty {
          bytes[Int.random(in: 0..<bytes.count, using: &numbers)] = UInt8.random(
            in: 0...255, using: &numbers)
        }
      }
      let parser = parser(.x86_64, dialect, ["./f": "write: 1", "f": "x: y"])
      guard let policy = try? parser.parse(bytes, name: "fuzz") else { continue }
      accepted += 1
      let text = policy.text(dialect)
      let again = try parser.parse(Array(text.utf8), name: "again")
      try #require(again.text(dialect) == text, "seed \(seed)")
      var random = RandomPolicies(seed: seed, architecture: .x86_64)
      let program = try Compiler().compile(policy)
      for call in random.calls(for: policy, count: 20) {
        try #require(program.run(call).code == Compiler().code(for: call, again), "seed \(seed)")
      }
    }
    #expect(accepted > 200, "\(accepted)")
  }
}
