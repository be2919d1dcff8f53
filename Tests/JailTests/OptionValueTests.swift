import DaemonStoreKernel
import Testing

@testable import Jail

@Suite struct OptionValueTests {
  private func error(_ body: () throws(JailError) -> Void) -> String? {
    do throws(JailError) { try body() } catch { return error.description }
    return nil
  }

  @Test(arguments: [
    ("/a", "/a", "/a", false), ("/a,/b", "/a", "/b", false), ("/a,,1", "/a", "/a", true),
    ("/a,/b,0", "/a", "/b", false), ("rel,/b", "rel", "/b", false),
  ])
  func binds(_ text: String, _ source: String, _ target: String, _ writable: Bool) throws {
    let expected = JailMount(
      source: "\(source)", target: "\(target)", kind: .bind(writable: writable))
    #expect(try OptionValues.bind(RawArgument(text)) == expected)
  }

  @Test(arguments: ["", ",/b", "/a,/b,2", "/a,/b,0,", "rel", "/a,b"])
  func badBinds(_ text: String) {
    #expect(error { () throws(JailError) in _ = try OptionValues.bind(RawArgument(text)) } != nil)
  }

  @Test func mounts() throws {
    #expect(
      try OptionValues.mount("tmpfs,/run,tmpfs,0xe").kind
        == .filesystem(type: "tmpfs", flags: .standard, data: "mode=0755,size=10M"))
    #expect(
      try OptionValues.mount("none,/x,tmpfs,,mode=755,uid=1").kind
        == .filesystem(type: "tmpfs", flags: .standard, data: "mode=755,uid=1"))
    #expect(
      try OptionValues.mount("/s,/s,none,MS_BIND|MS_REC").kind
        == .filesystem(type: "none", flags: [.bind, .recursive], data: ""))
  }

  @Test func pathsAreBytes() throws {
    // U+0301 after a comma or a slash; overlong C0 AF; a byte that begins nothing.
    let word = Array("/a/\u{301}x,/b\u{301},".utf8)
    let mount = try OptionValues.bind(RawArgument(bytes: word))
    #expect(mount.source == "/a/\u{301}x" && mount.target == "/b\u{301}")
    let bytes: [UInt8] = Array("/x".utf8) + [0xff, 0xc0, 0xaf]
    let raw = try OptionValues.bind(RawArgument(bytes: bytes + Array(",/y".utf8)))
    #expect(Array(raw.source.bytes) == bytes && raw.target == "/y")
    #expect(error { () throws(JailError) in _ = try OptionValues.bind("/a,\u{301}/b") } != nil)
  }

  @Test(arguments: ["", "a,/b", "a,b,c", ",/b,c", "a,/b,", "a,/b,c,MS_BIND,", "a,/b,c,MS_FOO"])
  func badMounts(_ text: String) {
    #expect(error { () throws(JailError) in _ = try OptionValues.mount(RawArgument(text)) } != nil)
  }

  @Test(
    arguments: [
      ("MS_BIND|MS_REC", 0x5000), ("0xe", 14), ("010", 8), ("10", 10), ("(MS_BIND)|1", 0x1001),
      ("~(~1)", 1), ("MS_SLAVE", 0x8_0000), ("-0", 0), ("+1", 1), ("~0", UInt64.max),
      ("18446744073709551615", UInt64.max), ("-1", UInt64.max),
    ] as [(String, UInt64)])
  func flagExpressions(_ text: String, _ value: UInt64) {
    #expect(MountFlags(expression: text)?.rawValue == value)
  }

  @Test(arguments: [
    "", "|1", "()", "(1", "1)", "(1)2", "~~1", "MS_BIND MS_REC", "08", "0x", "18446744073709551616",
    "-9223372036854775809", "MS_", "1||2", "(((((",
  ])
  func badFlagExpressions(_ text: String) {
    #expect(MountFlags(expression: text) == nil)
  }

  @Test func deepNestingIsRefusedInsteadOfFollowed() {
    let text = String(repeating: "(", count: 100_000)
    #expect(MountFlags(expression: text + "1" + String(repeating: ")", count: 100_000)) == nil)
  }

  @Test func sizes() throws {
    #expect(try OptionValues.size("10M") == 10 << 20)
    #expect(try OptionValues.size("1") == 1)
    #expect(try OptionValues.size("15E") == 15 << 60)
  }

  @Test(arguments: [
    "", "0", "K", "16E", "+1", "-1", " 1", "1k", "1.5M", "10MB", "99999999999999999999",
  ])
  func badSizes(_ text: String) {
    #expect(error { () throws(JailError) in _ = try OptionValues.size(RawArgument(text)) } != nil)
  }

  @Test(arguments: ["", ".x", "-x", "a/b", "..", "a b", "é", String(repeating: "a", count: 256)])
  func badStores(_ name: String) {
    #expect(error { () throws(JailError) in _ = try OptionValues.store(RawArgument(name)) } != nil)
  }

  private func capabilities(_ text: String) throws(JailError) -> CapabilitySet {
    let set = try CapabilitySet(optionText: RawArgument(text))
    try set.check(RawArgument(text), last: 40)
    return set
  }

  @Test(
    arguments: [
      ("cap_chown,cap_fowner+eip", 9), ("cap_chown+e", 1), ("cap_chown+ip", 0),
      ("cap_chown=ep cap_kill=e", 0x21), ("3000", 0x3000), ("10", 0x10), ("10+e", 0x400),
      ("0x5+e", 0x20), ("5,6+e", 0x60), ("e", 0xe), ("+e", 0xe), ("cap_chown=", 0), ("", 0),
      ("=", 0),
      (" ", 0), ("0", 0), ("CAP_CHOWN+e", 1),
    ] as [(String, UInt64)])
  func capabilityTexts(_ text: String, _ value: UInt64) throws {
    #expect(try capabilities(text).rawValue == value)
  }

  @Test(arguments: [
    "cap_chown", "chown=e", "cap_chown+x", "cap_chown=E", "a=e,b=e", "64+e", "-1", "63+e", "0x",
    "ffffffffffffffffff",
  ])
  func badCapabilityTexts(_ text: String) {
    #expect(error { () throws(JailError) in _ = try capabilities(text) } != nil)
  }
}
