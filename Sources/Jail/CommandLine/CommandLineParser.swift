import Accounts
import Glibc
import Kernel

/// What the command line asks for.
public struct Command: Equatable, Sendable {
  public enum Action: Equatable, Sendable {
    case run, explain, help, systemCalls, version
  }

  public var action = Action.run
  public var configuration = JailConfiguration()
  /// Habits that are kept, and that somebody should know about.
  public var warnings: [String] = []
}

/// Who has which number: NSS, or what a test says.
struct AccountLookup: Sendable {
  var user: @Sendable (String) throws(SystemError) -> Account? = {
    (name) throws(SystemError) in try Account.named(name)
  }
  var group: @Sendable (String) throws(SystemError) -> gid_t? = {
    (name) throws(SystemError) in try Group.named(name)
  }
  var groups: @Sendable (String, gid_t) throws(SystemError) -> [gid_t] = {
    (name, group) throws(SystemError) in try Account.groups(of: name, with: group)
  }
  var lastCapability: @Sendable () -> UInt8 = { CapabilitySet.lastKnown() }
  var callerGroup: @Sendable () -> gid_t = { getegid() }
}

/// Reads the command line from left to right, so that its first mistake is the one reported, and
/// then checks what only the whole can tell.
struct CommandLineParser {
  private var command = Command()
  private let lookup: AccountLookup

  // What was asked for literally, which the configuration does not tell any more.
  private var literalMountNamespace = false
  private var propagation: String??  // -K: the outer nil for never, the inner for no value
  private var inheritsGroups = false
  private var keepsGroups = false
  private var addedGroups: [gid_t]?
  private var primaryGroup: gid_t?
  private var explicitProcesses = false
  private var asksForInit = false
  private var asksForProgramAsInit = false
  private var asksForTemporaryDirectory = false
  private var profile: String?
  private var hasBind = false

  init(lookup: AccountLookup = AccountLookup()) { self.lookup = lookup }

  /// - Parameter program: how the launcher itself was called.
  mutating func parse(
    _ arguments: [RawArgument], program: String
  ) throws(JailError) -> Command {
    var scanner = OptionScanner(arguments, program: program)
    while let option = try scanner.next() {
      try take(option)
      if [.help, .systemCalls, .version].contains(command.action) { return command }
    }
    try finish()
    guard let word = scanner.rest.first else {
      throw JailError("\(program): no program to run", showsHelp: true)
    }
    command.configuration.program = word
    command.configuration.arguments = Array(scanner.rest.dropFirst())
    return command
  }

  private mutating func take(_ option: FoundOption) throws(JailError) {
    let value = option.value ?? ""
    switch option.name {
    case .user, .group, .inheritGroups, .keepGroups, .addGroup:
      try takeAccount(option.name, value)
    case .bind, .mount, .mountNamespace, .propagation, .freshProcesses, .devices,
      .temporaryDirectory, .changeRoot, .pivotRoot, .profile, .daemonStore:
      try takeMount(option, value)
    case .ipc: command.configuration.namespaces.insert(.ipc)
    case .cgroup: command.configuration.namespaces.insert(.cgroup)
    case .network:
      command.configuration.namespaces.insert(.network)
      if let file = option.value { command.configuration.networkNamespaceFile = file }
    case .hostName:
      command.configuration.namespaces.insert(.uts)
      // The first name wins, as in the reference.
      if command.configuration.hostName == nil { command.configuration.hostName = option.value }
    case .processNamespace: asksForInit = true
    case .programIsInit: asksForProgramAsInit = true
    case .noNewPrivileges: break  // already so: nothing that is built yet turns it off
    case .capabilities:
      command.configuration.capabilities = try CapabilitySet(
        optionText: value, last: lookup.lastCapability())
    case .ambient: command.configuration.raisesAmbient = true
    case .pidFile: command.configuration.pidFile = value
    case .background: command.configuration.background = true
    case .noForwarding: command.configuration.forwardsSignals = false
    case .linkage:
      guard let linkage = JailConfiguration.Linkage(rawValue: value) else {
        throw JailError("ELF type must be 'static' or 'dynamic', not '\(value)'")
      }
      command.configuration.linkage = linkage
    case .keyring: command.configuration.newSessionKeyring = true
    case .noNewSessions: command.configuration.newSessions = false
    case .logging:
      guard let logging = JailConfiguration.Logging(rawValue: value) else {
        throw JailError("--logger must be 'auto', 'syslog' or 'stderr', not '\(value)'")
      }
      command.configuration.logging = logging
    case .help: command.action = .help
    case .systemCalls: command.action = .systemCalls
    case .version: command.action = .version
    case .explain: command.action = .explain
    }
  }

