import CDaemonStoreLinux
import Glibc

/// Rights to files that landlock(7) knows: `LANDLOCK_ACCESS_FS_…`.
public struct FileRights: OptionSet, Hashable, Sendable {
  public let rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }
  private init(bit: UInt64) { rawValue = 1 << bit }

  public static let execute = Self(bit: 0)
  public static let writeFile = Self(bit: 1)
  public static let readFile = Self(bit: 2)
  public static let readDirectory = Self(bit: 3)
  public static let removeDirectory = Self(bit: 4)
  public static let removeFile = Self(bit: 5)
  public static let makeCharacterDevice = Self(bit: 6)
  public static let makeDirectory = Self(bit: 7)
  public static let makeFile = Self(bit: 8)
  public static let makeSocket = Self(bit: 9)
  public static let makePipe = Self(bit: 10)
  public static let makeBlockDevice = Self(bit: 11)
  public static let makeLink = Self(bit: 12)
  /// Linking and renaming between directories: ABI 2, Linux 5.19.
  public static let refer = Self(bit: 13)
  /// ABI 3, Linux 6.2.
  public static let truncate = Self(bit: 14)
  /// ABI 5, Linux 6.10.
  public static let deviceControl = Self(bit: 15)

  /// The newest ABI with rights to files that are known here.
  public static let newestABI = 5

  /// All that an ABI knows.
  public static func known(abi: Int) -> FileRights {
    let bits: UInt64 =
      switch abi {
      case ..<1: 0
      case 1: 13
      case 2: 14
      case 3, 4: 15
      default: 16
      }
    return FileRights(rawValue: (1 << bits) - 1)
  }

  /// Those that make sense for what is no directory; the kernel refuses a rule with others.
  public static let ofFiles: FileRights = [
    .execute, .writeFile, .readFile, .truncate, .deviceControl,
  ]
}

/// A list of what may still be reached, while everything else of `handled` is denied: landlock(7).
public struct FileRuleset: ~Copyable {
  public let descriptor: Descriptor

  /// The ABI of this kernel; 0 where Landlock is missing (ENOSYS) or off (EOPNOTSUPP). Any other
  /// error says nothing about the kernel.
  public static func kernelABI() throws(SystemError) -> Int {
    do throws(SystemError) {
      return Int(try check("landlock_create_ruleset", "version", linux_landlock_abi()))
    } catch {
      guard error.code == ENOSYS || error.code == EOPNOTSUPP else { throw error }
      return 0
    }
  }

  public init(handling handled: FileRights) throws(SystemError) {
    descriptor = Descriptor(
      owning: try check("landlock_create_ruleset", nil, linux_landlock_create(handled.rawValue)))
  }

  /// Allows these rights for what is open at `place` and, if it is a directory, all below.
  public func allow(
    _ rights: FileRights, at place: borrowing Descriptor, shown: FilePath
  ) throws(SystemError) {
    try check(
      "landlock_add_rule", shown,
      linux_landlock_allow(descriptor.number, place.number, rights.rawValue))
  }

  /// Binds the calling thread and its children to it, for good. Needs no_new_privs or
  /// CAP_SYS_ADMIN.
  public func restrictSelf() throws(SystemError) {
    try check("landlock_restrict_self", nil, linux_landlock_restrict(descriptor.number))
  }
}
