/// What an option means, whatever it is spelled.
enum OptionName: Hashable {
  case user, group, inheritGroups, keepGroups, addGroup
  case bind, mount, mountNamespace, enterMountNamespace, propagation
  case freshProcesses, devices, temporaryDirectory
  case changeRoot, pivotRoot, profile, daemonStore
  case ipc, cgroup, network, hostName, processNamespace, programIsInit
  case userNamespace, userMap, groupMap
  case policy, filterBinary, logViolations, synchronizeThreads, strictMode, learn
  case noNewPrivileges, systemCallTable, speculativeExecution, noDefaultEnvironment
  case capabilities, ambient, skippedSecureBits
  case defaultPaths, allowPath(FileAccess.Kind), landlockABI, noFileRestrictions, fileRestrictions
  case pidFile, background, noForwarding, limit, linkage, keyring, noNewSessions, ownTerminal,
    logging
  case addVariable, resetEnvironment, preserveDescriptor, preloadLibrary
  case configurationFile, writeConfiguration
  case completion, startTimeout
  case help, systemCalls, version, explain, strict
}

/// One row of the table that the grammar is driven by.
struct OptionRow {
  enum Value { case none, required, optional }

  let short: Unicode.Scalar?
  let long: String?
  let value: Value
  let name: OptionName
  /// Whether the reference does not have it. Such a name is never abbreviated, so that it does not
  /// make an abbreviation of the reference's ambiguous.
  var isOurs = false

  init(
    _ short: Unicode.Scalar?, _ long: String?, _ value: Value, _ name: OptionName,
    isOurs: Bool = false
  ) {
    self.short = short
    self.long = long
    self.value = value
    self.name = name
    self.isOurs = isOurs
  }

  /// What it is called in a configuration file.
  var key: String { long ?? short.map { "\($0)" } ?? "" }

  /// The row of a short option.
  static func short(_ letter: UInt8) -> OptionRow? {
    all.first { $0.short?.value == UInt32(letter) }
  }

  static let all: [OptionRow] = [
    // Accounts
    .init("u", nil, .required, .user),
    .init("g", nil, .required, .group),
    .init("G", nil, .none, .inheritGroups),
    .init("y", nil, .none, .keepGroups),
    .init(nil, "add-suppl-group", .required, .addGroup),
    // Mounts
    .init("b", "bind-mount", .required, .bind),
    .init("k", "mount", .required, .mount),
    .init("v", "ns-mount", .none, .mountNamespace),
    .init("K", nil, .optional, .propagation),
    .init("V", nil, .required, .enterMountNamespace),
    .init("r", nil, .none, .freshProcesses),
    .init("d", "mount-dev", .none, .devices),
    .init("t", nil, .optional, .temporaryDirectory),
    .init("C", nil, .required, .changeRoot),
    .init("P", nil, .required, .pivotRoot),
    .init(nil, "profile", .required, .profile),
    .init(nil, "daemon-store", .required, .daemonStore, isOurs: true),
    // Namespaces
    .init("l", nil, .none, .ipc),
    .init("N", nil, .none, .cgroup),
    .init("e", nil, .optional, .network),
    .init(nil, "uts", .optional, .hostName),
    .init("p", nil, .none, .processNamespace),
    .init("I", nil, .none, .programIsInit),
    .init("U", nil, .none, .userNamespace),
    .init("m", nil, .optional, .userMap),
    .init("M", nil, .optional, .groupMap),
    // Seccomp
    .init("S", nil, .required, .policy),
    .init(nil, "seccomp-bpf-binary", .required, .filterBinary),
    .init("L", nil, .none, .logViolations),
    .init("Y", nil, .none, .synchronizeThreads),
    .init("s", nil, .none, .strictMode),
    .init(nil, "learn", .required, .learn, isOurs: true),
    .init("a", nil, .required, .systemCallTable),
    .init("n", nil, .none, .noNewPrivileges),
    .init(nil, "allow-speculative-execution", .none, .speculativeExecution),
    .init(nil, "no-default-runtime-environment", .none, .noDefaultEnvironment),
    // Capabilities
    .init("c", nil, .required, .capabilities),
    .init(nil, "ambient", .none, .ambient),
    .init("B", nil, .required, .skippedSecureBits),
    // Landlock
    .init(nil, "fs-default-paths", .none, .defaultPaths),
    .init(nil, "fs-path-rx", .required, .allowPath(.readAndExecute)),
    .init(nil, "fs-path-ro", .required, .allowPath(.read)),
    .init(nil, "fs-path-rw", .required, .allowPath(.readAndWrite)),
    .init(nil, "fs-path-advanced-rw", .required, .allowPath(.advancedReadAndWrite)),
    .init(nil, "landlock-abi", .required, .landlockABI),
    .init(nil, "no-fs-restrictions", .none, .noFileRestrictions),
    .init(nil, "enable-profile-fs-restrictions", .none, .fileRestrictions),
    // Running
    .init("f", nil, .required, .pidFile),
    .init("i", nil, .none, .background),
    .init("z", nil, .none, .noForwarding),
    .init("R", nil, .required, .limit),
    .init("T", nil, .required, .linkage),
    .init("w", nil, .none, .keyring),
    .init(nil, "env-add", .required, .addVariable),
    .init(nil, "env-reset", .none, .resetEnvironment),
    .init(nil, "preserve-fd", .required, .preserveDescriptor),
    .init(nil, "no-new-sessions", .none, .noNewSessions),
    .init(nil, "pty", .none, .ownTerminal, isOurs: true),
    .init(nil, "preload-library", .required, .preloadLibrary),
    .init(nil, "jail-by", .required, .completion, isOurs: true),
    .init(nil, "start-timeout", .required, .startTimeout, isOurs: true),
    .init(nil, "logging", .required, .logging),
    .init(nil, "config", .required, .configurationFile),
    .init(nil, "gen-config", .required, .writeConfiguration),
    .init("h", "help", .none, .help),
    .init("H", nil, .none, .systemCalls),
    .init(nil, "version", .none, .version, isOurs: true),
    .init(nil, "explain", .optional, .explain, isOurs: true),
    .init(nil, "strict", .none, .strict, isOurs: true),
  ]
}
