import Glibc
import DaemonStoreKernel
import Seccomp

/// Reads the command line from left to right, so that its first mistake is the one reported, and
/// then checks what only the whole can tell.
struct CommandLineParser {
  var command = Command()
  let world: OutsideWorld

  // What was asked for literally, which the configuration does not tell any more.
  var literalMountNamespace = false
  var propagation: RawArgument??  // -K: the outer nil for never, the inner for no value
  var inheritsGroups = false
  var keepsGroups = false
  var addedGroups: [gid_t]?
  private var limitedKinds: Set<ResourceLimit.Kind> = []
  var storeNames: Set<FilePath> = []
  var primaryGroup: gid_t?
  var explicitProcesses = false
  var asksForInit = false
  var asksForProgramAsInit = false
  var asksForUserNamespace = false
  var userMap: [IDRange]??
  var groupMap: [IDRange]??
  var asksForTemporaryDirectory = false
  var profile: String?
  var hasBind = false
  var filterSource: FilterSource?
  var compiled: (policy: Policy, compiler: Compiler)?
  var logsViolations = false
  var synchronizesThreads = false
  var allowsSpeculation = false
  var noNewPrivileges = false
  var defaultEnvironment = true
  var fileRules: [FileAccess.Rule] = []
  var landlockABI: Int?
  var noFileRestrictions = false
  var configurationTarget: FilePath?
  private var seen: [FoundOption] = []

  init(world: OutsideWorld = OutsideWorld()) { self.world = world }

  /// - Parameter program: how the launcher itself was called.
  mutating func parse(
    _ arguments: [RawArgument], program: String
  ) throws(JailError) -> Command {
    var scanner = OptionScanner(arguments, program: program)
    while let option = try scanner.next() {
      try take(option)
      if [.help, .systemCalls, .version].contains(command.action) { return command }
    }
    try checkFileRestrictions()
    if let configurationTarget {
      command.action = .writeConfiguration(
        try ConfigurationFile.text(seen), to: configurationTarget)
      return command
    }
    try finish()
    guard let word = scanner.rest.first else {
      throw JailError("\(program): no program to run", showsHelp: true)
    }
    command.configuration.program = word
    command.configuration.arguments = Array(scanner.rest.dropFirst())
    try checkProgram()
    try finishStartupFilter()
    try finishGroups()
    return command
  }

  /// That the program can be run and with the capabilities that it is to have, unless `-T` says
  /// not to look.
  private mutating func checkProgram() throws(JailError) {
    if command.configuration.linkage == nil {
      command.configuration.linkage = try world.linkage(command.configuration)
    }
    if command.configuration.linkage == .static, command.configuration.capabilities != nil,
      !command.configuration.raisesAmbient
    {
      throw JailError(
        "Can't run statically-linked binaries with capabilities (-c) without also setting ambient "
          + "capabilities. Try passing --ambient.")
    }
  }

  private mutating func take(_ option: FoundOption) throws(JailError) {
    if option.name == .configurationFile {
      return try takeConfiguration(FilePath(option.value ?? ""))
    }
    seen.append(option)
    if configurationTarget != nil, Self.isOnlyRecorded(option.name) { return }
    let value = option.value ?? ""
    switch option.name {
    case .user, .group, .inheritGroups, .keepGroups, .addGroup:
      try takeAccount(option.name, value)
    case .bind, .mount, .mountNamespace, .enterMountNamespace, .propagation, .freshProcesses,
      .devices, .temporaryDirectory, .changeRoot, .pivotRoot, .profile, .daemonStore:
      try takeMount(option, value)
    case .ipc, .cgroup, .network, .hostName, .processNamespace, .programIsInit, .userNamespace,
      .userMap, .groupMap:
      try takeNamespace(option)
    case .policy, .filterBinary, .logViolations, .synchronizeThreads, .strictMode, .learn,
      .speculativeExecution:
      try takeFilter(option, value)
    case .noNewPrivileges, .capabilities, .ambient, .skippedSecureBits, .systemCallTable,
      .noDefaultEnvironment:
      try takePrivilege(option.name, value)
    case .defaultPaths, .allowPath, .landlockABI, .noFileRestrictions, .fileRestrictions:
      try takeFileAccess(option, value)
    default: try takeRunning(option, value)
    }
  }

  /// While a configuration file is made, what depends on this machine is left to the other one.
  private static func isOnlyRecorded(_ name: OptionName) -> Bool {
    [.user, .group, .bind, .mount, .pidFile, .enterMountNamespace, .network].contains(name)
  }

  /// A file's options take effect at the place of `--config`.
  private mutating func takeConfiguration(_ file: FilePath) throws(JailError) {
    let bytes: [UInt8]?
    do { bytes = try world.contents(file, ConfigurationFile.limit) } catch {
      throw JailError("--config \(file)", error)
    }
    guard let bytes else {
      throw JailError("--config \(file): it is longer than \(ConfigurationFile.limit) bytes")
    }
    for option in try ConfigurationFile.options(bytes, file: file) { try take(option) }
  }

  // MARK: Options

  private mutating func takeAccount(_ name: OptionName, _ value: RawArgument) throws(JailError) {
    switch name {
    case .user:
      guard command.configuration.user == nil else {
        throw JailError("-u provided multiple times")
      }
      let user = try user(value)
      guard user.number != 0 else { throw JailError("useless change to uid 0 (-u \(value))") }
      command.configuration.user = user
    case .group:
      guard command.configuration.group == nil else {
        throw JailError("-g provided multiple times")
      }
      let group = try group(value)
      guard group.number != 0 else { throw JailError("useless change to gid 0 (-g \(value))") }
      command.configuration.group = group
    case .inheritGroups:
      guard !keepsGroups else { throw JailError("-y and -G are not compatible") }
      inheritsGroups = true
    case .keepGroups:
      guard !inheritsGroups else { throw JailError("-G and -y are not compatible") }
      keepsGroups = true
    default:
      let number = try group(value).number
      addedGroups = addedGroups ?? []
      addedGroups?.append(number)
    }
  }

