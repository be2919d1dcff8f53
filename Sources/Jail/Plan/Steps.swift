import DaemonStoreKernel
import Seccomp

// The steps of a plan. Each has the values that it is carried out with, and its type says who carries
// it out: an executor switches over the types that it can run, without a default, and no other.
//
//                      launcher's child  process 1 of -p  confine()  --explain
//  NamespaceStep              x                               x           x
//  MountStep                  x                               x           x
//  PrivilegeStep              x                 x             x           x
//  LaunchStep, ProgramStep    x                                           x

/// What a process becomes: its session, ids and namespaces but those of mounts.
enum NamespaceStep: Equatable, Sendable {
  /// setsid(2), if there is a terminal: the program must have nothing to do with the caller's.
  case newSession
  /// Become what the maps of the new user namespace say, so that files can be made in it.
  case becomeMapped(user: UInt32?, group: UInt32?)
  case unshare(NewNamespace)
  case setHostName(RawArgument)
  case enterNetwork(FilePath)
  case raiseLoopback
  case joinSessionKeyring
}

/// A namespace that the process makes without a child, but that of mounts.
enum NewNamespace: Equatable, Sendable {
  case ipc, uts, network, cgroup

  var kinds: NamespaceKinds {
    switch self {
    case .ipc: .ipc
    case .uts: .uts
    case .network: .network
    case .cgroup: .cgroup
    }
  }

  var option: String {
    switch self {
    case .ipc: "-l"
    case .uts: "--uts"
    case .network: "-e"
    case .cgroup: "-N"
    }
  }
}

/// What changes the mounts that the process sees, or prepares that.
enum MountStep: Equatable, Sendable {
  case enterNamespace(FilePath)
  /// A new mount namespace. Where mounts are looked up later, its `/proc` is opened.
  case newNamespace(opensProcesses: Bool)
  case setPropagation(Propagation)
  /// Takes the stores out of the tree, so that they stay slaves whatever becomes of the rest.
  case gatherStores([FilePath], rest: Propagation)
  /// Makes the new `/proc` while an old one is still in sight: in a user namespace, only who sees
  /// one may make another.
  case buildProcesses
  /// Notes which file systems are users' data, while the whole table is in sight.
  case findUserData
  case removeUserData
  case buildDevices(hasTerminal: Bool)
  case mount(JailMount)
  /// A mount in the new `/dev`, which is not there before all mounts are: it waits. What it shows is
  /// opened in its turn.
  case mountInDevices(JailMount)
  case placeProcesses(root: FilePath?)
  /// Binds the new root on itself, if it is not the root of a mount already.
  case makeMountPoint(FilePath)
  case placeStores(root: FilePath?)
  case placeDevices(root: FilePath?)
  case changeRoot(FilePath)
  case pivotRoot(FilePath)
  case mountTemporaryDirectory(bytes: UInt64)
}

/// What is given up, and cannot be taken back.
enum PrivilegeStep: Equatable, Sendable {
  /// What is done where the session stays: the program cannot type into the terminal.
  case denyTerminalInput
  case setSecureBits(SecureBits)
  case setGroups([UInt32])
  case setGroup(JailConfiguration.Identity)
  case setUser(JailConfiguration.Identity)
  case limitCapabilities(CapabilitySet, limitsBounding: Bool)
  /// - Parameter forExecution: whether they are ambient only so that execve(2) leaves them.
  case raiseAmbient(CapabilitySet, forExecution: Bool)
  case setNoNewPrivileges
  case restrictFileAccess
  case setSystemCallTable(RawArgument)
}

/// What a launcher's child does for the program while it is set up.
enum LaunchStep: Equatable, Sendable {
  /// Opens the library that is preloaded into the program, while its path still leads there.
  case openLibrary(mayStayInPlace: Bool)
  /// Makes the program's own terminal: a new devpts where there is a mount namespace.
  case openTerminal(ownDevices: Bool, owner: UInt32?)
  case placeTerminal(root: FilePath?)
  /// Looks at the program's file inside the jail: whether it has a loader, and can be completed.
  case inspectProgram(ProgramInspection)
}

/// A filter of system calls, which decides about all that comes after it.
enum CallStep: Equatable, Sendable {
  case load(SystemCallFilter)
  /// The calls of the program wait for the launcher, which records them and lets them go.
  case tell
}

/// What the program's process does last.
enum ProgramStep: Equatable, Sendable {
  case takeTerminal
  /// Tells the launcher what is left to it when the loader is done.
  case requestCompletion(refusingUntraced: UntracedRefusal?)
  /// Ends what was blocked and inherited of the launcher, closes the last descriptors, and allocates
  /// what `execute` needs: a filter may deny all of it.
  case prepare
  case limitCalls(CallStep)
  /// The trampoline does it, which `prepare` makes.
  case leaveToTrampoline(CallStep)
}

/// A step before the program's process parts from process 1, if there is to be one.
enum SetUpStep: Equatable, Sendable {
  case namespace(NamespaceStep)
  case mount(MountStep)
  case privilege(PrivilegeStep)
  case launch(LaunchStep)
  /// Closes every descriptor that the program is not to have and that no later step needs.
  case closeDescriptors
  /// Opens what the rules allow, while everything can be opened.
  case prepareFileAccess(FileAccess)
  case setLimits([ResourceLimit])
}

