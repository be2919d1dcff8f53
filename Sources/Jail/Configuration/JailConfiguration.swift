import DaemonStoreKernel

/// What a jail is to be: the value that everything else is computed from. It can be printed and
/// compared, and nothing is done before a ``JailPlan`` of it is carried out.
///
/// The defaults are those of `minijail0` without options: the caller's ids, capabilities and
/// namespaces, with no_new_privs.
public struct JailConfiguration: Equatable, Sendable {
  /// A user or a group: the number counts, the name is for messages and for `-G`.
  public struct Identity: Equatable, Sendable {
    /// The id: with a new user namespace, one inside it.
    public let number: UInt32
    /// The name of the account; nil where it is not known, and messages have the number then.
    public let name: FilePath?

    /// Makes an identity. The account database is not looked at: the name need not be that of the
    /// number.
    public init(number: UInt32, name: FilePath? = nil) {
      self.number = number
      self.name = name
    }

    /// The name, else the number, for messages.
    var shown: String { name.map { "\($0)" } ?? "\(number)" }
  }

  /// The pid namespace of the program, and its process 1: pid_namespaces(7).
  public enum ProcessNamespace: Equatable, Sendable {
    /// The caller's.
    case inherited
    /// A new one, with an init of ours that reaps and forwards signals.
    case withInit
    /// A new one whose first process is the program itself.
    case programIsInit
  }

  /// What happens to the propagation of all mounts in a new mount namespace.
  public enum PropagationChange: Equatable, Sendable {
    /// All of them get this propagation.
    case set(Propagation)
    /// Peers stay peers: what is mounted in the jail appears on the host.
    case unchanged
  }

  /// The root directory of the program, which is its working directory too.
  public enum RootChange: Equatable, Sendable {
    /// The caller's, and the caller's working directory.
    case none
    /// chroot(2) to this directory. The old root's mounts stay in the jail.
    case changeRoot(FilePath)
    /// pivot_root(2) to this directory: nothing of the old root stays in the jail.
    case pivotRoot(FilePath)

    package var path: FilePath? {
      switch self {
      case .none: nil
      case .changeRoot(let path), .pivotRoot(let path): path
      }
    }
  }

  /// Whether a program has a dynamic loader: ld.so(8).
  public enum Linkage: String, Equatable, Sendable {
    /// The program has none: the jail is complete before execve(2).
    case `static`
    /// The loader runs first: what it cannot work under comes into force at the entry point.
    case dynamic
  }

  /// Where `minijail0` writes its messages.
  package enum Logging: String, Equatable, Sendable, CaseIterable {
    case auto, syslog, stderr
  }

  /// What completes the jail of a dynamic program when its loader is done.
  public enum Completion: String, Equatable, Sendable, CaseIterable {
    /// The launcher, from outside, with ptrace(2), at the program's entry point.
    case trace
    /// A library that is preloaded into the program. It trusts the program, whose initialisers run
    /// before it and can keep it from doing anything.
    case preload
  }

  // MARK: Who the program is

  /// The real, effective, saved and file-system user; nil: the caller's.
  public var user: Identity?
  /// The same of the group; nil: the caller's.
  public var group: Identity?
  /// All supplementary groups, by number; nil: the caller's, whatever ``user`` is.
  public var supplementaryGroups: [UInt32]?
  /// The permitted, effective, inheritable and bounding set; nil: whatever the change of user
  /// leaves.
  public var capabilities: CapabilitySet?
  /// Whether the program keeps them as ambient capabilities, which programs that it executes
  /// inherit. Without it, they are cleared before the program's `main`.
  public var raisesAmbient = false
  /// Bits that are left as they are where ``capabilities`` would set them.
  package var skippedSecureBits: SecureBits = []
  /// Whether no execve(2) gives privileges, by set-user-ID or otherwise: PR_SET_NO_NEW_PRIVS of
  /// prctl(2). A dynamic program with a ``filter``, or with ``fileAccess`` that its loader could
  /// not work under, has it in any case.
  public var noNewPrivileges = true

