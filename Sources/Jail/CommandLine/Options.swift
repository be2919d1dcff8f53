/// What an option means, whatever it is spelled.
enum OptionName: Hashable {
  case user, group, inheritGroups, keepGroups, addGroup
  case bind, mount, mountNamespace, propagation, freshProcesses, devices, temporaryDirectory
  case changeRoot, pivotRoot, profile, daemonStore
  case ipc, cgroup, network, hostName, processNamespace, programIsInit
  case noNewPrivileges, capabilities, ambient
  case pidFile, background, noForwarding, linkage, keyring, noNewSessions, logging
  case help, systemCalls, version, explain
}

/// One row of the table that the grammar is driven by.
struct OptionRow {
  enum Value { case none, required, optional }

  let short: Character?
  let long: String?
  let value: Value
  /// nil for an option of the reference that this version does not have: it is taken apart like
  /// the others, and then refused by its name instead of being unknown.
  let name: OptionName?

  init(_ short: Character?, _ long: String?, _ value: Value, _ name: OptionName?) {
    self.short = short
    self.long = long
    self.value = value
    self.name = name
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
    .init("V", nil, .required, nil),
    .init("r", nil, .none, .freshProcesses),
    .init("d", "mount-dev", .none, .devices),
    .init("t", nil, .optional, .temporaryDirectory),
    .init("C", nil, .required, .changeRoot),
    .init("P", nil, .required, .pivotRoot),
    .init(nil, "profile", .required, .profile),
    .init(nil, "daemon-store", .required, .daemonStore),
    // Namespaces
    .init("l", nil, .none, .ipc),
    .init("N", nil, .none, .cgroup),
    .init("e", nil, .optional, .network),
    .init(nil, "uts", .optional, .hostName),
    .init("p", nil, .none, .processNamespace),
    .init("I", nil, .none, .programIsInit),
    .init("U", nil, .none, nil),
    .init("m", nil, .optional, nil),
    .init("M", nil, .optional, nil),
    // Seccomp
    .init("S", nil, .required, nil),
    .init(nil, "seccomp-bpf-binary", .required, nil),
    .init("L", nil, .none, nil),
    .init("Y", nil, .none, nil),
    .init("s", nil, .none, nil),
    .init("a", nil, .required, nil),
    .init("n", nil, .none, .noNewPrivileges),
    .init(nil, "allow-speculative-execution", .none, nil),
    .init(nil, "no-default-runtime-environment", .none, nil),
    // Capabilities
    .init("c", nil, .required, .capabilities),
    .init(nil, "ambient", .none, .ambient),
    .init("B", nil, .required, nil),
    // Landlock
    .init(nil, "fs-default-paths", .none, nil),
    .init(nil, "fs-path-rx", .required, nil),
    .init(nil, "fs-path-ro", .required, nil),
    .init(nil, "fs-path-rw", .required, nil),
    .init(nil, "fs-path-advanced-rw", .required, nil),
    .init(nil, "landlock-abi", .required, nil),
    .init(nil, "no-fs-restrictions", .none, nil),
    .init(nil, "enable-profile-fs-restrictions", .none, nil),
    // Running
    .init("f", nil, .required, .pidFile),
    .init("i", nil, .none, .background),
    .init("z", nil, .none, .noForwarding),
    .init("R", nil, .required, nil),
    .init("T", nil, .required, .linkage),
    .init("w", nil, .none, .keyring),
    .init(nil, "env-add", .required, nil),
    .init(nil, "env-reset", .none, nil),
    .init(nil, "preserve-fd", .required, nil),
    .init(nil, "no-new-sessions", .none, .noNewSessions),
    .init(nil, "preload-library", .required, nil),
    .init(nil, "logging", .required, .logging),
    .init(nil, "config", .required, nil),
    .init(nil, "gen-config", .required, nil),
    .init("h", "help", .none, .help),
    .init("H", nil, .none, .systemCalls),
    .init(nil, "version", .none, .version),
    .init(nil, "explain", .none, .explain),
  ]
}
