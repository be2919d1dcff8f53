import CDaemonStoreLinux
import DaemonStoreKernel

/// One thing that is done to become the jail. The order of a plan is the order of doing.
package enum JailStep: Equatable, Sendable {
  /// setsid(2), if there is a terminal: the program must have nothing to do with the caller's.
  case newSession
  /// What is done instead where the session stays: the program cannot type into the terminal.
  case denyTerminalInput
  /// Become what the maps of the new user namespace say, so that files can be made in it.
  case becomeMapped(user: UInt32?, group: UInt32?)
  case enterMounts(FilePath)
  /// Opens the library that is preloaded into the program, while its path still leads there.
  case openLibrary
  case unshare(NamespaceKinds)
  case setPropagation(Propagation)
  /// Takes the stores out of the tree, so that they stay slaves whatever becomes of the rest.
  case gatherStores([FilePath], rest: Propagation)
  case setHostName(RawArgument)
  case enterNetwork(FilePath)
  case raiseLoopback
  case joinSessionKeyring
  /// Notes which file systems are users' data, while the whole table is in sight.
  case findUserData
  case removeUserData
  case buildDevices
  case mount(JailMount)
  /// Binds the new root on itself, if it is not the root of a mount already.
  case makeMountPoint(FilePath)
  case placeStores(root: FilePath?)
  case placeDevices(root: FilePath?)
  /// Makes the program's own terminal: a new devpts where there is a mount namespace.
  case openTerminal
  case placeTerminal(root: FilePath?)
  case takeTerminal
  case changeRoot(FilePath)
  case pivotRoot(FilePath)
  case mountTemporaryDirectory(bytes: UInt64)
  /// Makes the new `/proc` while an old one is still in sight: in a user namespace, only who sees
  /// one may make another.
  case buildProcesses
  case placeProcesses(root: FilePath?)
  /// Closes every descriptor that the program is not to have and that no later step needs.
  case closeDescriptors
  /// Looks at the program's file inside the jail: whether it has a loader, and can be completed.
  case inspectProgram
  /// Opens what the rules allow, while everything can be opened.
  case prepareFileAccess(FileAccess)
  case setLimits([ResourceLimit])
  case setSecureBits(SecureBits)
  case setGroups([UInt32])
  case setGroup(JailConfiguration.Identity)
  case setUser(JailConfiguration.Identity)
  case limitCapabilities(CapabilitySet)
  case raiseAmbient(CapabilitySet)
  case setNoNewPrivileges
  case restrictFileAccess
  case setSystemCallTable(RawArgument)
  /// Tells the launcher what is left to it when the loader is done.
  case requestCompletion
  /// Ends what was blocked and inherited of the launcher, closes the last descriptors, and allocates
  /// what `execute` needs: a filter may deny all of it.
  case prepareProgram
  case loadFilter(String)
  /// The calls of the program wait for the launcher, which records them and lets them go.
  case tellCalls
  /// Process 1 stays behind to reap and to forward signals; its child goes on.
  case forkInit
  case execute
}

/// What is done to start a jail, as a value: computed from the configuration alone, printed by
/// `--explain`, and carried out by ``JailBuilder``.
public struct JailPlan: Equatable, Sendable {
  public let configuration: JailConfiguration
  package let steps: [JailStep]

  /// - Throws: what makes no sense in any jail; nothing of the system is looked at.
  public init(_ configuration: JailConfiguration) throws(JailError) {
    try configuration.check()
    self.configuration = configuration
    var plan = Planner(configuration)
    plan.enter()
    plan.mount()
    plan.finish()
    steps = plan.steps
  }

  /// What is done, in order: a line for each step, as `--explain` prints it.
  public var stepDescriptions: [String] { steps.map(\.description) }
}

extension JailConfiguration {
  /// Who sets the jail up in a new user namespace with maps: its root where there is one, since a
  /// change from root to another user costs the capabilities; else who the program will be.
  var firstUser: UInt32? { userMap.map { $0.mapsZero ? 0 : user?.number ?? 0 } }
  var firstGroup: UInt32? { groupMap.map { $0.mapsZero ? 0 : group?.number ?? 0 } }