  private mutating func takeNamespace(_ option: FoundOption) throws(JailError) {
    switch option.name {
    case .ipc: command.configuration.namespaces.insert(.ipc)
    case .cgroup: command.configuration.namespaces.insert(.cgroup)
    case .network:
      command.configuration.namespaces.insert(.network)
      if let file = option.value.map(FilePath.init) {
        try probe(file, "-e\(file)")
        command.configuration.networkNamespaceFile = file
      }
    case .hostName:
      command.configuration.namespaces.insert(.uts)
      // The first name wins, as in the reference.
      if let name = option.value, name.bytes.count > 64 {
        throw JailError("--uts=\(name): a host name has at most 64 bytes")
      }
      if command.configuration.hostName == nil { command.configuration.hostName = option.value }
    case .processNamespace: asksForInit = true
    case .programIsInit: asksForProgramAsInit = true
    case .userMap:
      asksForUserNamespace = true
      userMap = .some(try OptionValues.idMap(option))
    case .groupMap:
      asksForUserNamespace = true
      groupMap = .some(try OptionValues.idMap(option))
    default: asksForUserNamespace = true
    }
  }

  private mutating func takePrivilege(_ name: OptionName, _ value: RawArgument) throws(JailError) {
    switch name {
    case .noNewPrivileges: noNewPrivileges = true
    case .capabilities:
      let world = world
      let last = try step("-c") { () throws(SystemError) in try world.lastCapability() }
      command.configuration.capabilities = try CapabilitySet(optionText: value, last: last)
    case .ambient: command.configuration.raisesAmbient = true
    case .skippedSecureBits:
      command.configuration.skippedSecureBits = try OptionValues.secureBits(value)
    case .systemCallTable: command.configuration.systemCallTable = value
    default: defaultEnvironment = false
    }
  }

  private mutating func takeFileAccess(
    _ option: FoundOption, _ value: RawArgument
  ) throws(JailError) {
    switch option.name {
    case .defaultPaths: fileRules += FileAccess.defaultRules
    case .allowPath(let kind):
      let path = FilePath(value)
      guard path.isAbsolute else {
        throw JailError("\(option.spelling) '\(value)': it must be an absolute path")
      }
      fileRules.append(.init(path, kind))
    case .landlockABI: landlockABI = try OptionValues.landlockABI(value)
    case .noFileRestrictions: noFileRestrictions = true
    default: break  // --enable-profile-fs-restrictions: so it is
    }
  }

  private mutating func takeRunning(_ option: FoundOption, _ value: RawArgument) throws(JailError) {
    switch option.name {
    case .pidFile: command.configuration.pidFile = FilePath(value)
    case .background: command.configuration.background = true
    case .noForwarding: command.configuration.forwardsSignals = false
    case .limit: try addLimit(value)
    case .linkage:
      guard let linkage = value.text.flatMap(JailConfiguration.Linkage.init(rawValue:)) else {
        throw JailError("ELF type must be 'static' or 'dynamic', not '\(value)'")
      }
      command.configuration.linkage = linkage
    case .keyring: command.configuration.newSessionKeyring = true
    case .addVariable: command.configuration.environment.append(try OptionValues.variable(value))
    case .resetEnvironment: command.configuration.environment = [.reset]
    case .preserveDescriptor:
      // What is not open is not there to be kept, and the number may become one of ours.
      if let number = try OptionValues.descriptor(value), world.isOpen(number) {
        command.configuration.preservedDescriptors.append(number)
      }
    case .noNewSessions: command.configuration.newSessions = false
    case .ownTerminal: command.configuration.ownTerminal = true
    case .completion:
      guard let completion = value.text.flatMap(JailConfiguration.Completion.init(rawValue:))
      else { throw JailError("--jail-by is 'trace' or 'preload', not '\(value)'") }
      command.configuration.completion = completion
    case .startTimeout:
      guard let seconds = value.text.flatMap({ UInt32($0) }), seconds <= 86_400 * 365 else {
        throw JailError("--start-timeout '\(value)': give whole seconds, or 0 for any time")
      }
      command.configuration.startTimeout = seconds == 0 ? nil : Int(seconds)
    case .preloadLibrary: command.configuration.preloadLibrary = FilePath(value)
    case .logging:
      guard let logging = value.text.flatMap(JailConfiguration.Logging.init(rawValue:)) else {
        throw JailError("--logger must be 'auto', 'syslog' or 'stderr', not '\(value)'")
      }
      command.configuration.logging = logging
    case .writeConfiguration: configurationTarget = FilePath(value)
    case .help: command.action = .help
    case .systemCalls: command.action = .systemCalls
    case .version: command.action = .version
    case .explain:
      guard ["text", "json"].contains(option.value ?? "text") else {
        throw JailError("--explain is 'text' or 'json', not '\(value)'")
      }
      command.action = .explain(asJSON: option.value == "json")
    case .strict: command.configuration.isStrict = true
    default: preconditionFailure("\(option.spelling) is taken elsewhere")
    }
  }

  private mutating func addLimit(_ text: RawArgument) throws(JailError) {
    let limit = try OptionValues.limit(text)
    guard limitedKinds.insert(limit.kind).inserted else {
      throw JailError("-R \(text): \(limit.kind.name) is limited twice")
    }
    command.configuration.limits.append(limit)
  }

  func probe(_ file: FilePath, _ option: String) throws(JailError) {
    do { try world.probe(file) } catch { throw JailError(option, error) }
  }
}
