import CDaemonStoreLinux
import Glibc

/// A set of capabilities(7), one bit for each number.
public struct CapabilitySet: OptionSet, Hashable, Sendable {
  /// The mask as `/proc/PID/status` shows it: bit N is the capability with number N.
  public let rawValue: UInt64
  /// Makes a set of a mask. Bits of capabilities that the kernel does not know are kept.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// The capabilities with these numbers.
  package init(numbers: [UInt8]) { rawValue = numbers.reduce(0) { $0 | 1 << UInt64($1) } }

  /// All that a kernel with `last` as its last capability knows.
  package static func all(last: UInt8) -> Self {
    Self(rawValue: .max >> UInt64(63 - min(last, 63)))
  }

  /// What the calling thread may use.
  package static func permitted() throws(SystemError) -> CapabilitySet {
    try CapabilityState.current(last: 0).permitted
  }

  /// What it uses.
  package static func effective() throws(SystemError) -> CapabilitySet {
    try CapabilityState.current(last: 0).effective
  }

  /// The last capability that this kernel knows. Asks prctl(2), so that it needs no `/proc`.
  package static func lastKnown() throws(SystemError) -> UInt8 {
    var last: UInt8 = 40  // CAP_CHECKPOINT_RESTORE, Linux 5.9
    while last < 63, try isInBoundingSet(last + 1) != nil { last += 1 }
    while last > 0, try isInBoundingSet(last) == nil { last -= 1 }
    return last
  }

  /// Whether the calling thread has it in its bounding set; nil for one that the kernel does not know
  /// (EINVAL, and no other error).
  fileprivate static func isInBoundingSet(_ number: UInt8) throws(SystemError) -> Bool? {
    do throws(SystemError) {
      return try processControl(PR_CAPBSET_READ, UInt(number), named: "PR_CAPBSET_READ \(number)")
        == 1
    } catch {
      guard error.code == EINVAL else { throw error }
      return nil
    }
  }

  /// The same for the ambient set; false before Linux 4.3, which has none.
  fileprivate static func isAmbient(_ number: UInt8) throws(SystemError) -> Bool {
    do throws(SystemError) {
      return try processControl(
        PR_CAP_AMBIENT, UInt(PR_CAP_AMBIENT_IS_SET), UInt(number), named: "PR_CAP_AMBIENT_IS_SET")
        == 1
    } catch {
      guard error.code == EINVAL else { throw error }
      return false
    }
  }

  /// Makes this the effective, permitted and inheritable set: capset(2).
  package func apply() throws(SystemError) {
    try check("capset", nil, linux_capset(rawValue, rawValue, rawValue))
  }

  /// Drops everything else up to `last` from the bounding set.
  package func limitBoundingSet(last: UInt8) throws(SystemError) {
    for number in 0...last where rawValue & (1 << UInt64(number)) == 0 {
      try processControl(PR_CAPBSET_DROP, UInt(number), named: "PR_CAPBSET_DROP \(number)")
    }
  }

  /// Makes this the ambient set: what a program that is executed keeps.
  package func raiseAmbient(last: UInt8) throws(SystemError) {
    try processControl(
      PR_CAP_AMBIENT, UInt(PR_CAP_AMBIENT_CLEAR_ALL), named: "PR_CAP_AMBIENT_CLEAR_ALL")
    for number in 0...last where rawValue & (1 << UInt64(number)) != 0 {
      try processControl(
        PR_CAP_AMBIENT, UInt(PR_CAP_AMBIENT_RAISE), UInt(number),
        named: "PR_CAP_AMBIENT_RAISE \(number)")
    }
  }
}

/// The five sets of a thread, as `/proc/PID/status` shows them: capabilities(7).
package struct CapabilityState: Equatable, Sendable {
  package var inheritable: CapabilitySet
  package var permitted: CapabilitySet
  package var effective: CapabilitySet
  package var bounding: CapabilitySet
  package var ambient: CapabilitySet

  package init(
    inheritable: CapabilitySet = [], permitted: CapabilitySet = [], effective: CapabilitySet = [],
    bounding: CapabilitySet = [], ambient: CapabilitySet = []
  ) {
    self.inheritable = inheritable
    self.permitted = permitted
    self.effective = effective
    self.bounding = bounding
    self.ambient = ambient
  }

  /// Those of the calling thread; the last two up to the capability `last`.
  package static func current(last: UInt8) throws(SystemError) -> CapabilityState {
    var (effective, permitted, inheritable): (UInt64, UInt64, UInt64) = (0, 0, 0)
    try check("capget", nil, linux_capget(&effective, &permitted, &inheritable))
    var state = CapabilityState(
      inheritable: .init(rawValue: inheritable), permitted: .init(rawValue: permitted),
      effective: .init(rawValue: effective))
    for number in 0...last {
      let one = CapabilitySet(rawValue: 1 << UInt64(number))
      if try CapabilitySet.isInBoundingSet(number) == true { state.bounding.insert(one) }
      if try CapabilitySet.isAmbient(number) { state.ambient.insert(one) }
    }
    return state
  }
}

/// The securebits of a thread: capabilities(7).
package struct SecureBits: OptionSet, Hashable, Sendable {
  package let rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// User 0 gets no capabilities for being user 0.
  package static let noRoot = Self(rawValue: 0x01)
  package static let noRootLocked = Self(rawValue: 0x02)
  /// A change of user changes no capabilities.
  package static let noSetIDFixup = Self(rawValue: 0x04)
  package static let noSetIDFixupLocked = Self(rawValue: 0x08)
  /// Permitted capabilities stay across a change of user; execve(2) clears this bit.
  package static let keepCapabilities = Self(rawValue: 0x10)
  package static let keepCapabilitiesLocked = Self(rawValue: 0x20)

  /// Those of the calling thread.
  package static func current() throws(SystemError) -> SecureBits {
    SecureBits(
      rawValue: UInt64(
        UInt32(bitPattern: try processControl(PR_GET_SECUREBITS, named: "PR_GET_SECUREBITS"))))
  }

  /// Makes these the calling thread's.
  package func apply() throws(SystemError) {
    try processControl(PR_SET_SECUREBITS, UInt(rawValue), named: "PR_SET_SECUREBITS")
  }
}