  /// Whether a part of the jail waits for the dynamic loader, if the program has one.
  var mayNeedCompletion: Bool {
    guard linkage != .static else { return false }
    return clearsAmbientLater || hasFileRulesForLater || limitsCalls
  }

  /// Who does it.
  var usesLibrary: Bool { mayNeedCompletion && completion == .preload }
  var isCompletedByTracer: Bool { mayNeedCompletion && completion == .trace }

  /// Whether execve(2) is to leave ambient capabilities that the program is not to have.
  var clearsAmbientLater: Bool { capabilities != nil && !raisesAmbient }

  /// Whether the rules for files would not let a loader work.
  var hasFileRulesForLater: Bool { fileAccess.map { !$0.allowsExecution } ?? false }

  /// Whether there is something about system calls.
  var limitsCalls: Bool { filter != nil || learnedPolicy != nil }

  /// What the program has in the end: what is restricted after privileges are gone needs it.
  var endsWithNoNewPrivileges: Bool {
    let isLater = filter != nil || learnedPolicy != nil || hasFileRulesForLater
    return noNewPrivileges || (isLater && linkage != .static)
  }

  /// Whether a filter is loaded before privileges are given up: without no_new_privs only
  /// CAP_SYS_ADMIN may load one. In a static program the policy must allow the change of user then, as
  /// in the reference.
  var filterComesFirst: Bool { filter != nil && !endsWithNoNewPrivileges }

  /// Whether a ``Trampoline`` executes the program: where the files are not the caller's, what they
  /// name as `/proc/self/exe` must not be the host's. What it does comes after the change of user, and
  /// it could load no filter then that has to come first.
  var usesTrampoline: Bool {
    let hasOwnFiles = root != .none || namespaces.contains(.mount) || mountNamespaceFile != nil
    return Trampoline.isAvailable && hasOwnFiles && !filterComesFirst
  }

  var trampolineCalls: [Trampoline.Call] {
    [.mapOutcome, .closeOutcome] + (filter == nil ? [] : [.loadFilter])
      + (learnedPolicy == nil ? [] : [.tellCalls, .closeListener]) + [.execute]
  }

  /// The combinations that cannot be meant.
  func check() throws(JailError) {
    if processNamespace != .inherited, !newSessions {
      throw JailError("--no-new-sessions: cannot skip setsid() with a PID namespace (-p, -I, -U)")
    }
    if ownTerminal {
      let other =
        !newSessions
        ? "--no-new-sessions"
        : background ? "-i" : !forwardsSignals ? "-z" : learnedPolicy != nil ? "--learn" : nil
      if let other {
        throw JailError("--pty and \(other): the launcher must be there to show the terminal")
      }
    }
    if !mounts.isEmpty, !namespaces.contains(.mount), mountNamespaceFile == nil, root == .none {
      throw JailError("mounts without a mount namespace (-v) would be the host's")
    }
    if namespaces.contains(.user), !daemonStores.isEmpty, removesUserData {
      guard case .pivotRoot = root else {
        throw JailError(
          "--daemon-store in a user namespace needs a new root (-P or a profile): other mounts of "
            + "user data could not be taken out of the old one")
      }
    }
    if learnedPolicy != nil, background {
      throw JailError("--learn and -i: somebody must be there to record the calls")
    }
    guard propagation == .unchanged || propagation == .set(.shared), namespaces.contains(.mount)
    else { return }
    let spelling = propagation == .unchanged ? "-K without a value" : "-Kshared"
    if !daemonStores.isEmpty {
      throw JailError(
        "\(spelling) and --daemon-store: the jail's own mounts would reach the host")
    }
    // Without a value it depends on what is shared at that time.
    if propagation == .set(.shared), freshProcesses || minimalDevices {
      throw JailError("-Kshared with -r, -p or -d: the new /proc or /dev would replace the host's")
    }
  }

  static func sharedMountText(_ target: String) -> String {
    "-K without a value, with -r, -p or -d: \(target) is shared with the caller's namespace, where "
      + "the new /proc or /dev would replace the old one; use -Kslave"
  }
}

