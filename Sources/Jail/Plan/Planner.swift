import DaemonStoreKernel

/// Puts the steps together, in the order of the reference: namespaces, mounts, root, privileges.
struct Planner {
  private let configuration: JailConfiguration
  private(set) var steps: JailSteps

  init(_ configuration: JailConfiguration) {
    self.configuration = configuration
    steps = JailSteps(configuration)
  }

  private var hasStores: Bool { !configuration.daemonStores.isEmpty }
  private var root: FilePath? { configuration.root.path }

  private mutating func add(_ step: NamespaceStep) { steps.setUp.append(.namespace(step)) }
  private mutating func add(_ step: MountStep) { steps.setUp.append(.mount(step)) }
  private mutating func add(_ step: LaunchStep) { steps.setUp.append(.launch(step)) }

  mutating func enter() {
    let namespaces = configuration.namespaces
    if namespaces.contains(.user), configuration.userMap != nil || configuration.groupMap != nil {
      add(.becomeMapped(user: configuration.firstUser, group: configuration.firstGroup))
    }
    if configuration.newSessions {
      add(.newSession)
    } else if !configuration.endsWithNoNewPrivileges {
      steps.setUp.append(.privilege(.denyTerminalInput))
    }
    enterMounts()
    if namespaces.contains(.ipc) { add(.unshare(.ipc)) }
    if namespaces.contains(.uts) {
      add(.unshare(.uts))
      if let name = configuration.hostName { add(.setHostName(name)) }
    }
    if let file = configuration.networkNamespaceFile {
      add(.enterNetwork(file))
    } else if namespaces.contains(.network) {
      add(.unshare(.network))
      add(.raiseLoopback)
    }
    if namespaces.contains(.cgroup) { add(.unshare(.cgroup)) }
    if configuration.newSessionKeyring { add(.joinSessionKeyring) }
    if configuration.ownTerminal {
      add(
        .openTerminal(
          ownDevices: namespaces.contains(.mount), owner: configuration.user?.number))
    }
  }

  private mutating func enterMounts() {
    let isNew = configuration.namespaces.contains(.mount)
    // A copy of the library's mount can be made only in the namespace that the mount is in.
    let entersMounts = configuration.mountNamespaceFile != nil
    let staysInPlace =
      configuration.namespaces.isDisjoint(with: [.mount, .user]) && root == nil && !entersMounts
    let opensLibrary = configuration.usesLibrary
    if opensLibrary, entersMounts || !isNew { add(.openLibrary(mayStayInPlace: staysInPlace)) }
    if let file = configuration.mountNamespaceFile { add(.enterNamespace(file)) }
    guard isNew else { return }
    add(.newNamespace(opensProcesses: configuration.removesUserData))
    if opensLibrary, !entersMounts { add(.openLibrary(mayStayInPlace: staysInPlace)) }
    switch configuration.propagation {
    case .set(let mode) where hasStores: add(.gatherStores(configuration.daemonStores, rest: mode))
    case .set(let mode): add(.setPropagation(mode))
    case .unchanged: break
    }
  }

  // MARK: Mounts

  mutating func mount() {
    if configuration.freshProcesses { add(.buildProcesses) }
    let pivots = if case .pivotRoot = configuration.root { true } else { false }
    if configuration.removesUserData {
      add(.findUserData)
      // A pivot leaves all of it behind, unless a copy of the tree brings it along; else it goes
      // before a mount can hide it from us.
      let copies = configuration.mounts.contains { $0.isBind && $0.isRecursive }
      if !pivots || copies { add(.removeUserData) }
    }
    if configuration.minimalDevices { add(.buildDevices(hasTerminal: configuration.ownTerminal)) }
    // The new /proc comes below what the caller mounts on or in /proc, but not below another root.
    let late = indexOfMountsInProcesses
    add(configuration.mounts[..<late])
    if configuration.freshProcesses { add(.placeProcesses(root: root)) }
    add(configuration.mounts[late...])
    if needsRun { add(.mount(Self.run)) }
    if case .pivotRoot(let path) = configuration.root { add(.makeMountPoint(path)) }
    if hasStores { add(.placeStores(root: root)) }
    if configuration.minimalDevices { add(.placeDevices(root: root)) }
    if configuration.ownTerminal, configuration.namespaces.contains(.mount) {
      add(.placeTerminal(root: root))
    }
    // What a -b or -k brought in again. Nothing else could: the tree is private by now.
    if configuration.removesUserData, !pivots, !configuration.mounts.isEmpty {
      add(.removeUserData)
    }
    switch configuration.root {
    case .none: break
    case .changeRoot(let path): add(.changeRoot(path))
    case .pivotRoot(let path): add(.pivotRoot(path))
    }
    if configuration.removesUserData, pivots { add(.removeUserData) }
    if let bytes = configuration.temporaryBytes { add(.mountTemporaryDirectory(bytes: bytes)) }
  }

