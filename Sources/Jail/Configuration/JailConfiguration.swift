import DaemonStoreKernel

/// What a jail is to be: the value that everything else is computed from. It can be printed and
/// compared, and nothing is done before a ``JailPlan`` of it is carried out.
///
/// The defaults are those of `minijail0` without options: the caller's ids, capabilities and
/// namespaces, with no_new_privs.
public struct JailConfiguration: Equatable, Sendable {
  /// A user or a group: the number counts, the name is for messages and for `-G`.
  public struct Identity: Equatable, Sendable {
    public let number: UInt32
    public let name: FilePath?

    public init(number: UInt32, name: FilePath? = nil) {
      self.number = number
      self.name = name
    }

    /// The name, else the number, for messages.
    var shown: String { name.map { "\($0)" } ?? "\(number)" }
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
    case changeRoot(FilePath)
    case pivotRoot(FilePath)

    public var path: FilePath? {
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

  /// Who does what must wait for the dynamic loader of a program.
  public enum Completion: String, Equatable, Sendable, CaseIterable {
    /// The launcher, from outside, with ptrace(2), at the program's entry point.
    case trace
    /// A library that is preloaded into the program. It trusts the program, whose initialisers run
    /// before it and can keep it from doing anything.
    case preload
  }

  // MARK: Who the program is

  public var user: Identity?
  public var group: Identity?
  /// nil: as the caller's.
  public var supplementaryGroups: [UInt32]?
  /// The permitted, effective, inheritable and bounding set; nil: whatever the change of user
  /// leaves.
  public var capabilities: CapabilitySet?
  /// Whether the program keeps them as ambient capabilities, which programs that it executes
  /// inherit. Without it, they are cleared before the program's `main`.
  public var raisesAmbient = false
  /// Bits that are left as they are where ``capabilities`` would set them.
  public var skippedSecureBits: SecureBits = []
  public var noNewPrivileges = true

  // MARK: What it is in

  public var namespaces: NamespaceKinds = []
  public var processNamespace = ProcessNamespace.inherited
  /// Together with `.user` in ``namespaces``: which ids there are in it.
  public var userMap: [IDRange]?
  public var groupMap: [IDRange]?
  /// Whether nobody in the namespace may change supplementary groups: a caller without CAP_SETGID
  /// may map a group only then.
  public var deniesGroupChange = false
  /// A network namespace to enter instead of a new one.
  public var networkNamespaceFile: FilePath?
  /// A mount namespace to enter first. With `.mount` in ``namespaces``, a copy of it.
  public var mountNamespaceFile: FilePath?
  public var hostName: RawArgument?
  public var newSessionKeyring = false

  // MARK: What it sees

  public var propagation = PropagationChange.set(.private)
  /// In this order.
  public var mounts: [JailMount] = []
  public var root = RootChange.none
  public var minimalDevices = false
  public var freshProcesses = false
  /// Bytes of the tmpfs on `/tmp`; nil for none.
  public var temporaryBytes: UInt64?
  /// The daemon stores that the program sees, with every login's folder, now and later.
  public var daemonStores: [FilePath] = []
  /// Whether other mounts of user data are taken out of the jail.
  public var removesUserData = false
  /// What it may reach of what it sees: landlock(7); nil for everything.
  public var fileAccess: FileAccess?

  // MARK: What it may call

  public var filter: SystemCallFilter?
  /// The calls of the program are recorded, and a policy of them goes to this file.
  public var learnedPolicy: FilePath?

  // MARK: How it runs

  public var limits: [ResourceLimit] = []
  /// In this order, to the caller's environment.
  public var environment: [EnvironmentEdit] = []
  /// Descriptors that the program inherits though they close on exec.
  public var preservedDescriptors: [CInt] = []
  /// Another system call table of the kernel's: `PR_ALT_SYSCALL` of ChromeOS.
  public var systemCallTable: RawArgument?
  public var pidFile: FilePath?
  public var background = false
  public var forwardsSignals = true
  public var newSessions = true
  /// Whether the program gets a terminal of its own as standard input, output and error, which the
  /// launcher shows on the caller's.
  public var ownTerminal = false
  /// nil: found out from the program's file, which must then be executable.
  public var linkage: Linkage?
  public var completion = Completion.trace
  /// How many seconds a program may take until the jail is complete, from execve(2) to its entry
  /// point; nil for any time.
  public var startTimeout: Int? = 90
  /// The library of ``Completion/preload``; nil: beside the launcher.
  public var preloadLibrary: FilePath?
  public var logging = Logging.auto
  /// Whether the jail does not start where there would only be a warning, as about what this kernel
  /// lacks.
  public var isStrict = false

  /// Exactly as typed; looked up inside the new root.
  public var program = RawArgument(bytes: [])
  public var arguments: [RawArgument] = []

  public init() {}
}

/// One line of a map of ids: user_namespaces(7).
public struct IDRange: Equatable, Sendable, CustomStringConvertible {
  /// The first id in the namespace, the first outside, and how many.
  public let inside: UInt32
  public let outside: UInt32
  public let count: UInt32

  public init(inside: UInt32, outside: UInt32, count: UInt32) {
    self.inside = inside
    self.outside = outside
    self.count = count
  }

  public var description: String { "\(inside) \(outside) \(count)" }
}

/// Both limits of one kind: getrlimit(2).
public struct ResourceLimit: Equatable, Sendable {
  /// What is limited: `RLIMIT_…`, with its number on all architectures that are supported.
  public enum Kind: CInt, Sendable, CaseIterable {
    case cpuTime, fileSize, data, stack, core, residentSet, processes, openFiles, lockedMemory
    case addressSpace, fileLocks, pendingSignals, messageQueues, nicePriority, realTimePriority
    case realTimeRuntime

    /// As in getrlimit(2).
    var name: String {
      let names = [
        "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS",
        "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
      ]
      return "RLIMIT_\(names[Int(rawValue)])"
    }
  }

  public let kind: Kind
  /// `UInt64.max` for no limit.
  public let soft: UInt64
  public let hard: UInt64

  public init(_ kind: Kind, soft: UInt64, hard: UInt64) {
    self.kind = kind
    self.soft = soft
    self.hard = hard
  }
}

/// A change of the environment.
public enum EnvironmentEdit: Equatable, Sendable {
  /// Forgets all of it.
  case reset
  /// Replaces the variable, or adds it at the end.
  case set(name: RawArgument, value: RawArgument)
}

extension EnvironmentEdit {
  /// What these make of an environment, entry by entry as in environ(7).
  static func apply(_ edits: [EnvironmentEdit], to environment: [RawArgument]) -> [RawArgument] {
    var result = environment
    /// Where each variable is, the first of its name, so that many edits take as long as they are many.
    var places: [ArraySlice<UInt8>: Int] = [:]
    for (index, entry) in environment.enumerated().reversed() {
      guard entry.bytes.contains(UInt8(ascii: "=")) else { continue }
      places[entry.bytes.prefix { $0 != UInt8(ascii: "=") }] = index
    }
    for edit in edits {
      switch edit {
      case .reset:
        result = []
        places = [:]
      case .set(let name, let value):
        let entry = RawArgument(bytes: name.bytes + [UInt8(ascii: "=")] + value.bytes)
        if let index = places[name.bytes[...]] {
          result[index] = entry
        } else {
          places[name.bytes[...]] = result.count
          result.append(entry)
        }
      }
    }
    return result
  }
}
