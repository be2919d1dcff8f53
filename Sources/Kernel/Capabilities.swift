import CLinux
import Glibc

/// A set of capabilities(7), one bit for each number.
public struct CapabilitySet: OptionSet, Hashable, Sendable {
  public let rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// CAP_SETPCAP: the right to drop from the bounding set and to set the securebits.
  public static let setCapabilities = Self(rawValue: 1 << 8)

  /// What the calling thread may use.
  public static func permitted() throws(SystemError) -> CapabilitySet {
    var bits: UInt64 = 0
    try check("capget", nil, linux_permitted_capabilities(&bits))
    return Self(rawValue: bits)
  }

  /// The last capability that this kernel knows. Asks prctl(2), so that it needs no `/proc`.
  public static func lastKnown() -> UInt8 {
    var last: UInt8 = 40  // CAP_CHECKPOINT_RESTORE, Linux 5.9
    while last < 63, linux_prctl(PR_CAPBSET_READ, UInt(last) + 1, 0, 0) >= 0 { last += 1 }
    while last > 0, linux_prctl(PR_CAPBSET_READ, UInt(last), 0, 0) < 0 { last -= 1 }
    return last
  }

  /// Makes this the effective, permitted and inheritable set: capset(2).
  public func apply() throws(SystemError) {
    try check("capset", nil, linux_capset(rawValue, rawValue, rawValue))
  }

  /// Drops everything else up to `last` from the bounding set.
  public func limitBoundingSet(last: UInt8) throws(SystemError) {
    for number in 0...last where rawValue & (1 << UInt64(number)) == 0 {
      try processControl(PR_CAPBSET_DROP, UInt(number), named: "PR_CAPBSET_DROP \(number)")
    }
  }

  /// Makes this the ambient set: what a program that is executed keeps.
  public func raiseAmbient(last: UInt8) throws(SystemError) {
    try processControl(
      PR_CAP_AMBIENT, UInt(PR_CAP_AMBIENT_CLEAR_ALL), named: "PR_CAP_AMBIENT_CLEAR_ALL")
    for number in 0...last where rawValue & (1 << UInt64(number)) != 0 {
      try processControl(
        PR_CAP_AMBIENT, UInt(PR_CAP_AMBIENT_RAISE), UInt(number),
        named: "PR_CAP_AMBIENT_RAISE \(number)")
    }
  }
}
