import DaemonStoreKernel

/// Reads the command line from left to right, so that its first mistake is the one reported, and
/// then checks what only the whole can tell. Pure: bytes in, a ``Request`` out. What a name, a file or
/// this machine decides is left to ``RequestResolver``.
struct CommandLineParser {
  var request: Request
  private var scanner: OptionScanner

  // What was asked for literally, which the configuration does not tell any more.
  var literalMountNamespace = false
  var propagation: RawArgument??  // -K: the outer nil for never, the inner for no value
  private var namesUser = false
  private var namesGroup = false
  private var limitedKinds: Set<ResourceLimit.Kind> = []
  var storeNames: Set<FilePath> = []
  var explicitProcesses = false
  var asksForInit = false
  var asksForProgramAsInit = false
  var asksForTemporaryDirectory = false
  var profile: String?
  var hasBind = false
  var fileRules: [FileAccess.Rule] = []
  var landlockABI: Int?
  var noFileRestrictions = false
  private var configurationTarget: FilePath?
  private var seen: [FoundOption] = []

  /// - Parameter program: how the launcher itself was called.
  init(_ arguments: [RawArgument], program: String) {
    request = Request(launcher: program)
    scanner = OptionScanner(arguments, program: program)
  }

  /// What the options say so far.
  var configuration: JailConfiguration {
    _read { yield request.configuration }
    _modify { yield &request.configuration }
  }

  /// Reads on to the end, or to a configuration file.
  ///
  /// - Returns: the file that ``take(_:of:)`` must be given before the rest can be read; nil when
  ///   ``request`` is all that was asked for.
  mutating func read() throws(JailError) -> FilePath? {
    while !request.asksForText, let option = try scanner.next() {
      if option.name == .configurationFile { return FilePath(option.value ?? "") }
      try take(option)
    }
    if !request.asksForText { try finish() }
    return nil
  }

  /// The options of a configuration file take effect at the place of `--config`.
  mutating func take(_ bytes: [UInt8], of file: FilePath) throws(JailError) {
    for option in try ConfigurationFile.options(bytes, file: file) { try take(option) }
  }

  private mutating func finish() throws(JailError) {
    try checkFileRestrictions()
    if let configurationTarget {
      request.action = .writeConfiguration(
        try ConfigurationFile.text(seen), to: configurationTarget)
      return
    }
    try check()
    request.words = Array(scanner.rest)
  }

  private mutating func take(_ option: FoundOption) throws(JailError) {
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

  // MARK: Options

  private mutating func takeAccount(_ name: OptionName, _ value: RawArgument) throws(JailError) {
    switch name {
    case .user:
      guard !namesUser else { throw JailError("-u provided multiple times") }
      namesUser = true
      request.lookUp(.user(try AccountWord(value, "user")))
    case .group:
      guard !namesGroup else { throw JailError("-g provided multiple times") }
      namesGroup = true
      request.lookUp(.group(try AccountWord(value, "group")))
    case .inheritGroups:
      guard !request.keepsGroups else { throw JailError("-y and -G are not compatible") }
      request.inheritsGroups = true
    case .keepGroups:
      guard !request.inheritsGroups else { throw JailError("-G and -y are not compatible") }
      request.keepsGroups = true
    default:
      request.addsGroups = true
      request.lookUp(.addedGroup(try AccountWord(value, "group")))
    }
  }

  private mutating func takeNamespace(_ option: FoundOption) throws(JailError) {
    switch option.name {
    case .ipc: configuration.namespaces.insert(.ipc)
    case .cgroup: configuration.namespaces.insert(.cgroup)
    case .network:
      configuration.namespaces.insert(.network)
      if let file = option.value.map(FilePath.init) {
        request.lookUp(.namespaceFile(file, option: "-e"))
        configuration.networkNamespaceFile = file
      }
    case .hostName:
      configuration.namespaces.insert(.uts)
      // The first name wins, as in the reference.
      if let name = option.value, name.bytes.count > 64 {
        throw JailError("--uts=\(name): a host name has at most 64 bytes")
      }
      if configuration.hostName == nil { configuration.hostName = option.value }
    case .processNamespace: asksForInit = true
    case .programIsInit: asksForProgramAsInit = true
    case .userMap:
      request.asksForUserNamespace = true
      request.userMap = .some(try OptionValues.idMap(option))
    case .groupMap:
      request.asksForUserNamespace = true
      request.groupMap = .some(try OptionValues.idMap(option))
    default: request.asksForUserNamespace = true
    }
  }

  private mutating func takePrivilege(_ name: OptionName, _ value: RawArgument) throws(JailError) {
    switch name {
    case .noNewPrivileges: request.noNewPrivileges = true
    case .capabilities:
      let set = try CapabilitySet(optionText: value)
      request.lookUp(.capabilities(set, value))
      configuration.capabilities = set
    case .ambient: configuration.raisesAmbient = true
    case .skippedSecureBits:
      configuration.skippedSecureBits = try OptionValues.secureBits(value)
    case .systemCallTable: configuration.systemCallTable = value
    default: request.defaultEnvironment = false
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
    case .pidFile: configuration.pidFile = FilePath(value)
    case .background: configuration.background = true
    case .noForwarding: configuration.forwardsSignals = false
    case .limit: try addLimit(value)
    case .linkage:
      guard let linkage = value.text.flatMap(JailConfiguration.Linkage.init(rawValue:)) else {
        throw JailError("ELF type must be 'static' or 'dynamic', not '\(value)'")
      }
      configuration.linkage = linkage
    case .keyring: configuration.newSessionKeyring = true
    case .addVariable: configuration.environment.append(try OptionValues.variable(value))
    case .resetEnvironment: configuration.environment = [.reset]
    case .preserveDescriptor:
      if let number = try OptionValues.descriptor(value) { request.lookUp(.descriptor(number)) }
    case .noNewSessions: configuration.newSessions = false
    case .ownTerminal: configuration.ownTerminal = true
    case .completion:
      guard let completion = value.text.flatMap(JailConfiguration.Completion.init(rawValue:))
      else { throw JailError("--jail-by is 'trace' or 'preload', not '\(value)'") }
      configuration.completion = completion
    case .startTimeout:
      guard let seconds = value.text.flatMap({ UInt32($0) }), seconds <= 86_400 * 365 else {
        throw JailError("--start-timeout '\(value)': give whole seconds, or 0 for any time")
      }
      configuration.startTimeout = seconds == 0 ? nil : Int(seconds)
    case .preloadLibrary: configuration.preloadLibrary = FilePath(value)
    case .logging:
      guard let logging = value.text.flatMap(JailConfiguration.Logging.init(rawValue:)) else {
        throw JailError("--logger must be 'auto', 'syslog' or 'stderr', not '\(value)'")
      }
      configuration.logging = logging
    case .writeConfiguration: configurationTarget = FilePath(value)
    case .help: request.action = .help
    case .systemCalls: request.action = .systemCalls
    case .version: request.action = .version
    case .explain:
      guard ["text", "json"].contains(option.value ?? "text") else {
        throw JailError("--explain is 'text' or 'json', not '\(value)'")
      }
      request.action = .explain(asJSON: option.value == "json")
    case .strict: configuration.isStrict = true
    default: preconditionFailure("\(option.spelling) is taken elsewhere")
    }
  }

  private mutating func addLimit(_ text: RawArgument) throws(JailError) {
    let limit = try OptionValues.limit(text)
    guard limitedKinds.insert(limit.kind).inserted else {
      throw JailError("-R \(text): \(limit.kind.name) is limited twice")
    }
    configuration.limits.append(limit)
  }
}
