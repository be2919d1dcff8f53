import DaemonStoreAccounts
import DaemonStoreKernel
import Glibc

/// Makes a ``Command`` of a ``Request``: resolves names, reads files and compiles policies.
struct RequestResolver {
  let world: OutsideWorld
  /// How many look-ups were made.
  private var asked = 0
  private var user: JailConfiguration.Identity?
  private var group: JailConfiguration.Identity?
  private var primaryGroup: gid_t?
  private var addedGroups: [gid_t] = []
  private var descriptors: [CInt] = []

  init(_ world: OutsideWorld) { self.world = world }

  /// Makes the look-ups that are new, in their order.
  mutating func look(_ lookUps: [Request.LookUp]) throws(JailError) {
    while asked < lookUps.count {
      asked += 1  // whatever it says, it is not asked again
      try look(lookUps[asked - 1])
    }
  }

  private mutating func look(_ question: Request.LookUp) throws(JailError) {
    switch question {
    case .user(let word):
      let user = try identity(ofUser: word)
      guard user.number != 0 else { throw JailError("useless change to uid 0 (-u \(word.word))") }
      self.user = user
    case .group(let word):
      let group = try identity(ofGroup: word)
      guard group.number != 0 else {
        throw JailError("useless change to gid 0 (-g \(word.word))")
      }
      self.group = group
    case .addedGroup(let word): addedGroups.append(try identity(ofGroup: word).number)
    case .capabilities(let set, let word):
      let world = world
      let last = try step("-c") { () throws(SystemError) in try world.lastCapability() }
      try set.check(word, last: last)
    case .namespaceFile(let file, let option):
      do { try world.probe(file) } catch { throw JailError("\(option)\(file)", error) }
    case .descriptor(let number):
      // What is not open is not there to be kept, and the number may become one of ours.
      if world.isOpen(number) { descriptors.append(number) }
    }
  }

  private mutating func identity(
    ofUser word: AccountWord
  ) throws(JailError) -> JailConfiguration.Identity {
    if let number = word.number { return .init(number: number) }
    let account: Account?
    do { account = try world.user(FilePath(word.word)) } catch {
      throw JailError("Bad user '\(word.word)'", error)
    }
    guard let account else { throw JailError("Bad user '\(word.word)': there is no such user") }
    primaryGroup = account.group
    return .init(number: account.user, name: account.name)
  }

  private func identity(
    ofGroup word: AccountWord
  ) throws(JailError) -> JailConfiguration.Identity {
    if let number = word.number { return .init(number: number) }
    let group: gid_t?
    do { group = try world.group(FilePath(word.word)) } catch {
      throw JailError("Bad group '\(word.word)'", error)
    }
    guard let group else { throw JailError("Bad group '\(word.word)': there is no such group") }
    return .init(number: group, name: FilePath(word.word))
  }

  /// What `--config` names.
  func contents(of file: FilePath) throws(JailError) -> [UInt8] {
    let bytes: [UInt8]?
    do { bytes = try world.contents(file, ConfigurationFile.limit) } catch {
      throw JailError("--config \(file)", error)
    }
    guard let bytes else {
      throw JailError("--config \(file): it is longer than \(ConfigurationFile.limit) bytes")
    }
    return bytes
  }

  // MARK: The whole

  /// In the order of the reference: a broken policy is reported even where the program is missing.
  mutating func command(of request: Request) throws(JailError) -> Command {
    try look(request.lookUps)
    var command = Command(action: request.action, configuration: request.configuration)
    switch request.action {
    case .help, .systemCalls, .version, .writeConfiguration: return command
    case .run, .explain: break
    }
    command.configuration.user = user
    command.configuration.group = group
    command.configuration.preservedDescriptors = descriptors
    if request.asksForUserNamespace { setMaps(of: &command.configuration, request) }
    let filters = FilterResolver(world: world, request: request)
    let policy = try filters.setFilter(of: &command)
    guard let program = request.words.first else {
      throw JailError("\(request.launcher): no program to run", showsHelp: true)
    }
    command.configuration.program = program
    command.configuration.arguments = Array(request.words.dropFirst())
    try checkProgram(&command.configuration)
    // What only a program with a loader needs.
    if command.configuration.linkage != .static {
      try command.configuration.filter?.prepareForLoader(policy, compiler: filters.compiler)
    }
    try setGroups(of: &command, request)
    return command
  }

