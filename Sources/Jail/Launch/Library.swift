import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

// What a Swift service uses of this module; `minijail0` is a front of the same.

extension JailPlan {
  /// Starts the program of the configuration in its jail, as a child of this process.
  ///
  /// What goes wrong while the jail is set up, in the child, is one line on standard error there,
  /// and the exit status of the jail (``ExitStatus``): the program has not run then.
  ///
  /// When this returns, the jail is complete and the program runs, or has ended already; with
  /// ``JailConfiguration/Completion/preload`` it is complete while
  /// ``RunningJail/wait(forwarding:)`` waits. SIGCHLD has its default action from here on.
  ///
  /// - Precondition: this process has one thread, as fork(2) asks, and no other part of it reaps
  ///   children.
  /// - Throws: when a part that this process does failed; the jail is ended.
  public func start() throws(JailError) -> RunningJail {
    let mask = try step("block signals") { () throws(SystemError) in try SignalMask.blockAll() }
    defer { try? mask.restore() }
    return try Launcher(plan: self, log: Log()).start(mask, taking: .none)
  }

  /// What `minijail0 --explain` prints: what the program would be, the steps, and the mounts that
  /// it would see. Everything that the plan names is looked up; nothing is started.
  ///
  /// - Throws: when something of that is missing or cannot be read.
  public func explanation() throws(JailError) -> String { try Explanation(self).text }
}

extension JailConfiguration {
  /// Confines the calling process itself, for good: its ids, capabilities, namespaces, mounts, root,
  /// limits, access to files and system calls, in the order of a ``JailPlan``.
  ///
  /// What concerns a program that is executed is refused: ``program``, ``arguments``,
  /// ``environment``, ``preservedDescriptors``, ``ownTerminal``, ``linkage``, ``completion``,
  /// ``startTimeout`` and ``preloadLibrary``. A new pid or user namespace needs a child:
  /// ``JailPlan/start()``.
  ///
  /// - Throws: also for a process of more than one thread. After an error the process may be
  ///   confined in part, and has to end.
  public func confine() throws(JailError) {
    guard processNamespace == .inherited, namespaces.isDisjoint(with: [.process, .user]) else {
      throw JailError("a process cannot enter a new pid or user namespace itself; start a child")
    }
    if let name = programOnly {
      throw JailError("\(name) is about a program that is executed, and confine() executes none")
    }
    let threads = try step("count the threads") { () throws(SystemError) in
      try Directory(followingLinks: "/proc/self/task").names().count
    }
    guard threads == 1 else {
      throw JailError("this process has \(threads) threads, and only one would be confined")
    }
    var configuration = self
    // As a program that minijail0 starts, which has a loader, as a rule.
    configuration.noNewPrivileges = endsWithNoNewPrivileges
    configuration.linkage = .static  // its loader has run: nothing waits for it
    let steps = try JailPlan(configuration).steps
    let confinement = try steps.confinement()
    try StoreMounts.verify(daemonStores)
    let builder = JailBuilder(steps.context, log: Log(), try NamespaceFiles(configuration))
    // Never freed: behind a filter, nothing could be closed.
    _ = Unmanaged.passRetained(builder)
    for confinementStep in confinement { try builder.confine(confinementStep) }
  }

  /// The first part that differs from its default though it says nothing to a process that confines
  /// itself.
  private var programOnly: String? {
    let standard = JailConfiguration()
    let differs: [(String, Bool)] = [
      ("program", program != standard.program), ("arguments", arguments != standard.arguments),
      ("environment", environment != standard.environment),
      ("preservedDescriptors", preservedDescriptors != standard.preservedDescriptors),
      ("pidFile", pidFile != standard.pidFile), ("background", background != standard.background),
      ("forwardsSignals", forwardsSignals != standard.forwardsSignals),
      ("ownTerminal", ownTerminal != standard.ownTerminal),
      ("linkage", linkage != standard.linkage), ("completion", completion != standard.completion),
      ("startTimeout", startTimeout != standard.startTimeout),
      ("preloadLibrary", preloadLibrary != standard.preloadLibrary),
      ("learnedPolicy", learnedPolicy != standard.learnedPolicy),
      ("logging", logging != standard.logging),
    ]
    return differs.first { $0.1 }?.0
  }
}

extension JailBuilder {
  /// One step in a process that goes on afterwards.
  fileprivate func confine(_ confinementStep: ConfinementStep) throws(JailError) {
    switch confinementStep {
    case .namespace(let step): try carryOut(step)
    case .mount(let step): try carryOut(step)
    case .privilege(let step): try carryOut(step)
    case .closeDescriptors: forgetDescriptors()
    case .prepareFileAccess(let access): try prepare(access, .none)
    case .setLimits(let limits):
      for limit in limits {
        try step("-R \(limit.kind.name)") { () throws(SystemError) in
          try setLimit(
            limit.kind.rawValue, soft: limit.soft, hard: limit.hard, named: "\(limit.kind.name)")
        }
      }
    case .loadFilter(let filter): try Self.load(filter)
    }
  }
}