  // MARK: What it is in

  /// The kinds that the program gets new ones of. `.process` goes together with
  /// ``processNamespace``.
  public var namespaces: NamespaceKinds = []
  /// Which process is process 1 of a new pid namespace; without one, `.inherited`.
  public var processNamespace = ProcessNamespace.inherited
  /// The users of a new user namespace (`.user` in ``namespaces``), at most 340 ranges; nil: none
  /// is mapped, and all show as 65534. A caller without CAP_SETUID needs newuidmap(1) for any but
  /// its own.
  public var userMap: [IDRange]?
  /// The same for groups, CAP_SETGID and newgidmap(1).
  public var groupMap: [IDRange]?
  /// Whether setgroups(2) is denied in the new user namespace: a caller without CAP_SETGID may map
  /// a group only then.
  public var deniesGroupChange = false
  /// A network namespace to enter instead of a new one.
  public var networkNamespaceFile: FilePath?
  /// A mount namespace to enter first. With `.mount` in ``namespaces``, a copy of it.
  public var mountNamespaceFile: FilePath?
  /// The host name in a new UTS namespace (`.uts` in ``namespaces``), at most 64 bytes; nil: as
  /// outside.
  public var hostName: RawArgument?
  /// Whether the program gets an empty session keyring: session-keyring(7).
  public var newSessionKeyring = false

  // MARK: What it sees

  /// What happens to all mounts of a new mount namespace (`.mount` in ``namespaces``) before any of
  /// ``mounts``.
  public var propagation = PropagationChange.set(.private)
  /// What is mounted, in this order. They need a mount namespace or a new root: otherwise they
  /// would be the host's, and a plan throws.
  public var mounts: [JailMount] = []
  /// The root directory, after ``mounts``.
  public var root = RootChange.none
  /// Whether `/dev` is a new tmpfs with null, zero, full, urandom, tty, links and an empty shm.
  public var minimalDevices = false
  /// Whether `/proc` is a new one of the program's pid namespace, read-only.
  public var freshProcesses = false
  /// Size in bytes of the tmpfs on `/tmp`; nil for none.
  public var temporaryBytes: UInt64?
  /// The names of the daemon stores that the program sees, with the folder of each user who is
  /// logged in, now and later. A store that does not exist is an error of the start.
  public var daemonStores: [FilePath] = []
  /// Whether mounts of users' data other than ``daemonStores`` are taken out of the jail.
  public var removesUserData = false
  /// What it may reach of what it sees: landlock(7); nil for everything.
  public var fileAccess: FileAccess?

  // MARK: What it may call

  /// The system calls that the program, and all that it starts, may make; nil for all.
  public var filter: SystemCallFilter?
  /// The calls of the program are recorded, and a policy of them goes to this file.
  package var learnedPolicy: FilePath?

  // MARK: How it runs

  /// Resource limits, set in this order: setrlimit(2).
  public var limits: [ResourceLimit] = []
  /// Changes of the caller's environment, in this order.
  public var environment: [EnvironmentEdit] = []
  /// The numbers of descriptors that the program inherits though they close on exec. Those that are
  /// not so marked are inherited anyway.
  public var preservedDescriptors: [CInt] = []
  /// Another system call table of the kernel's: `PR_ALT_SYSCALL` of ChromeOS.
  package var systemCallTable: RawArgument?
  package var pidFile: FilePath?
  package var background = false
  package var forwardsSignals = true
  /// Whether the jail starts a new session, if the caller has a terminal: setsid(2). Otherwise the
  /// program keeps that terminal, and can read what is typed there.
  public var newSessions = true
  /// Whether the program gets a new terminal as standard input, output and error, which
  /// ``RunningJail/wait(forwarding:)`` shows on the caller's standard input and output.
  public var ownTerminal = false
  /// nil: found out from the program's file, which must then be executable.
  public var linkage: Linkage?
  /// What completes the jail of a dynamic program.
  public var completion = Completion.trace
  /// How many seconds a program may take until the jail is complete, from the start of the jail to
  /// the program's entry point; it is killed then. nil for any time.
  public var startTimeout: Int? = 90
  /// The library of ``Completion/preload``; nil: beside the launcher.
  public var preloadLibrary: FilePath?
  package var logging = Logging.auto
  /// Whether the jail does not start where there would only be a warning, as about what this kernel
  /// lacks.
  public var isStrict = false

