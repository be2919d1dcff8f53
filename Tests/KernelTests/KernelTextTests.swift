import DaemonStoreKernel
import Testing

@Suite struct KernelTextTests {
  @Test func readsDigitsAndNothingElse() {
    for (text, value) in [
      ("0", 0), ("007", 7), ("255", 255), ("256", nil), ("", nil), ("+1", nil), ("-1", nil),
      (" 1", nil), ("1 ", nil), ("1\u{301}", nil), ("\u{661}", nil), ("1a", nil), ("0x1", nil),
      ("99999999999999999999999", nil),
    ] as [(String, UInt8?)] {
      #expect(text.utf8.number() == value, "\(text)")
    }
    #expect(Array("fF".utf8).number(radix: 16, as: UInt8.self) == 255)
    #expect(Array("8".utf8).number(radix: 8, as: Int.self) == nil)
    #expect(Array("9223372036854775807".utf8).number() == Int.max)
    #expect(Array("9223372036854775808".utf8).number(as: Int.self) == nil)
  }

  @Test func findsFieldsByTheirWholeName() {
    let text = Array("Name:\tx\nUid\u{301}:\t9\nUidx:\t8\nUid:\t1\t2\nUid:\t3\n".utf8)
    #expect(text.field("Uid").map { Array($0) } == Array("1\t2".utf8))
    #expect(text.field("Gid") == nil && text.field("Uid\u{301}") != nil)
    #expect(Array("CapEff:\t00000000000000ff".utf8).field("CapEff")?.number(radix: 16) == 255)
  }

  @Test func comparesTheEndsOfNamesByBytes() {
    #expect(Array("a.slice".utf8).ends(with: ".slice") && Array(".slice".utf8).ends(with: ".slice"))
    #expect(!Array("slice".utf8).ends(with: ".slice"))
    #expect(!Array("a.slice\u{301}".utf8).ends(with: ".slice"))
    #expect(!Array("\u{212a}".utf8).equals("K") && Array("K".utf8).equals("K"))
    #expect(Array("ab".utf8).begins(with: "a") && !Array("a\u{301}".utf8).equals("a"))
  }
}
