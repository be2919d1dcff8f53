import Kernel

/// What a jail is to be, as asked for: the value that everything else is computed from.
public struct JailConfiguration: Equatable, Sendable {
  /// A user or a group: the number counts, the name is for messages and for `-G`.
  public struct Identity: Equatable, Sendable {
    public let number: UInt32
    public let name: String?

    public init(number: UInt32, name: String? = nil) {
      self.number = number
      self.name = name
    }
  }

  /// pid_namespaces(7): who is process 1.
  public enum ProcessNamespace: Equatable, Sendable {
    case inherited
    /// A new one, with an init of ours that reaps and forwards signals.
    case withInit
    /// A new one whose first process is the program itself.
    case programIsInit
  }

  /// What happens to the propagation of all mounts in a new mount namespace.
  public enum PropagationChange: Equatable, Sendable {
    case set(Propagation)
    /// Peers stay peers: what is mounted in the jail appears on the host.
    case unchanged
  }

  public enum RootChange: Equatable, Sendable {
    case none
    case changeRoot(String)
    case pivotRoot(String)

    public var path: String? {
      switch self {
      case .none: nil
      case .changeRoot(let path), .pivotRoot(let path): path
      }
    }
  }

  public enum Linkage: String, Equatable, Sendable {
    case `static`, dynamic
  }

  public enum Logging: String, Equatable, Sendable, CaseIterable {
    case auto, syslog, stderr
  }

  public var user: Identity?
  public var group: Identity?
  /// nil: as the caller's.
  public var supplementaryGroups: [UInt32]?
  /// nil: whatever the change of user leaves.
  public var capabilities: CapabilitySet?
  /// Whether the program keeps the ambient set that lets `execve(2)` give it the capabilities.
  public var raisesAmbient = false
  public var noNewPrivileges = true

  public var namespaces: NamespaceKinds = []
  public var processNamespace = ProcessNamespace.inherited
  /// A network namespace to enter instead of a new one.
  public var networkNamespaceFile: String?
  public var hostName: String?
  public var newSessionKeyring = false

  public var propagation = PropagationChange.set(.private)
  public var mounts: [JailMount] = []
  public var root = RootChange.none
  public var minimalDevices = false
  public var freshProcesses = false
  /// Bytes of the tmpfs on `/tmp`; nil for none.
  public var temporaryBytes: UInt64?
  /// The daemon stores that the program sees, with every login's folder, now and later.
  public var daemonStores: [String] = []
  /// Whether other mounts of user data are taken out of the jail.
  public var removesUserData = false

  public var pidFile: String?
  public var background = false
  public var forwardsSignals = true
  public var newSessions = true
  /// nil: found out from the program's file, which must then be executable.
  public var linkage: Linkage?
  public var logging = Logging.auto

  /// Exactly as typed; looked up inside the new root.
  public var program = RawArgument(bytes: [])
  public var arguments: [RawArgument] = []

  public init() {}
}

/// One `-b` or `-k`, or one that a profile brings.
public struct JailMount: Equatable, Sendable {
  public let source: String
  /// Absolute, as the program sees it.
  public let target: String
  public let kind: Kind
  /// Whether a missing source is skipped with a warning.
  public var isOptional = false

  public enum Kind: Equatable, Sendable {
    /// `-b`: never recursive, and read-only unless it says otherwise, whatever the source is.
    case bind(writable: Bool)
    /// `-k`: as mount(2) takes them.
    case filesystem(type: String, flags: MountFlags, data: String)
  }

  public init(source: String, target: String, kind: Kind, isOptional: Bool = false) {
    self.source = source
    self.target = target
    self.kind = kind
    self.isOptional = isOptional
  }

  /// Whether something that exists is shown at the target, not a new file system or a change.
  public var isBind: Bool {
    switch kind {
    case .bind: true
    case .filesystem(_, let flags, _): flags.contains(.bind) && !flags.contains(.remount)
    }
  }

  /// Whether the mounts below the source come along.
  public var isRecursive: Bool {
    if case .filesystem(_, let flags, _) = kind { flags.contains(.recursive) } else { false }
  }

  /// Whether it changes mounts that are there, and adds none.
  public var isChange: Bool {
    guard case .filesystem(_, let flags, _) = kind else { return false }
    return flags.contains(.remount)
      || (!flags.contains(.bind) && !flags.isDisjoint(with: .propagation))
  }
}
