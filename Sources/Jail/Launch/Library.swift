import CLinux
import Glibc
import Kernel

// What a Swift service uses of this module; `minijail0` is a front of the same.

extension JailPlan {
  /// Starts the program of the configuration in its jail, as a child of this process.
  ///
  /// What goes wrong while the jail is set up, in the child, is one line on standard error there,
  /// and the exit status of the jail (``ExitStatus``): the program has not run then.
  ///
  /// - Precondition: this process has one thread, as fork(2) asks.
  public func start() throws(JailError) -> RunningJail {
    let mask = try step("block signals") { () throws(SystemError) in try SignalMask.blockAll() }
    defer { try? mask.restore() }
    return try Launcher(plan: self, log: Log()).start(mask)
  }

  /// What `minijail0 --explain` prints: what the program would be, the steps, and the mounts that
  /// it would see. Everything that the plan names is looked up; nothing is started.
  public func explanation() throws(JailError) -> String { try Explanation(self).text }
}

extension JailConfiguration {
  /// Confines the calling process itself, for good: its ids, capabilities, namespaces, mounts, root,
  /// limits and access to files, in the order of a ``JailPlan``.
  ///
  /// What concerns a program that is executed does not count: the program, its environment and
  /// descriptors, ``pidFile``, ``background`` and ``linkage``. A new pid or user namespace needs a
  /// child: ``JailPlan/start()``.
  ///
  /// - Throws: after an error the process may be confined in part. Its only way is to end.
  public func confine() throws(JailError) {
    guard processNamespace == .inherited, namespaces.isDisjoint(with: [.process, .user]) else {
      throw JailError("a process cannot enter a new pid or user namespace itself; start a child")
    }
    let threads = try step("count the threads") { () throws(SystemError) in
      try Directory(followingLinks: "/proc/self/task").names().count
    }
    guard threads == 1 else {
      throw JailError("this process has \(threads) threads, and only one would be confined")
    }
    guard !ownTerminal else {
      throw JailError("a process cannot get a terminal of its own here; start a child")
    }
    var configuration = self
    configuration.linkage = .static  // its loader has run: nothing waits for it
    let plan = try JailPlan(configuration)
    try StoreMounts.verify(daemonStores)
    let builder = JailBuilder(
      configuration, log: Log(), network: try Held.namespace(networkNamespaceFile, option: "-e"),
      mountNamespace: try Held.namespace(mountNamespaceFile, option: "-V "))
    for jailStep in plan.steps {
      switch jailStep {
      case .setLimits(let limits):
        for limit in limits {
          try step("-R \(limit.name)") { () throws(SystemError) in
            try setLimit(limit.kind, soft: limit.soft, hard: limit.hard, named: limit.name)
          }
        }
      // The capabilities are this process's already; ambient ones are for what it executes.
      case .raiseAmbient where !raisesAmbient: break
      default: try builder.carryOut(jailStep)
      }
    }
  }
}
