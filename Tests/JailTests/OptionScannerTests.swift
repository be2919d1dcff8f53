import Testing

@testable import Jail

@Suite struct OptionScannerTests {
  private func scan(_ words: [RawArgument]) throws(JailError) -> ([FoundOption], [RawArgument]) {
    var scanner = OptionScanner(words, program: "minijail0")
    var found: [FoundOption] = []
    while let option = try scanner.next() { found.append(option) }
    return (found, Array(scanner.rest))
  }

  private func failure(_ words: [RawArgument]) -> JailError? {
    do throws(JailError) { _ = try scan(words) } catch { return error }
    return nil
  }

  @Test func takesBundlesAndAttachedValuesApart() throws {
    let (found, rest) = try scan(["-vln", "-unobody", "-g", "audio", "prog", "-p"])
    #expect(found.map(\.spelling) == ["-v", "-l", "-n", "-u", "-g"])
    #expect(found.map(\.value) == [nil, nil, nil, "nobody", "audio"])
    #expect(rest == ["prog", "-p"])
  }

  @Test func optionalValuesCountOnlyWhenAttached() throws {
    let (found, rest) = try scan(["-t10M", "-Kslave", "--uts=name", "--uts", "-t", "10M"])
    #expect(found.map(\.value) == ["10M", "slave", "name", nil, nil])
    #expect(rest == ["10M"])
  }

  @Test func aPrefixThatFitsOneLongOptionIsEnough() throws {
    #expect(try scan(["--log=stderr"]).0.map(\.spelling) == ["--logging"])
    // `--mount` is a whole name, though `--mount-dev` starts so.
    #expect(try scan(["--mount", "a,/b,c"]).0.map(\.name) == [.mount])
    #expect(failure(["--env"])?.description.contains("ambiguous") == true)
  }

  @Test func twoHyphensEndTheOptions() throws {
    let (found, rest) = try scan(["-v", "--", "-p"])
    #expect(found.map(\.name) == [.mountNamespace])
    #expect(rest == ["-p"])
  }

  @Test(arguments: [
    (["-q"], "minijail0: invalid option -- 'q'"),
    (["--nothing"], "minijail0: unrecognized option '--nothing'"),
    (["-u"], "minijail0: option requires an argument -- 'u'"),
    (["--bind-mount"], "minijail0: option '--bind-mount' requires an argument"),
    (["--help=1"], "minijail0: option '--help' doesn't allow an argument"),
  ])
  func grammarMistakesShowTheHelp(_ words: [String], _ text: String) {
    let error = failure(words.map { RawArgument($0) })
    #expect(error == JailError(text, showsHelp: true))
  }

  @Test func aValueIsBytes() throws {
    let word = RawArgument(bytes: Array("-b/".utf8) + [0xff])
    #expect(try scan([word]).0.first?.value?.bytes == [UInt8(ascii: "/"), 0xff])
    #expect(failure([RawArgument(bytes: [0x2d, 0xff])])?.description.contains("'\\xff'") == true)
  }

  @Test func helpNamesEveryOptionThatThereIsAndNoOther() {
    let words = Set(
      Help.text(program: "x").split { !($0.isLetter || $0.isNumber || $0 == "-") }.map(String.init))
    for row in OptionRow.all {
      if let long = row.long { #expect(words.contains("--\(long)"), "--\(long)") }
      if let short = row.short {
        let isNamed =
          words.contains("-\(short)") || words.contains("-\(short)FILE")
          || words.contains("-\(short)MODE") || words.contains("-\(short)SIZE")
          || Help.text(program: "x").contains("      -\(short)[")
        #expect(isNamed, "-\(short)")
      }
    }
  }

  @Test func systemCallsAreListedByNumber() {
    let text = Help.systemCalls(program: "x")
    #expect(text.contains("\n  read [0]\n  write [1]\n"))
    #expect(text.contains("\n  prctl [157]\n"))
    #expect(text.contains("\n  set_mempolicy_home_node [450]\n"))
  }
}
