import Glibc
import DaemonStoreKernel
import Testing

@testable import DaemonStoreAccounts
@testable import Jail

@Suite struct CommandLineParserTests {
  static let world = OutsideWorld(
    user: { (name) throws(SystemError) in
      name == "biod" ? Account(name: "biod", user: 282, group: 283, home: "/") : nil
    },
    group: { (name) throws(SystemError) in name == "biod" ? 283 : name == "root" ? 0 : nil },
    groups: { (_, group) throws(SystemError) in [group, 500] },
    lastCapability: { 40 }, callerUser: { 0 }, callerGroup: { 0 }, maySetGroups: { true },
    linkage: { (_) throws(JailError) in .dynamic }, probe: { (_) throws(SystemError) in },
    contents: { (path, _) throws(SystemError) in
      guard let text = files[path.description] else {
        throw SystemError(operation: "open", path: path.description, code: ENOENT)
      }
      return Array(text.utf8)
    }, isOpen: { $0 == 7 })

  /// What `--config` finds.
  static let files = [
    "store": """
    % minijail-config-file v0

    # The jail of a store daemon.
    u = biod
    ns-mount
    K = slave
    mount = \\
      tmpfs,/run,tmpfs,MS_NOSUID|MS_NODEV|MS_NOEXEC
    t = 5M
    """, "user": "% minijail-config-file v0\nu = biod\n",
    "nested": "% minijail-config-file v0\nconfig = store\n",
    "missing": "% minijail-config-file v0\n\nbind-mount\n",
    "unknown": "% minijail-config-file v0\nns-moun\n",
    "empty": "% minijail-config-file v0\nu =\n", "nokey": "% minijail-config-file v0\n= x\n",
    "header": "% minijail-config-file v1\nu = biod\n", "short": "% minijail-config-file v0",
    "continued": "% minijail-config-file v0\nu = biod\\\n",
  ]

  static func parse(_ words: [String]) throws(JailError) -> Command {
    try Command(
      reading: words.map { RawArgument($0) }, launcher: "minijail0", world: world)
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
    (["-u", "5", "-G", "/p"], "without setting a username"),
    (["--add-suppl-group", "5", "-y", "/p"], "--add-suppl-group"),
    (["-C", "/x", "-P", "/y", "/p"], "after -C"),
    (["-P", "/x", "--profile", "minimalistic-mountns", "/p"], "after -P"),
    (["--profile", "x", "/p"], "Unrecognized profile name 'x'"),
    (["--ambient", "/p"], "--ambient"),
    (["-b", "/etc", "/p"], "Bind mounts require"),
    (["-K", "/p"], "No need to set mount propagation"),
    (["-p", "-Kslave", "/p"], "No need to set mount propagation"),
    (["-v", "-Kfoo", "/p"], "Unrecognized mount propagation 'foo'"),
    (["-T", "other", "/p"], "'static' or 'dynamic'"),
    (["--logging", "file", "/p"], "--logger"),
    (["--no-fs-restrictions", "--fs-path-ro", "/x", "/p"], "--no-fs-restrictions"),
    (["--fs-path-ro", "x", "/p"], "absolute"),
    (["--landlock-abi", "-1", "/p"], "Bad Landlock ABI"),
    (["-B", "zz", "/p"], "Invalid securebit mask"),
    (["-m0 0", "/p"], "Bad id map"), (["-M0 0 0", "/p"], "Bad id map"),
    (["-m0 0 99999999999", "/p"], "Bad id map"),
    (["-R", "RLIMIT_FOO,1,2", "/p"], "Bad rlimit: 'RLIMIT_FOO'"),
    (["-R", "RLIMIT_CPU,1", "/p"], "type,soft,hard"), (["-R", "1,,2", "/p"], "type,soft,hard"),
    (["-R", "RLIMIT_CPU,1,x", "/p"], "'unlimited'"),
    (["-R", "RLIMIT_CPU,1,2", "-R", "0,1,2", "/p"], "limited twice"),
    (["--env-add", "X", "/p"], "NAME=value"), (["--env-add", "=x", "/p"], "NAME=value"),
    (["--preserve-fd", "x", "/p"], "Bad descriptor"),
    (["--explain=xml", "/p"], "'text' or 'json'"),
    (["--config", "absent", "/p"], "--config absent: open absent"),
    (["--config", "nested", "/p"], "nested(2): config"),
    (["--config", "missing", "/p"], "missing(3): bind-mount: a value is missing"),
    (["--config", "unknown", "/p"], "unknown(2): Unable to recognize 'ns-moun'"),
    (["--config", "empty", "/p"], "empty(2): u: a value is missing"),
    (["--config", "nokey", "/p"], "nokey(2)"), (["--config", "header", "/p"], "header(1)"),
    (["--config", "short", "/p"], "short(1)"),
    (["--config", "continued", "/p"], "continued(2)"),
    (["--config", "user", "-u", "5", "/p"], "-u provided multiple times"),
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

  /// What makes no sense is found by the plan, so that the library finds it too.
  @Test(arguments: [
    (["-v", "-Kshared", "-d", "/p"], "-r, -p or -d"),
    (["-v", "-K", "--daemon-store", "D", "/p"], "--daemon-store"),
    (["-v", "-Kshared", "--daemon-store", "D", "/p"], "--daemon-store"),
    (["-p", "--no-new-sessions", "/p"], "setsid"), (["-I", "--no-new-sessions", "/p"], "setsid"),
    (["-U", "--no-new-sessions", "/p"], "setsid"),
    (["-U", "--daemon-store", "D", "/p"], "needs a new root"),
  ])
  func senselessPlans(_ words: [String], _ fragment: String) throws {
    let configuration = try Self.parse(words).configuration
    do throws(JailError) {
      let plan = try JailPlan(configuration)
      Issue.record("planned: \(plan.stepDescriptions)")
    } catch {
      #expect(error.description.contains(fragment), "\(error)")
      #expect(error.status == 1)
    }
  }

  @Test func aConfigurationFileTakesEffectAtItsPlace() throws {
    let configuration = try Self.parse(["-t1M", "--config", "store", "-g", "5", "/p"])
      .configuration
    #expect(configuration.user?.number == 282)
    #expect(configuration.group?.number == 5)
    #expect(configuration.propagation == .set(.slave))
    #expect(configuration.mounts.map(\.target) == ["/run"])
    #expect(configuration.temporaryBytes == 5 << 20)
    #expect(
      try Self.parse(["--config", "store", "-t1M", "/p"]).configuration.temporaryBytes == 1 << 20)
  }