/// Puts the steps together, in the order of the reference: namespaces, mounts, root, privileges.
private struct Planner {
  let configuration: JailConfiguration
  var steps: [JailStep] = []

  init(_ configuration: JailConfiguration) { self.configuration = configuration }

  private var hasStores: Bool { !configuration.daemonStores.isEmpty }

  /// For the stores of a new root that is a bind of another: its own `/run` is on a disk, and read
  /// only.
  private static let run = JailMount(
    source: "daemon-store", target: "/run",
    kind: .filesystem(type: "tmpfs", flags: .standard, data: "mode=0755,size=10M"))

  /// Unless something is mounted in `/run` already, which a tmpfs would hide.
  private var needsRun: Bool {
    let mounts = configuration.mounts
    return hasStores && configuration.root != .none
      && mounts.contains { $0.target == "/" && $0.isBind && !$0.isRecursive }
      && !mounts.contains { $0.target.isEqualOrBelow("/run") }
  }

  mutating func enter() {
    let namespaces = configuration.namespaces
    if namespaces.contains(.user), configuration.userMap != nil || configuration.groupMap != nil {
      steps.append(
        .becomeMapped(user: configuration.firstUser, group: configuration.firstGroup))
    }
    if configuration.newSessions {
      steps.append(.newSession)
    } else if !configuration.endsWithNoNewPrivileges {
      steps.append(.denyTerminalInput)
    }
    // A copy of the library's mount can be made only in the namespace that the mount is in.
    let opensLibrary = configuration.usesLibrary
    let entersMounts = configuration.mountNamespaceFile != nil
    if opensLibrary, entersMounts || !namespaces.contains(.mount) { steps.append(.openLibrary) }
    if let file = configuration.mountNamespaceFile { steps.append(.enterMounts(file)) }
    if namespaces.contains(.mount) {
      steps.append(.unshare(.mount))
      if opensLibrary, !entersMounts { steps.append(.openLibrary) }
      switch configuration.propagation {
      case .set(let mode) where hasStores:
        steps.append(.gatherStores(configuration.daemonStores, rest: mode))
      case .set(let mode): steps.append(.setPropagation(mode))
      case .unchanged: break
      }
    }
    if namespaces.contains(.ipc) { steps.append(.unshare(.ipc)) }
    if namespaces.contains(.uts) {
      steps.append(.unshare(.uts))
      if let name = configuration.hostName { steps.append(.setHostName(name)) }
    }
    if let file = configuration.networkNamespaceFile {
      steps.append(.enterNetwork(file))
    } else if namespaces.contains(.network) {
      steps += [.unshare(.network), .raiseLoopback]
    }
    if namespaces.contains(.cgroup) { steps.append(.unshare(.cgroup)) }
    if configuration.newSessionKeyring { steps.append(.joinSessionKeyring) }
    if configuration.ownTerminal { steps.append(.openTerminal) }
  }

  mutating func mount() {
    if configuration.freshProcesses { steps.append(.buildProcesses) }
    let pivots = if case .pivotRoot = configuration.root { true } else { false }
    if configuration.removesUserData {
      steps.append(.findUserData)
      // A pivot leaves all of it behind, unless a copy of the tree brings it along; else it goes
      // before a mount can hide it from us.
      let copies = configuration.mounts.contains { $0.isBind && $0.isRecursive }
      if !pivots || copies { steps.append(.removeUserData) }
    }
    if configuration.minimalDevices { steps.append(.buildDevices) }
    // The new /proc comes below what the caller mounts on or in /proc, but not below another root.
    let (early, late) = mountsAroundProcesses
    steps += early.map(JailStep.mount)
    if configuration.freshProcesses { steps.append(.placeProcesses(root: configuration.root.path)) }
    steps += late.map(JailStep.mount)
    if needsRun { steps.append(.mount(Self.run)) }
    if case .pivotRoot(let path) = configuration.root { steps.append(.makeMountPoint(path)) }
    if hasStores { steps.append(.placeStores(root: configuration.root.path)) }
    if configuration.minimalDevices {
      steps.append(.placeDevices(root: configuration.root.path))
    }
    if configuration.ownTerminal, configuration.namespaces.contains(.mount) {
      steps.append(.placeTerminal(root: configuration.root.path))
    }
    // What a -b or -k brought in again. Nothing else could: the tree is private by now.
    if configuration.removesUserData, !pivots, !configuration.mounts.isEmpty {
      steps.append(.removeUserData)
    }
    switch configuration.root {
    case .none: break
    case .changeRoot(let path): steps.append(.changeRoot(path))
    case .pivotRoot(let path): steps.append(.pivotRoot(path))
    }
    if configuration.removesUserData, pivots { steps.append(.removeUserData) }
    if let bytes = configuration.temporaryBytes {
      steps.append(.mountTemporaryDirectory(bytes: bytes))
    }
  }

