import CLinux
import Glibc
import Kernel

extension JailBuilder {
  /// One step of giving up what the caller is. None of them can be taken back.
  func dropPrivilege(_ privilegeStep: JailStep) throws(JailError) {
    switch privilegeStep {
    case .setSecureBits(let bits):
      try step("-c: lock the securebits") { () throws(SystemError) in
        try processControl(PR_SET_SECUREBITS, bits, named: "PR_SET_SECUREBITS")
      }
    case .setGroups(let groups):
      try step("set the supplementary groups") { () throws(SystemError) in
        try Credentials.setGroups(groups)
      }
    case .setGroup(let group):
      try step("-g \(group.name ?? "\(group.number)")") { () throws(SystemError) in
        try Credentials.setGroup(group.number)
      }
    case .setUser(let user):
      try step("-u \(user.name ?? "\(user.number)")") { () throws(SystemError) in
        try Credentials.setUser(user.number)
      }
    case .limitCapabilities(let wanted): try limit(to: wanted)
    case .raiseAmbient(let wanted):
      try step("-c: raise the ambient capabilities") { () throws(SystemError) in
        try wanted.raiseAmbient(last: CapabilitySet.lastKnown())
      }
    case .setNoNewPrivileges:
      try step("-n") { () throws(SystemError) in
        try processControl(PR_SET_NO_NEW_PRIVS, 1, named: "PR_SET_NO_NEW_PRIVS")
      }
    default: break
    }
  }

  private func limit(to wanted: CapabilitySet) throws(JailError) {
    let permitted = try step("-c") { () throws(SystemError) in try CapabilitySet.permitted() }
    let missing = wanted.subtracting(permitted)
    guard missing.isEmpty else {
      throw JailError("-c: the caller lacks \(missing.names.joined(separator: ", "))")
    }
    let last = CapabilitySet.lastKnown()
    // The right to drop from the bounding set goes last.
    try step("-c: limit the capabilities") { () throws(SystemError) in
      try wanted.union(.setCapabilities).apply()
      try wanted.limitBoundingSet(last: last)
      try wanted.apply()
    }
  }
}
