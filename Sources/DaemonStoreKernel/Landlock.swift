import CDaemonStoreLinux
import Glibc

/// Rights to files that landlock(7) knows: `LANDLOCK_ACCESS_FS_…`.
package struct FileRights: OptionSet, Hashable, Sendable {
  package let rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }
  private init(bit: UInt64) { rawValue = 1 << bit }

  package static let execute = Self(bit: 0)
  package static let writeFile = Self(bit: 1)
  package static let readFile = Self(bit: 2)
  package static let readDirectory = Self(bit: 3)
  package static let removeDirectory = Self(bit: 4)
  package static let removeFile = Self(bit: 5)
  package static let makeCharacterDevice = Self(bit: 6)
  package static let makeDirectory = Self(bit: 7)
  package static let makeFile = Self(bit: 8)
  package static let makeSocket = Self(bit: 9)
  package static let makePipe = Self(bit: 10)
  package static let makeBlockDevice = Self(bit: 11)
  package static let makeLink = Self(bit: 12)
  /// Linking and renaming between directories: ABI 2, Linux 5.19.
  package static let refer = Self(bit: 13)
  /// ABI 3, Linux 6.2.
  package static let truncate = Self(bit: 14)
  /// ABI 5, Linux 6.10.
  package static let deviceControl = Self(bit: 15)

  /// The newest ABI with rights to files that are known here.
  package static let newestABI = 5

  /// All that an ABI knows.
  package static func known(abi: Int) -> FileRights {
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
  package static let ofFiles: FileRights = [
    .execute, .writeFile, .readFile, .truncate, .deviceControl,
  ]
}

/// A list of what may still be reached, while everything else of `handled` is denied: landlock(7).
package struct FileRuleset: ~Copyable {
  package let descriptor: Descriptor

  /// The ABI of this kernel; 0 where Landlock is missing (ENOSYS) or off (EOPNOTSUPP). Any other
  /// error says nothing about the kernel.
  package static func kernelABI() throws(SystemError) -> Int {
    do throws(SystemError) {
      return Int(try check("landlock_create_ruleset", "version", linux_landlock_abi()))
    } catch {
      guard error.code == ENOSYS || error.code == EOPNOTSUPP else { throw error }
      return 0
    }
  }

  package init(handling handled: FileRights) throws(SystemError) {
    descriptor = Descriptor(
      owning: try check("landlock_create_ruleset", nil, linux_landlock_create(handled.rawValue)))
  }

  /// Allows these rights for what is open at `place` and, if it is a directory, all below.
  package func allow(
    _ rights: FileRights, at place: borrowing Descriptor, shown: FilePath
  ) throws(SystemError) {
    try check(
      "landlock_add_rule", shown,
      linux_landlock_allow(descriptor.number, place.number, rights.rawValue))
  }

  /// Binds the calling thread and its children to it, for good. Needs no_new_privs or
  /// CAP_SYS_ADMIN.
  package func restrictSelf() throws(SystemError) {
    try check("landlock_restrict_self", nil, linux_landlock_restrict(descriptor.number))
  }
}