  private var mountsAroundProcesses: (ArraySlice<JailMount>, ArraySlice<JailMount>) {
    let mounts = configuration.mounts
    let below =
      mounts.lastIndex { $0.target.components.isEmpty && !$0.isChange }.map { $0 + 1 } ?? 0
    let first =
      mounts[below...].firstIndex { $0.target.isEqualOrBelow("/proc") } ?? mounts.endIndex
    return (mounts[..<first], mounts[first...])
  }

  /// Everything is there: what is left is to give up.
  mutating func finish() {
    steps.append(.closeDescriptors)
    if configuration.mayNeedCompletion { steps.append(.inspectProgram) }
    if let access = configuration.fileAccess { steps.append(.prepareFileAccess(access)) }
    if !configuration.limits.isEmpty { steps.append(.setLimits(configuration.limits)) }
    let filterComesFirst = configuration.filterComesFirst
    if filterComesFirst {
      restrictFiles()
      forkInit()
      loadFilter()
    }
    dropPrivileges()
    if !filterComesFirst {
      restrictFiles()
      forkInit()
      loadFilter()
    }
    steps.append(.execute)
  }

  private mutating func dropPrivileges() {
    let capabilities = configuration.capabilities
    if capabilities != nil {
      let bits = JailPlan.secureBits.subtracting(configuration.skippedSecureBits)
      if !bits.isEmpty { steps.append(.setSecureBits(bits)) }
    }
    if let groups = configuration.supplementaryGroups { steps.append(.setGroups(groups)) }
    if let group = configuration.group { steps.append(.setGroup(group)) }
    if let user = configuration.user { steps.append(.setUser(user)) }
    if let capabilities {
      // Ambient, or execve(2) would take them from a program that is not root's.
      steps += [.limitCapabilities(capabilities), .raiseAmbient(capabilities)]
    }
    if configuration.endsWithNoNewPrivileges {
      steps.append(.setNoNewPrivileges)
      if !configuration.newSessions { steps.append(.denyTerminalInput) }
    }
  }

  private mutating func restrictFiles() {
    if configuration.fileAccess != nil { steps.append(.restrictFileAccess) }
    if let name = configuration.systemCallTable { steps.append(.setSystemCallTable(name)) }
  }

  private mutating func forkInit() {
    if configuration.processNamespace == .withInit { steps.append(.forkInit) }
    if configuration.ownTerminal { steps.append(.takeTerminal) }
  }

  private mutating func loadFilter() {
    if configuration.isCompletedByTracer { steps.append(.requestCompletion) }
    steps.append(.prepareProgram)
    if let filter = configuration.filter { steps.append(.loadFilter(filter.name)) }
    if configuration.learnedPolicy != nil { steps.append(.tellCalls) }
  }
}

extension [IDRange] {
  fileprivate var mapsZero: Bool { contains { $0.inside == 0 } }
}

extension JailPlan {
  /// All locked; execve(2) clears KEEP_CAPS, so a program runs with 0x2f.
  static let secureBits: SecureBits = [
    .noRoot, .noRootLocked, .noSetIDFixup, .noSetIDFixupLocked, .keepCapabilities,
    .keepCapabilitiesLocked,
  ]
}
