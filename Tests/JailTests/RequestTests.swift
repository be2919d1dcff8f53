import DaemonStoreKernel
import Testing

@testable import Jail

/// What a command line asks for, without a system that could be asked.
@Suite struct RequestTests {
  private func parser(_ words: [String]) -> CommandLineParser {
    CommandLineParser(words.map { RawArgument($0) }, program: "minijail0")
  }

  @Test func leavesNamesAndFilesAsTheyAreWritten() throws {
    var parser = parser([
      "-u", "nobody-here", "-g", "7", "--add-suppl-group", "absent", "-S", "/absent/policy", "-L",
      "-e/absent/net", "-V", "/absent/mnt", "--preserve-fd", "300", "-c", "cap_chown+e", "-m",
      "/absent/program", "-x",
    ])
    #expect(try parser.read() == nil)
    let request = parser.request
    #expect(
      request.lookUps == [
        .user(try AccountWord("nobody-here", "user")), .group(try AccountWord("7", "group")),
        .addedGroup(try AccountWord("absent", "group")),
        .namespaceFile("/absent/net", option: "-e"), .namespaceFile("/absent/mnt", option: "-V "),
        .descriptor(300), .capabilities([.chown], "cap_chown+e"),
      ])
    #expect(request.filterSource == .policy("/absent/policy") && request.logsViolations)
    #expect(request.configuration.filter == nil && request.configuration.user == nil)
    #expect(request.userMap == .some(nil) && request.groupMap == nil)
    #expect(request.words == ["/absent/program", "-x"])
    #expect(request.configuration.linkage == nil)
  }

  /// Bytes that are no text stay what they are.
  @Test func keepsBytes() throws {
    let name = RawArgument(bytes: [0x2f, 0xff, 0xcc, 0x81])
    var parser = CommandLineParser(
      ["-S", name, "-u", name, "--", name], program: "minijail0")
    #expect(try parser.read() == nil)
    #expect(parser.request.filterSource == .policy(FilePath(name)))
    #expect(parser.request.lookUps == [.user(try AccountWord(name, "user"))])
    #expect(parser.request.words == [name])
  }

  @Test func waitsForConfigurationFileAtItsPlace() throws {
    var parser = parser(["-t1M", "--config", "/absent", "-t2M", "-l", "/p"])
    #expect(try parser.read() == "/absent")
    #expect(parser.request.configuration.temporaryBytes == 1 << 20)
    try parser.take(Array("% minijail-config-file v0\nt = 3M\nu = x\n".utf8), of: "/absent")
    #expect(parser.request.configuration.temporaryBytes == 3 << 20)
    #expect(try parser.read() == nil)
    #expect(parser.request.configuration.temporaryBytes == 2 << 20)
    #expect(parser.request.configuration.namespaces.contains(.ipc))
    #expect(parser.request.lookUps == [.user(try AccountWord("x", "user"))])
  }

  @Test func readsNothingAfterHelp() throws {
    var parser = parser(["-h", "--config", "/absent", "--nonsense"])
    #expect(try parser.read() == nil)
    #expect(parser.request.action == .help)
  }

  /// Also where the one mistake shows in the words and the other one in a name.
  @Test(arguments: [
    (["-u", "nobody-here", "--profile", "x"], "Bad user 'nobody-here'"),
    (["--profile", "x", "-u", "nobody-here"], "Unrecognized profile name"),
    (["-g", "root", "--nonsense"], "useless change to gid 0"),
    (["-u", "nobody-here", "--config", "absent"], "Bad user 'nobody-here'"),
    (["-u", "nobody-here", "-h"], "Bad user 'nobody-here'"),
    (["-u", "nobody-here", "--ambient", "/p"], "Bad user 'nobody-here'"),
    (["-c", "63+e", "-C", "/x", "-P", "/y"], "this kernel knows capabilities 0 to 40"),
    (["-S", "absent", "-K", "/p"], "No need to set mount propagation"),
    (["-S", "absent"], "absent"), (["-G", "-S", "absent", "/p"], "absent"),
  ])
  func reportsFirstMistake(_ words: [String], _ fragment: String) {
    do throws(JailError) {
      let command = try CommandLineParserTests.parse(words)
      Issue.record("accepted: \(command)")
    } catch {
      let text = (error.details + [error.description]).joined(separator: "\n")
      #expect(text.contains(fragment), "\(text)")
    }
  }
}
