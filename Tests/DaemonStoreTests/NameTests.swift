import DaemonStore
import Testing

@Suite struct NameTests {
  @Test func obfuscatedNamesAreFortyLowerCaseDigits() throws {
    let text = "0123456789abcdef0123456789abcdef01234567"
    #expect(try #require(ObfuscatedUsername(text)).description == text)
    #expect(
      try #require(ObfuscatedUsername(text)) < #require(ObfuscatedUsername("f" + text.dropFirst())))
  }

  @Test(arguments: [
    "", "0123456789abcdef0123456789abcdef0123456", "0123456789abcdef0123456789abcdef012345678",
    "0123456789ABCDEF0123456789abcdef01234567", "g123456789abcdef0123456789abcdef01234567",
    " 123456789abcdef0123456789abcdef01234567", "../../../../../../../../../../../../../x",
    "0123456789abcdef0123456789abcdef0123456\n", "0123456789abcdef0123456789abcdef0123456\0",
    "٠123456789abcdef0123456789abcdef0123456", "０123456789abcdef0123456789abcdef01234567",
  ])
  func everythingElseIsNoObfuscatedName(text: String) {
    #expect(ObfuscatedUsername(text) == nil)
  }

  @Test(arguments: [
    "a", "9", "A-b_c.d", "cryptohome", "0..", String(repeating: "x", count: 255),
  ])
  func storeNames(text: String) {
    #expect(StoreName(text)?.description == text)
  }

  @Test(arguments: [
    "", ".", "..", ".hidden", "-dash", "_under", "a/b", "/", "a b", "a\n", "a\0", "é", "e\u{301}a",
    "a\u{301}", "ａ", "a\u{202e}b", "a:b", "a\\b", "a*", String(repeating: "x", count: 256),
    "\u{FFFD}", "a\u{FFFD}",
  ])
  func hostileStoreNames(text: String) {
    #expect(StoreName(text) == nil)
  }

  @Test func storesAreInTheOrderOfTheirBytes() {
    let names = ["b", "a", "B", "a-", "a.", "a0", "aa", "10", "9"].compactMap { StoreName($0) }
    #expect(
      names.sorted().map(\.description) == ["10", "9", "B", "a", "a-", "a.", "a0", "aa", "b"])
  }
}