  private mutating func add(_ mounts: ArraySlice<JailMount>) {
    for mount in mounts {
      let isInDevices =
        configuration.minimalDevices && mount.target.isEqualOrBelow("/dev")
        && mount.target.components.count > 1
      add(isInDevices ? .mountInDevices(mount) : .mount(mount))
    }
  }

  private var indexOfMountsInProcesses: Int {
    let mounts = configuration.mounts
    let below =
      mounts.lastIndex { $0.target.components.isEmpty && !$0.isChange }.map { $0 + 1 } ?? 0
    return mounts[below...].firstIndex { $0.target.isEqualOrBelow("/proc") } ?? mounts.endIndex
  }

  /// For the stores of a new root that is a bind of another: its own `/run` is on a disk, and read
  /// only.
  private static let run = JailMount(
    source: "daemon-store", target: "/run",
    kind: .filesystem(type: "tmpfs", flags: .standard, data: "mode=0755,size=10M"))

  /// Unless something is mounted in `/run` already, which a tmpfs would hide.
  private var needsRun: Bool {
    let mounts = configuration.mounts
    return hasStores && root != nil
      && mounts.contains { $0.target == "/" && $0.isBind && !$0.isRecursive }
      && !mounts.contains { $0.target.isEqualOrBelow("/run") }
  }

  // MARK: The end

  /// Everything is there: what is left is to give up.
  mutating func finish() {
    steps.setUp.append(.closeDescriptors)
    if configuration.mayNeedCompletion { add(.inspectProgram(ProgramInspection(configuration))) }
    if let access = configuration.fileAccess { steps.setUp.append(.prepareFileAccess(access)) }
    if !configuration.limits.isEmpty { steps.setUp.append(.setLimits(configuration.limits)) }
    if configuration.filterComesFirst {
      steps.setUp += fileRestrictions.map { .privilege($0) }
      steps.ending += filter.map { .program($0) } + privileges.map { .privilege($0) }
    } else {
      steps.setUp += (privileges + fileRestrictions).map { .privilege($0) }
      steps.ending += filter.map { .program($0) }
    }
  }

  private var privileges: [PrivilegeStep] {
    var steps: [PrivilegeStep] = []
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
      steps += [
        .limitCapabilities(capabilities, limitsBounding: configuration.limitsBoundingSet),
        .raiseAmbient(capabilities, forExecution: !configuration.raisesAmbient),
      ]
    }
    if configuration.endsWithNoNewPrivileges {
      steps.append(.setNoNewPrivileges)
      if !configuration.newSessions { steps.append(.denyTerminalInput) }
    }
    return steps
  }

  private var fileRestrictions: [PrivilegeStep] {
    (configuration.fileAccess == nil ? [] : [.restrictFileAccess])
      + (configuration.systemCallTable.map { [.setSystemCallTable($0)] } ?? [])
  }

  private var filter: [ProgramStep] {
    var steps: [ProgramStep] = configuration.ownTerminal ? [.takeTerminal] : []
    if configuration.isCompletedByTracer {
      steps.append(
        .requestCompletion(
          refusingUntraced: configuration.endsWithNoNewPrivileges ? configuration.untraced : nil))
    }
    steps.append(.prepare)
    let calls: [CallStep] =
      (configuration.filter.map { [.load($0)] } ?? [])
      + (configuration.learnedPolicy == nil ? [] : [.tell])
    return steps
      + calls.map { configuration.usesTrampoline ? .leaveToTrampoline($0) : .limitCalls($0) }
  }
}
