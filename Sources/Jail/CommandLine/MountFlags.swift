import DaemonStoreKernel
import Seccomp

/// The flags of mount(2), as `-k` takes them, with the names of the options in mount(8).
public struct MountFlags: OptionSet, Hashable, Sendable {
  /// The sum of `MS_…` constants.
  public let rawValue: UInt64
  /// Makes flags of `MS_…` constants, and does not check them.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// `ro`: nothing can be written through the mount.
  public static let readOnly = Self(rawValue: 1)
  /// `nosuid`: set-user-ID, set-group-ID and file capabilities have no effect.
  public static let noSetID = Self(rawValue: 2)
  /// `nodev`: devices cannot be opened.
  public static let noDevices = Self(rawValue: 4)
  /// `noexec`: programs cannot be executed.
  public static let noExecution = Self(rawValue: 8)
  /// `remount`: changes a mount that is there.
  public static let remount = Self(rawValue: 0x20)
  /// `nosymfollow`: symbolic links are not followed. Linux 5.10.
  public static let noSymlinkFollow = Self(rawValue: 0x100)
  /// `noatime`: reading changes no access time.
  public static let noAccessTime = Self(rawValue: 0x400)
  /// `nodiratime`: listing a directory changes no access time.
  public static let noDirectoryAccessTime = Self(rawValue: 0x800)
  /// `bind`: shows a directory or a file that exists.
  public static let bind = Self(rawValue: 0x1000)
  /// `move`: moves a mount to another place.
  public static let move = Self(rawValue: 0x2000)
  /// The `r` of `rbind` and `rshared`: with all mounts below.
  public static let recursive = Self(rawValue: 0x4000)
  /// `relatime`: access times change after a write, and once a day.
  public static let relativeAccessTime = Self(rawValue: 0x20_0000)
  /// `strictatime`: each reading changes the access time.
  public static let strictAccessTime = Self(rawValue: 0x100_0000)

  /// What `-k` takes when it is given none, and for 0.
  public static let standard: Self = [.noSetID, .noDevices, .noExecution]
  /// `slave`: MS_SLAVE, as ``Propagation/slave``.
  public static let slave = Self(rawValue: 0x8_0000)
  /// `shared`: MS_SHARED, as ``Propagation/shared``.
  public static let shared = Self(rawValue: 0x10_0000)
  /// All flags of propagation.
  package static let propagation = Self(rawValue: 0x1e_0000)

  /// MS_… of mount(2), for messages.
  static let names: [(String, UInt64)] = [
    ("MS_RDONLY", 1), ("MS_NOSUID", 2), ("MS_NODEV", 4), ("MS_NOEXEC", 8),
    ("MS_SYNCHRONOUS", 0x10), ("MS_REMOUNT", 0x20), ("MS_MANDLOCK", 0x40), ("MS_DIRSYNC", 0x80),
    ("MS_NOSYMFOLLOW", 0x100), ("MS_NOATIME", 0x400), ("MS_NODIRATIME", 0x800),
    ("MS_BIND", 0x1000), ("MS_MOVE", 0x2000), ("MS_REC", 0x4000), ("MS_SILENT", 0x8000),
    ("MS_POSIXACL", 0x1_0000), ("MS_UNBINDABLE", 0x2_0000), ("MS_PRIVATE", 0x4_0000),
    ("MS_SLAVE", 0x8_0000), ("MS_SHARED", 0x10_0000), ("MS_RELATIME", 0x20_0000),
    ("MS_I_VERSION", 0x80_0000), ("MS_STRICTATIME", 0x100_0000), ("MS_LAZYTIME", 0x200_0000),
  ]

  /// A constant expression of minijail0(5), without blanks; nil when the text is none.
  package init?(expression: String) {
    guard let architecture = Architecture.current,
      let value = constantExpression(expression, on: architecture)
    else { return nil }
    self.init(rawValue: value)
  }

  /// What is set on a bind mount while it is still detached: mount(2) would ignore it.
  package var attributes: MountAttributes {
    let pairs: [(MountFlags, MountAttributes)] = [
      (.readOnly, .readOnly), (.noSetID, .noSetID), (.noDevices, .noDevices),
      (.noExecution, .noExecution), (.noSymlinkFollow, .noSymlinkFollow),
      (.noAccessTime, .noAccessTime), (.noDirectoryAccessTime, .noDirectoryAccessTime),
      (.strictAccessTime, .strictAccessTime),
    ]
    return pairs.reduce(into: []) { if contains($1.0) { $0.insert($1.1) } }
  }

  /// The propagation that these flags ask for, if it is one.
  package var propagationChange: Propagation? {
    switch rawValue & Self.propagation.rawValue {
    case 0x2_0000: .unbindable
    case 0x4_0000: .private
    case 0x8_0000: .slave
    case 0x10_0000: .shared
    default: nil
    }
  }
}

/// Digits alone: what `UInt64(_:radix:)` takes, without a sign.
func unsigned(_ bytes: some Sequence<UInt8>, radix: Int) -> UInt64? {
  let bytes = Array(bytes)
  guard let first = bytes.first, first != UInt8(ascii: "+"), first != UInt8(ascii: "-"),
    let text = String(validating: bytes, as: UTF8.self)
  else { return nil }
  return UInt64(text, radix: radix)
}

/// `0x…`.
func startsAsHexadecimal(_ bytes: ArraySlice<UInt8>) -> Bool {
  bytes.starts(with: "0x".utf8) || bytes.starts(with: "0X".utf8)
}

/// C notation: decimal, `0x`, a leading `0` for octal, and a sign.
func constantNumber(_ bytes: [UInt8]) -> UInt64? {
  var digits = bytes[...]
  let isNegative = digits.first == UInt8(ascii: "-")
  if isNegative || digits.first == UInt8(ascii: "+") { digits.removeFirst() }
  guard let first = digits.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else {
    return nil
  }
  let magnitude: UInt64?
  if startsAsHexadecimal(digits) {
    magnitude = unsigned(digits.dropFirst(2), radix: 16)
  } else if first == UInt8(ascii: "0"), digits.count > 1 {
    magnitude = unsigned(digits.dropFirst(), radix: 8)
  } else {
    magnitude = unsigned(digits, radix: 10)
  }
  guard let magnitude else { return nil }
  guard isNegative else { return magnitude }
  return magnitude <= 1 << 63 ? 0 &- magnitude : nil
}
