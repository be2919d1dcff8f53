import DaemonStoreKernel

/// What a program may do with which files, through landlock(7): what no rule allows is denied, to
/// root too. A kernel without Landlock (before 5.13, or where it is switched off) restricts
/// nothing, which is a warning, and an error with ``JailConfiguration/isStrict``.
public struct FileAccess: Equatable, Sendable {
  /// What a rule allows, by the names of the options. minijail0(5) lists the rights.
  public enum Kind: String, Equatable, Sendable {
    /// Execute files, and all of ``read``.
    case readAndExecute = "rx"
    /// Read files, and list directories.
    case read = "ro"
    /// All of ``read``, and make, write and remove files and directories.
    case readAndWrite = "rw"
    /// All of ``readAndWrite``; also make links, sockets, pipes and devices, and move files between
    /// directories.
    case advancedReadAndWrite = "advanced-rw"
    /// All of ``read``, and write and remove what is there; nothing can be made.
    case edit
  }

  /// What is allowed below one path. Rules add up: none takes away what another allows.
  public struct Rule: Equatable, Sendable {
    /// As the program sees it. A directory stands for all below it, mounts that come later too.
    public let path: FilePath
    /// What is allowed there.
    public let kind: Kind
    /// Whether a path that is missing is passed over in silence. Otherwise there is a warning, and
    /// all of it is denied.
    public let isOptional: Bool

    /// Makes a rule. The path is looked up, through symbolic links, when the jail is built.
    public init(_ path: FilePath, _ kind: Kind, isOptional: Bool = false) {
      self.path = path
      self.kind = kind
      self.isOptional = isOptional
    }
  }

  /// In any order. With none, every access is denied.
  public var rules: [Rule]
  /// The newest ABI whose rights are handled; the kernel's counts if it is older. 0 for none.
  package var abi: Int

  /// Allows what these rules allow, and nothing else.
  public init(rules: [Rule] = []) {
    self.init(rules: rules, abi: FileRights.newestABI)
  }

  package init(rules: [Rule] = [], abi: Int) {
    self.rules = rules
    self.abi = abi
  }

  /// What `--fs-default-paths` allows: where programs and libraries are.
  public static let defaultRules: [Rule] =
    (["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/bin", "/sbin", "/usr/sbin", "/usr/bin"]
    as [FilePath])
    .map { Rule($0, .readAndExecute, isOptional: true) }
    + (["/etc/group", "/etc/passwd"] as [FilePath]).map { Rule($0, .read, isOptional: true) }

  /// Whether any program can be executed and can load its libraries.
  package var allowsExecution: Bool {
    rules.contains { $0.path == "/" && $0.kind == .readAndExecute }
  }

  /// The same, and any program may be executed and may load its libraries: in force while a
  /// dynamic loader is at work.
  package var whileLoading: FileAccess {
    FileAccess(rules: rules + [Rule("/", .readAndExecute)], abi: abi)
  }
}

extension FileAccess.Kind {
  /// The rights that it stands for, of those that `abi` knows.
  package func rights(abi: Int) -> FileRights {
    let read: FileRights = [.readFile, .readDirectory]
    // Without deviceControl a terminal that can be written to has no settings.
    let edit = read.union([
      .writeFile, .removeDirectory, .removeFile, .truncate, .deviceControl,
    ])
    let rights: FileRights =
      switch self {
      case .readAndExecute: read.union(.execute)
      case .read: read
      case .readAndWrite: edit.union([.makeDirectory, .makeFile])
      case .advancedReadAndWrite:
        edit.union([
          .makeCharacterDevice, .makeDirectory, .makeFile, .makeSocket, .makePipe,
          .makeBlockDevice, .makeLink, .refer,
        ])
      case .edit: edit
      }
    return rights.intersection(.known(abi: abi))
  }
}