/// A step after that: process 1 gives up the same as the program's process.
enum FinalStep: Equatable, Sendable {
  case privilege(PrivilegeStep)
  case program(ProgramStep)
}

/// A step of a process that confines itself.
enum ConfinementStep: Equatable, Sendable {
  case namespace(NamespaceStep)
  case mount(MountStep)
  case privilege(PrivilegeStep)
  case closeDescriptors
  case prepareFileAccess(FileAccess)
  case setLimits([ResourceLimit])
  case loadFilter(SystemCallFilter)
}

/// What the steps of one jail have in common.
struct JailContext: Equatable, Sendable {
  let root: JailConfiguration.RootChange
  let isInUserNamespace: Bool
  /// Whether copies of mounts are made private.
  let copiesArePrivate: Bool
  /// Whether the mounts are as the caller's namespace has them, so that changes reach that.
  let sharesMounts: Bool
  /// The owner of mount points that are made.
  let user: UInt32
  let group: UInt32
  let isStrict: Bool
  /// For messages: what may hide the source of a mount.
  let mounts: [JailMount]

  init(_ configuration: JailConfiguration) {
    root = configuration.root
    mounts = configuration.mounts
    isInUserNamespace = configuration.namespaces.contains(.user)
    copiesArePrivate = configuration.propagation == .set(.private)
    sharesMounts =
      configuration.propagation == .unchanged && configuration.namespaces.contains(.mount)
      && !isInUserNamespace
    user = configuration.user?.number ?? 0
    group = configuration.group?.number ?? 0
    isStrict = configuration.isStrict
  }
}

/// The program, and what its process needs from before its set-up ends until it is executed.
struct ProgramStart: Equatable, Sendable {
  let program: RawArgument
  let arguments: [RawArgument]
  let environment: [EnvironmentEdit]
  let preservedDescriptors: [CInt]
  let hasOwnTerminal: Bool
  /// Whether the program's process says itself why it was not executed.
  let isInBackground: Bool
  let tellsCalls: Bool
  /// Whether its ambient capabilities are cleared when the loader is done.
  let clearsAmbient: Bool
  let usesTrampoline: Bool

  init(_ configuration: JailConfiguration) {
    program = configuration.program
    arguments = configuration.arguments
    environment = configuration.environment
    preservedDescriptors = configuration.preservedDescriptors
    hasOwnTerminal = configuration.ownTerminal
    isInBackground = configuration.background
    tellsCalls = configuration.learnedPolicy != nil
    clearsAmbient = configuration.clearsAmbientLater
    usesTrampoline = configuration.usesTrampoline
  }
}

/// All steps of a jail, in the order of doing.
struct JailSteps: Equatable, Sendable {
  let context: JailContext
  let program: ProgramStart
  var setUp: [SetUpStep] = []
  /// Whether process 1 stays behind to reap and to forward signals, while its child goes on.
  let forksInit: Bool
  var ending: [FinalStep] = []

  init(_ configuration: JailConfiguration) {
    context = JailContext(configuration)
    program = ProgramStart(configuration)
    forksInit = configuration.processNamespace == .withInit
  }

  /// What the launcher sets from outside when the jail asks for it.
  var limits: [ResourceLimit] {
    setUp.flatMap { (step) -> [ResourceLimit] in
      if case .setLimits(let limits) = step { limits } else { [] }
    }
  }

  /// What a trampoline does before it executes the program.
  var trampolineCalls: [CallStep] {
    ending.compactMap { (step) -> CallStep? in
      if case .program(.leaveToTrampoline(let call)) = step { call } else { nil }
    }
  }

  /// What is left for a process that executes no program.
  ///
  /// - Throws: where a step needs a program or another process: nothing is skipped.
  func confinement() throws(JailError) -> [ConfinementStep] {
    var steps: [ConfinementStep] = []
    for setUpStep in setUp {
      switch setUpStep {
      case .namespace(let step): steps.append(.namespace(step))
      case .mount(let step): steps.append(.mount(step))
      case .privilege(let step): steps += Self.confinement(step)
      case .closeDescriptors: steps.append(.closeDescriptors)
      case .prepareFileAccess(let access): steps.append(.prepareFileAccess(access))
      case .setLimits(let limits): steps.append(.setLimits(limits))
      case .launch(let step): throw Self.needsProgram(step.description)
      }
    }
    if forksInit { throw Self.needsProgram(Self.forkText) }
    for finalStep in ending {
      switch finalStep {
      case .privilege(let step): steps += Self.confinement(step)
      case .program(.limitCalls(.load(let filter))),
        .program(.leaveToTrampoline(.load(let filter))):
        steps.append(.loadFilter(filter))
      case .program(.prepare): break  // all of it is about execve(2)
      case .program(.takeTerminal), .program(.requestCompletion), .program(.limitCalls(.tell)),
        .program(.leaveToTrampoline(.tell)):
        throw Self.needsProgram(finalStep.description)
      }
    }
    return steps
  }

  /// Capabilities that are ambient for execve(2) alone are the process's already.
  private static func confinement(_ step: PrivilegeStep) -> [ConfinementStep] {
    if case .raiseAmbient(_, forExecution: true) = step { [] } else { [.privilege(step)] }
  }

  private static func needsProgram(_ text: String) -> JailError {
    JailError("a process that confines itself cannot do this: \(text); start a child")
  }
}
