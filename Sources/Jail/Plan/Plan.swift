import CDaemonStoreLinux
import DaemonStoreKernel

/// What is done to start a jail, as a value: computed from the configuration alone, printed by
/// `--explain`, and carried out by ``start()``.
public struct JailPlan: Equatable, Sendable {
  package let configuration: JailConfiguration
  let steps: JailSteps

  /// Computes the steps. Nothing of the system is looked at or changed.
  ///
  /// - Throws: for a combination that makes no sense in any jail.
  public init(_ configuration: JailConfiguration) throws(JailError) {
    try configuration.check()
    self.configuration = configuration
    var planner = Planner(configuration)
    planner.enter()
    planner.mount()
    planner.finish()
    steps = planner.steps
  }

  /// What is done, in order: a line for each step, as `--explain` prints it.
  public var stepDescriptions: [String] { steps.descriptions }
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

  /// Whether capabilities that the program is not to have leave its bounding set: without the
  /// securebit, they could be dropped and come back.
  var limitsBoundingSet: Bool { skippedSecureBits.isDisjoint(with: [.noRoot, .noRootLocked]) }

  /// What makes everything a tracee that a program makes whose jail the launcher completes.
  var untraced: UntracedRefusal { UntracedRefusal(refusesRings: hasFileRulesForLater) }

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
    let mountsAnything =
      !mounts.isEmpty || minimalDevices || freshProcesses || temporaryBytes != nil
    if mountsAnything, !namespaces.contains(.mount), mountNamespaceFile == nil, root == .none {
      throw JailError("mounts without a mount namespace (-v) would be the host's")
    }
    if !daemonStores.isEmpty, !namespaces.contains(.mount) {
      throw JailError("--daemon-store needs a mount namespace (-v)")
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