  /// That the program can be run and with the capabilities that it is to have, unless `-T` says
  /// not to look.
  private func checkProgram(_ configuration: inout JailConfiguration) throws(JailError) {
    if configuration.linkage == nil { configuration.linkage = try world.linkage(configuration) }
    if configuration.linkage == .static, configuration.clearsAmbientLater {
      throw JailError(
        "Can't run statically-linked binaries with capabilities (-c) without also setting ambient "
          + "capabilities. Try passing --ambient.")
    }
  }

  /// A map without a value is of the one id that the program has to the caller's.
  private func setMaps(of configuration: inout JailConfiguration, _ request: Request) {
    if let map = request.userMap {
      let inside = configuration.user?.number ?? 0
      configuration.userMap =
        map ?? [IDRange(inside: inside, outside: world.callerUser(), count: 1)]
    }
    guard let map = request.groupMap else { return }
    if map == nil, configuration.group == nil, let primaryGroup {
      // What is mapped and what the program becomes are then the same.
      configuration.group = .init(number: primaryGroup)
    }
    let inside = configuration.group?.number ?? 0
    configuration.groupMap =
      map ?? [IDRange(inside: inside, outside: world.callerGroup(), count: 1)]
    configuration.deniesGroupChange = !world.maySetGroups()
  }

  /// The supplementary groups: what the reference finds out last.
  private func setGroups(of command: inout Command, _ request: Request) throws(JailError) {
    let user = command.configuration.user
    if request.addsGroups {
      command.configuration.supplementaryGroups = addedGroups
    } else if request.inheritsGroups {
      guard let name = user?.name, let primaryGroup else {
        throw JailError("-G: cannot inherit supplementary groups without setting a username (-u)")
      }
      do {
        command.configuration.supplementaryGroups = try world.groups(name, primaryGroup)
      } catch {
        throw JailError("-G: the groups of \(name)", error)
      }
    } else if !request.keepsGroups, user != nil || command.configuration.group != nil,
      !command.configuration.deniesGroupChange
    {
      command.configuration.supplementaryGroups = []
    }
    if request.asksForUserNamespace { try checkMaps(command.configuration) }
    if let user, command.configuration.group == nil, world.callerGroup() == 0 {
      command.warnings.append(
        "-u \(user.shown) without -g: the program keeps group 0 (root)")
    }
    if !command.configuration.limitsBoundingSet, command.configuration.capabilities != nil {
      command.warnings.append(
        "-B: without the securebit noroot the bounding set stays as it is, and a program of user "
          + "0 gets capabilities back")
    }
  }

  /// Ids of a user namespace without maps cannot be taken.
  private func checkMaps(_ configuration: JailConfiguration) throws(JailError) {
    if configuration.user != nil, configuration.userMap == nil {
      throw JailError("-u in a user namespace without users: add -m")
    }
    let wantsGroups = configuration.supplementaryGroups ?? []
    if configuration.group != nil || !wantsGroups.isEmpty || configuration.user != nil,
      configuration.groupMap == nil
    {
      throw JailError("-g, or the groups of -u, in a user namespace without groups: add -M")
    }
  }
}

extension Command {
  /// Reads a command line, and what it names. The first mistake on it is the one reported.
  ///
  /// - Parameter launcher: how the launcher itself was called.
  init(
    reading words: [RawArgument], launcher: String, world: OutsideWorld = OutsideWorld()
  ) throws(JailError) {
    var parser = CommandLineParser(words, program: launcher)
    var resolver = RequestResolver(world)
    do throws(JailError) {
      while let file = try parser.read() {
        try resolver.look(parser.request.lookUps)
        try parser.take(try resolver.contents(of: file), of: file)
      }
    } catch {
      // A name before this mistake may be one.
      try resolver.look(parser.request.lookUps)
      throw error
    }
    self = try resolver.command(of: parser.request)
  }
}