  @Test func aConfigurationFileIsWrittenAsItIsRead() throws {
    let command = try Self.parse([
      "-vl", "--config", "user", "--gen-config=F", "-u", "nobody-here", "-b", "what,ever,you,like",
      "-t5M", "-c", "9", "--fs-path-ro=/x", "-g0",
    ])
    let text = """
      % minijail-config-file v0

      ns-mount
      l
      u = biod
      u = nobody-here
      bind-mount = what,ever,you,like
      t = 5M
      c = 9
      fs-path-ro = /x
      g = 0

      """
    #expect(command.action == .writeConfiguration(Array(text.utf8), to: "F"))
    #expect(throws: JailError.self) { try Self.parse(["--gen-config=F", "--uts= x"]) }
    #expect(throws: JailError.self) { try Self.parse(["--gen-config=F", "-f", "a\nb"]) }
    #expect(throws: JailError.self) { try Self.parse(["--gen-config=F", "-c", "junk"]) }
    #expect(try Self.parse(["--gen-config=F", "-h"]).action == .help)
  }

  @Test func userNamespaces() throws {
    let plain = try Self.parse(["-U", "/p"]).configuration
    #expect(plain.namespaces == [.user, .process, .mount])
    #expect(plain.processNamespace == .withInit && plain.freshProcesses)
    #expect(plain.userMap == nil && plain.groupMap == nil)
    let mapped = try Self.parse(["-m", "-M", "-u", "biod", "/p"]).configuration
    #expect(mapped.userMap == [IDRange(inside: 282, outside: 0, count: 1)])
    // The group that is mapped is the one that the program becomes.
    #expect(mapped.groupMap == [IDRange(inside: 283, outside: 0, count: 1)])
    #expect(mapped.group?.number == 283)
    let ranges = try Self.parse(["-m0 1000 1,1 100000 65536", "/p"]).configuration
    #expect(
      ranges.userMap == [
        IDRange(inside: 0, outside: 1000, count: 1),
        IDRange(inside: 1, outside: 100000, count: 65536),
      ])
    #expect(try Self.parse(["-UI", "/p"]).configuration.freshProcesses == false)
  }

  @Test func aMountAfterANamespaceFileMakesNoNewNamespace() throws {
    let k = "none,/mnt,tmpfs"
    #expect(try Self.parse(["-V", "/ns", "-k", k, "/p"]).configuration.namespaces == [])
    #expect(try Self.parse(["-k", k, "-V", "/ns", "/p"]).configuration.namespaces == .mount)
    #expect(try Self.parse(["-V", "/ns", "-v", "/p"]).configuration.namespaces == .mount)
  }

  @Test func environmentDescriptorsAndPrivileges() throws {
    let configuration = try Self.parse([
      "--env-add", "A=1", "--env-reset", "--env-add", "B=2=3", "--preserve-fd", "7",
      "--preserve-fd", "8", "--preserve-fd=-1", "-B", "2f", "-R", "RLIMIT_NOFILE,0x10,unlimited",
      "/p",
    ]).configuration
    #expect(configuration.environment == [.reset, .set(name: "B", value: "2=3")])
    #expect(configuration.preservedDescriptors == [7])
    #expect(configuration.skippedSecureBits.rawValue == 0x2f)
    #expect(
      configuration.limits == [
        ResourceLimit(.openFiles, soft: 16, hard: .max)
      ])
    #expect(try Self.parse(["/p"]).configuration.noNewPrivileges)
    let bare = ["--no-default-runtime-environment", "/p"]
    #expect(try !Self.parse(bare).configuration.noNewPrivileges)
    #expect(try Self.parse(["-n"] + bare).configuration.noNewPrivileges)
  }

  @Test func anEnvironmentIsEditedInOrder() {
    let old: [RawArgument] = ["A=1", "AB=2", "C=3"]
    let edits: [EnvironmentEdit] = [.set(name: "A", value: "9"), .set(name: "D", value: "")]
    #expect(EnvironmentEdit.apply(edits, to: old) == ["A=9", "AB=2", "C=3", "D="])
    #expect(EnvironmentEdit.apply([.reset] + edits, to: old) == ["A=9", "D="])
  }

  @Test func rulesForFiles() throws {
    let rules = try Self.parse(["--fs-path-rw", "/a", "--fs-default-paths", "/p"]).configuration
      .fileAccess
    #expect(rules?.rules.first == .init("/a", .readAndWrite))
    #expect(rules?.rules.count == 11 && rules?.abi == 5)
    #expect(try Self.parse(["/p"]).configuration.fileAccess == nil)
    // The order does not matter: the rights are computed when all is known.
    let abi = try Self.parse(["--fs-path-rw", "/a", "--landlock-abi=3", "/p"]).configuration
    #expect(abi.fileAccess?.abi == 3)
    #expect(FileAccess.Kind.readAndWrite.rights(abi: 2).contains(.truncate) == false)
    #expect(FileAccess.Kind.readAndWrite.rights(abi: 3).contains(.truncate))
    #expect(FileAccess.Kind.advancedReadAndWrite.rights(abi: 1).contains(.refer) == false)

    let profile = ["--profile", "minimalistic-mountns", "-k", "tmpfs,/run,tmpfs", "/p"]
    let access = try Self.parse(profile).configuration.fileAccess
    let texts = access?.rules.prefix(4).map { "\($0.path) \($0.kind.rawValue)" }
    #expect(texts == ["/ rx", "/dev/log rx", "/run rx", "/run advanced-rw"])
    #expect(access?.rules.suffix(3).map(\.path) == ["/dev", "/proc", "/tmp"])
    #expect(access?.allowsExecution == true)
    let without = try Self.parse(["--no-fs-restrictions"] + profile).configuration
    #expect(without.fileAccess == nil)
  }

  @Test(arguments: [
    (["-v", "-b", "/run", "/p"], "whole /run"), (["-v", "-b", "/run/", "/p"], "whole /run"),
    (["-v", "-k", "/,/,none,MS_BIND|MS_REC", "/p"], "whole /run"),
    (["-v", "-b", "/run/daemon-store", "/p"], "every daemon's store"),
    (["-v", "-b", "/run//daemon-store-cache/", "/p"], "every daemon's store"),
    (["-v", "-b", "/run/daemon-store/x", "/p"], "without MS_REC"),
    (["-v", "-k", "/run/daemon-store/x,/run/daemon-store/x,none,MS_BIND", "/p"], "store x"),
    (["-k", "/run/daemon-store/x,/run/daemon-store/x,none,MS_BIND|MS_REC", "/p"], "private"),
    (
      ["-vKprivate", "-k", "/run/daemon-store/x,/x,none,MS_BIND|MS_REC", "/p"],
      "no later login arrives in the store x"
    ),
    (["-v", "-k", "/run/daemon-store/x,/x,none,MS_BIND|MS_REC|MS_PRIVATE", "/p"], "private"),
  ])
  func habitsThatLoseUserData(_ words: [String], _ fragment: String) throws {
    let warnings = try Self.parse(words).configuration.warnings
    #expect(warnings.count == 1 && warnings.first?.contains(fragment) == true, "\(warnings)")
  }

  @Test(arguments: [
    ["-v", "-k", "/run/daemon-store/x,/run/daemon-store/x,none,MS_BIND|MS_REC", "/p"],
    ["-v", "-b", "/", "-b", "/run/dbus", "-k", "tmpfs,/run,tmpfs", "/p"],
    ["--daemon-store", "x", "/p"], ["-v", "-K", "-b", "/run/daemon-store-x", "/p"],
  ])
  func nothingToWarnOf(_ words: [String]) throws {
    #expect(try Self.parse(words).configuration.warnings == [])
  }

  /// The order on the command line decides which mistake is reported.
  @Test func theFirstMistakeIsTheOneReported() {
    #expect(throws: JailError("Unrecognized profile name 'x'")) {
      try Self.parse(["--profile", "x", "-u", "0"])
    }
  }
}