  private mutating func takeAccount(_ name: OptionName, _ value: String) throws(JailError) {
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
      addedGroups = (addedGroups ?? []) + [try group(value).number]
    }
  }

  private mutating func takeMount(_ option: FoundOption, _ value: String) throws(JailError) {
    switch option.name {
    case .bind:
      hasBind = true
      try add(OptionValues.bind(value))
    case .mount: try add(OptionValues.mount(value))
    case .mountNamespace:
      command.configuration.namespaces.insert(.mount)
      literalMountNamespace = true
    case .propagation: propagation = .some(option.value)
    case .freshProcesses:
      command.configuration.namespaces.insert(.mount)
      explicitProcesses = true
    case .devices:
      command.configuration.namespaces.insert(.mount)
      command.configuration.minimalDevices = true
    case .temporaryDirectory:
      command.configuration.namespaces.insert(.mount)
      asksForTemporaryDirectory = true
      if option.value != nil {
        command.configuration.temporaryBytes = try OptionValues.size(value)
      }
    case .changeRoot:
      try setRoot(.changeRoot(value), option.spelling)
    case .pivotRoot:
      try setRoot(.pivotRoot(value), option.spelling)
    case .profile: try takeProfile(value)
    default:
      command.configuration.namespaces.insert(.mount)
      let name = try OptionValues.store(value)
      if !command.configuration.daemonStores.contains(name) {
        command.configuration.daemonStores.append(name)
      }
    }
  }

  private mutating func add(_ mount: JailMount) {
    command.configuration.namespaces.insert(.mount)
    command.configuration.mounts.append(mount)
  }

  private mutating func setRoot(
    _ root: JailConfiguration.RootChange, _ spelling: String
  ) throws(JailError) {
    switch command.configuration.root {
    case .none: break
    case .changeRoot: throw JailError("\(spelling) after -C: only one of -C, -P and --profile")
    case .pivotRoot: throw JailError("\(spelling) after -P or a profile: only one new root")
    }
    guard root.path?.isEmpty == false else { throw JailError("\(spelling) needs a directory") }
    if case .pivotRoot = root { command.configuration.namespaces.insert(.mount) }
    command.configuration.root = root
  }

  private mutating func takeProfile(_ name: String) throws(JailError) {
    guard name == "minimalistic-mountns" || name == "minimalistic-mountns-nodev" else {
      throw JailError("Unrecognized profile name '\(name)'")
    }
    try setRoot(.pivotRoot("/var/empty"), "--profile")
    profile = name
    // A new /proc is made after the change of root, so the profile binds none.
    add(JailMount(source: "/", target: "/", kind: .bind(writable: false)))
    explicitProcesses = true
    asksForTemporaryDirectory = true
    if name == "minimalistic-mountns" {
      command.configuration.minimalDevices = true
      add(
        JailMount(
          source: "/dev/log", target: "/dev/log", kind: .bind(writable: false), isOptional: true))
    }
  }

  // MARK: What only the whole tells

  private mutating func finish() throws(JailError) {
    if command.configuration.raisesAmbient, command.configuration.capabilities == nil {
      throw JailError("Can't set ambient capabilities (--ambient) without actual capabilities (-c)")
    }
    let hasStores = !command.configuration.daemonStores.isEmpty
    if hasBind, command.configuration.root == .none, !literalMountNamespace, !hasStores {
      throw JailError(
        "Bind mounts require a chroot, pivot_root, or a new mount namespace (-C, -P, -v)")
    }
    try finishProcesses()
    try finishPropagation(hasStores: hasStores)
    try finishGroups()
    if asksForTemporaryDirectory, command.configuration.temporaryBytes == nil {
      command.configuration.temporaryBytes = 64 << 20
    }
  }

  private mutating func finishProcesses() throws(JailError) {
    if asksForProgramAsInit || asksForInit {
      command.configuration.namespaces.formUnion([.mount, .process])
      command.configuration.processNamespace =
        asksForProgramAsInit ? .programIsInit : .withInit
      guard command.configuration.newSessions else {
        throw JailError("--no-new-sessions: cannot skip setsid() with a PID namespace (-p, -I)")
      }
    }
    command.configuration.freshProcesses =
      explicitProcesses || (asksForInit && !asksForProgramAsInit)
  }

  private mutating func finishPropagation(hasStores: Bool) throws(JailError) {
    if propagation != nil, !literalMountNamespace {
      throw JailError("No need to set mount propagation (-K) without a mount namespace (-v)")
    }
    var change = JailConfiguration.PropagationChange.set(
      literalMountNamespace ? .slave : .private)
    if let word = propagation {
      if let word {
        guard let mode = Propagation(rawValue: word) else {
          throw JailError(
            "Unrecognized mount propagation '\(word)' (-K): shared, slave, private or unbindable")
        }
        change = .set(mode)
      } else {
        change = .unchanged
      }
    }
    command.configuration.propagation = change
    if change == .unchanged || change == .set(.shared) {
      let spelling = change == .unchanged ? "-K without a value" : "-Kshared"
      if hasStores {
        throw JailError(
          "\(spelling) and --daemon-store: the jail's own mounts would reach the host")
      }
      if command.configuration.freshProcesses || command.configuration.minimalDevices {
        throw JailError(
          "\(spelling) with -r, -p or -d: the new /proc or /dev would replace the host's")
      }
    }
    command.configuration.removesUserData = hasStores && !literalMountNamespace
  }

  private mutating func finishGroups() throws(JailError) {
    let user = command.configuration.user
    if let addedGroups {
      guard !inheritsGroups, !keepsGroups else {
        throw JailError("--add-suppl-group is not compatible with -G or -y")
      }
      command.configuration.supplementaryGroups = addedGroups
    } else if inheritsGroups {
      guard let name = user?.name, let primaryGroup else {
        throw JailError("-G: cannot inherit supplementary groups without a user name (-u)")
      }
      do {
        command.configuration.supplementaryGroups = try lookup.groups(name, primaryGroup)
      } catch {
        throw JailError("-G: the groups of \(name)", error)
      }
    } else if !keepsGroups, user != nil || command.configuration.group != nil {
      command.configuration.supplementaryGroups = []
    }
    if let user, command.configuration.group == nil, lookup.callerGroup() == 0 {
      command.warnings.append(
        "-u \(user.name ?? "\(user.number)") without -g: the program keeps group 0 (root)")
    }
  }

  // MARK: Names

  private mutating func user(_ text: String) throws(JailError) -> JailConfiguration.Identity {
    if let number = try number(text, "user") { return .init(number: number) }
    let account: Account?
    do { account = try lookup.user(text) } catch { throw JailError("Bad user '\(text)'", error) }
    guard let account else { throw JailError("Bad user '\(text)': there is no such user") }
    primaryGroup = account.group
    return .init(number: account.user, name: account.name)
  }

  private func group(_ text: String) throws(JailError) -> JailConfiguration.Identity {
    if let number = try number(text, "group") { return .init(number: number) }
    let group: gid_t?
    do { group = try lookup.group(text) } catch { throw JailError("Bad group '\(text)'", error) }
    guard let group else { throw JailError("Bad group '\(text)': there is no such group") }
    return .init(number: group, name: text)
  }

  /// nil when the text is no number. The last one, 4294967295, means "no change" to the kernel.
  private func number(_ text: String, _ kind: String) throws(JailError) -> UInt32? {
    guard !text.isEmpty else { throw JailError("Bad \(kind) '': it is empty") }
    let digits = text.first == "-" || text.first == "+" ? text.dropFirst() : text[...]
    guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
    guard let number = UInt32(text), number != .max else {
      throw JailError("Bad \(kind) '\(text)': a number is 0 to 4294967294")
    }
    return number
  }
}