  /// The path of the program, looked up inside the new root; `PATH` is not searched. It is also the
  /// first word of the program's arguments, exactly as given.
  public var program = RawArgument(bytes: [])
  /// The words after ``program``, with no NUL in them.
  public var arguments: [RawArgument] = []

  /// A jail that changes nothing but no_new_privs, and has no program yet.
  public init() {}
}

/// One line of a map of ids: user_namespaces(7).
public struct IDRange: Equatable, Sendable, CustomStringConvertible {
  /// The first id in the namespace.
  public let inside: UInt32
  /// The first id in the caller's user namespace.
  public let outside: UInt32
  /// How many ids follow each other from there on, on both sides.
  public let count: UInt32

  /// Makes a range. The kernel refuses a count of 0 and ranges that overlap.
  public init(inside: UInt32, outside: UInt32, count: UInt32) {
    self.inside = inside
    self.outside = outside
    self.count = count
  }

  /// The line of `/proc/PID/uid_map`, without its end.
  public var description: String { "\(inside) \(outside) \(count)" }
}

/// Both limits of one kind: getrlimit(2).
public struct ResourceLimit: Equatable, Sendable {
  /// What is limited: `RLIMIT_…`, with its number on all architectures that are supported.
  public enum Kind: CInt, Sendable, CaseIterable {
    /// RLIMIT_CPU: seconds of processor time of the process.
    case cpuTime
    /// RLIMIT_FSIZE: bytes of a file that is written.
    case fileSize
    /// RLIMIT_DATA: bytes of data segment, heap and private writable memory.
    case data
    /// RLIMIT_STACK: bytes of the stack.
    case stack
    /// RLIMIT_CORE: bytes of a core dump; 0 for none.
    case core
    /// RLIMIT_RSS: bytes of resident memory; Linux ignores it.
    case residentSet
    /// RLIMIT_NPROC: threads of the process's user.
    case processes
    /// RLIMIT_NOFILE: one more than the greatest number of a descriptor.
    case openFiles
    /// RLIMIT_MEMLOCK: bytes of locked memory.
    case lockedMemory
    /// RLIMIT_AS: bytes of the address space.
    case addressSpace
    /// RLIMIT_LOCKS: locks and leases of files; Linux ignores it.
    case fileLocks
    /// RLIMIT_SIGPENDING: queued signals of the process's user.
    case pendingSignals
    /// RLIMIT_MSGQUEUE: bytes in POSIX message queues of the process's user.
    case messageQueues
    /// RLIMIT_NICE: 20 minus the lowest nice value that can be set.
    case nicePriority
    /// RLIMIT_RTPRIO: the highest real-time priority that can be set.
    case realTimePriority
    /// RLIMIT_RTTIME: microseconds of real-time processor time without a blocking call.
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

  /// What is limited, and in which unit.
  public let kind: Kind
  /// What the kernel enforces; `UInt64.max` for no limit.
  public let soft: UInt64
  /// What the program can raise the soft limit to; `UInt64.max` for no limit.
  public let hard: UInt64

  /// Makes a limit. setrlimit(2) refuses a soft limit above the hard one, and without
  /// CAP_SYS_RESOURCE a hard limit above the caller's.
  public init(_ kind: Kind, soft: UInt64, hard: UInt64) {
    self.kind = kind
    self.soft = soft
    self.hard = hard
  }
}

/// A change of the environment: environ(7).
public enum EnvironmentEdit: Equatable, Sendable {
  /// Forgets all of it.
  case reset
  /// Replaces the variable, the first of that name, or adds it at the end. Neither is checked for
  /// `=` or NUL.
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
