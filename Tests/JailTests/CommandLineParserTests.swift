import Kernel
import Testing

@testable import Accounts
@testable import Jail

@Suite struct CommandLineParserTests {
  static let lookup = AccountLookup(
    user: { (name) throws(SystemError) in
      name == "biod" ? Account(name: "biod", user: 282, group: 283, home: "/") : nil
    },
    group: { (name) throws(SystemError) in name == "biod" ? 283 : name == "root" ? 0 : nil },
    groups: { (_, group) throws(SystemError) in [group, 500] },
    lastCapability: { 40 }, callerGroup: { 0 })

  static func parse(_ words: [String]) throws(JailError) -> Command {
    var parser = CommandLineParser(lookup: lookup)
    return try parser.parse(words.map { RawArgument($0) }, program: "minijail0")
  }

  @Test func accounts() throws {
    let configuration = try Self.parse(["-u", "biod", "-g", "biod", "-G", "/p"]).configuration
    #expect(configuration.user == .init(number: 282, name: "biod"))
    #expect(configuration.supplementaryGroups == [283, 500])
    #expect(try Self.parse(["/p"]).configuration.supplementaryGroups == nil)
    #expect(try Self.parse(["-u", "5", "/p"]).configuration.supplementaryGroups == [])
    #expect(try Self.parse(["-u", "5", "-y", "/p"]).configuration.supplementaryGroups == nil)
    #expect(try Self.parse(["-u", "5", "/p"]).warnings.count == 1)
    #expect(try Self.parse(["-u", "5", "-g", "5", "/p"]).warnings.isEmpty)
  }

  @Test func theProfileIsAListOfMountsAndANewRoot() throws {
    let configuration = try Self.parse(
      ["-v", "-Kslave", "--profile", "minimalistic-mountns", "-k", "tmpfs,/run,tmpfs", "/p"]
    ).configuration
    #expect(configuration.root == .pivotRoot("/var/empty"))
    #expect(configuration.mounts.map(\.target) == ["/", "/dev/log", "/run"])
    #expect(configuration.minimalDevices && configuration.freshProcesses)
    #expect(configuration.temporaryBytes == 64 << 20)
    #expect(configuration.propagation == .set(.slave))
  }

  @Test func propagationIsSlaveWithTheLetterAndElsePrivate() throws {
    #expect(try Self.parse(["-v", "/p"]).configuration.propagation == .set(.slave))
    #expect(try Self.parse(["-r", "/p"]).configuration.propagation == .set(.private))
    #expect(try Self.parse(["-v", "-K", "/p"]).configuration.propagation == .unchanged)
    #expect(try Self.parse(["-v", "-Kshared", "/p"]).configuration.propagation == .set(.shared))
  }

  @Test func aProgramThatIsProcessOneKeepsProcUnlessAsked() throws {
    #expect(try Self.parse(["-I", "/p"]).configuration.freshProcesses == false)
    #expect(try Self.parse(["-I", "-r", "/p"]).configuration.freshProcesses)
    #expect(try Self.parse(["-p", "/p"]).configuration.freshProcesses)
  }

  @Test func storesImplyANamespaceAndTakeUserDataOut() throws {
    let configuration = try Self.parse(["--daemon-store", "D", "--daemon-store=D", "/p"])
      .configuration
    #expect(configuration.daemonStores == ["D"])
    #expect(configuration.namespaces == .mount)
    #expect(configuration.removesUserData)
    #expect(try !Self.parse(["-v", "--daemon-store", "D", "/p"]).configuration.removesUserData)
  }

  @Test(arguments: [
    (["-u", "nobody-here", "/p"], "Bad user 'nobody-here'"),
    (["-u", "", "/p"], "Bad user ''"),
    (["-u", "-1", "/p"], "Bad user '-1'"),
    (["-u", "4294967295", "/p"], "Bad user"),
    (["-u", "99999999999", "/p"], "Bad user"),
    (["-u", "0", "/p"], "useless change to uid 0"),
    (["-g", "root", "/p"], "useless change to gid 0"),
    (["-u", "biod", "-u", "biod", "/p"], "-u provided multiple times"),
    (["-G", "-y", "/p"], "not compatible"),
    (["-y", "-G", "/p"], "not compatible"),
    (["-u", "5", "-G", "/p"], "without a user name"),
    (["--add-suppl-group", "5", "-y", "/p"], "--add-suppl-group"),
    (["-C", "/x", "-P", "/y", "/p"], "after -C"),
    (["-P", "/x", "--profile", "minimalistic-mountns", "/p"], "after -P"),
    (["--profile", "x", "/p"], "Unrecognized profile name 'x'"),
    (["--ambient", "/p"], "--ambient"),
    (["-b", "/etc", "/p"], "Bind mounts require"),
    (["-K", "/p"], "No need to set mount propagation"),
    (["-p", "-Kslave", "/p"], "No need to set mount propagation"),
    (["-v", "-Kfoo", "/p"], "Unrecognized mount propagation 'foo'"),
    (["-v", "-K", "-r", "/p"], "-r, -p or -d"),
    (["-v", "-Kshared", "-d", "/p"], "-r, -p or -d"),
    (["-v", "-K", "--daemon-store", "D", "/p"], "--daemon-store"),
    (["-v", "-Kshared", "--daemon-store", "D", "/p"], "--daemon-store"),
    (["-T", "other", "/p"], "'static' or 'dynamic'"),
    (["--logging", "file", "/p"], "--logger"),
    (["-p", "--no-new-sessions", "/p"], "setsid"),
    ([], "no program"),
  ])
  func conflicts(_ words: [String], _ fragment: String) {
    do throws(JailError) {
      let command = try Self.parse(words)
      Issue.record("accepted: \(command)")
    } catch {
      #expect(error.description.contains(fragment), "\(error)")
      #expect(error.status == 1)
    }
  }

  /// The order on the command line decides which mistake is reported.
  @Test func theFirstMistakeIsTheOneReported() {
    #expect(throws: JailError("Unrecognized profile name 'x'")) {
      try Self.parse(["--profile", "x", "-u", "0"])
    }
  }
}
