import DaemonStoreKernel
import Testing

@Suite struct ProcessStatTests {
  private func parse(_ text: String) -> ProcessStat? { ProcessStat(parsing: Array(text.utf8)) }

  private let rest = "0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0"

  @Test func tellsKernelThreadsAndTerminals() throws {
    let daemon = try #require(parse("12 (a) b (c)) S 1 12 12 0 -1 4194560 \(rest)\n"))
    #expect(!daemon.isKernelThread && !daemon.hasTerminal)
    #expect(daemon.parent == 1 && daemon.startTime == 4711 && !daemon.hasEnded)
    let shell = try #require(parse("12 (sh) S 1 12 12 34816 -1 4194560 \(rest)\n"))
    #expect(shell.hasTerminal)
    let thread = try #require(parse("2 (kthreadd) S 0 0 0 0 -1 2129984 \(rest)\n"))
    #expect(thread.isKernelThread)
  }

  /// A combining mark behind the parenthesis does not hide it: the name ends where the last one is.
  @Test func namesAreBytes() throws {
    let stat = try #require(parse("1 (a)\u{301}) S 1 1 1 7 1 2097152 \(rest)"))
    #expect(stat.hasTerminal && stat.isKernelThread)
  }

  @Test(arguments: [
    "", "12 (a", "12 (a) S 1 12", "12 (a) S 1 12 12 x -1 1 0 0 0 0 0 0 0 0 20 0 1 0 4711",
    "12 (a) S 1 12 12 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0",
    "12 (a) S 99999999999 12 12 0 -1 1 0 0 0 0 0 0 0 0 20 0 1 0 4711",
  ])
  func refusesWhatIsNoSuchText(text: String) {
    #expect(parse(text) == nil)
  }
}
