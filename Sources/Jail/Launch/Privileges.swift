import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

extension JailBuilder {
  /// One step of giving up what the caller is. None of them can be taken back.
  func dropPrivilege(_ privilegeStep: JailStep) throws(JailError) {
    switch privilegeStep {
    case .setSecureBits(let bits):
      try step("-c: lock the securebits") { () throws(SystemError) in
        // In a jail within a jail, execve(2) has cleared KEEP_CAPS for good; without the fixup it
        // makes no difference. Other bits of the caller's stay.
        let old = try SecureBits.current()
        let isLockedOff =
          old.contains(.keepCapabilitiesLocked) && !old.contains(.keepCapabilities)
        try bits.subtracting(isLockedOff ? .keepCapabilities : []).union(old).apply()
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
      try step("-u \(user.shown)") { () throws(SystemError) in
        try Credentials.setUser(user.number)
      }
    case .limitCapabilities(let wanted): try limit(to: wanted)
    case .raiseAmbient(let wanted):
      try step("-c: raise the ambient capabilities") { () throws(SystemError) in
        try wanted.raiseAmbient(last: try CapabilitySet.lastKnown())
      }
    case .setNoNewPrivileges:
      try step("-n") { () throws(SystemError) in
        try processControl(PR_SET_NO_NEW_PRIVS, 1, named: "PR_SET_NO_NEW_PRIVS")
      }
    case .restrictFileAccess:
      try step("restrict access to files (needs no_new_privs, -n)") { () throws(SystemError) in
        try (firstRuleset ?? ruleset)?.ruleset.restrictSelf()
      }
    case .setSystemCallTable(let name):
      try step("-a \(name)") { () throws(SystemError) in
        try check("prctl(PR_ALT_SYSCALL)", nil, linux_alternate_system_calls(name.cString))
      }
    case .newSession, .denyTerminalInput, .becomeMapped, .enterMounts, .openLibrary, .unshare,
      .setPropagation, .gatherStores, .setHostName, .enterNetwork, .raiseLoopback,
      .joinSessionKeyring, .findUserData, .removeUserData, .buildDevices, .mount, .makeMountPoint,
      .placeStores, .placeDevices, .openTerminal, .placeTerminal, .takeTerminal, .changeRoot,
      .pivotRoot, .mountTemporaryDirectory, .buildProcesses, .placeProcesses, .closeDescriptors,
      .inspectProgram, .prepareFileAccess, .setLimits, .requestCompletion, .prepareProgram,
      .loadFilter, .tellCalls, .forkInit, .execute:
      throw Self.misplaced(privilegeStep)
    }
  }

  // MARK: Files

  /// The rules as the kernel takes them. A path that is missing gets nothing, and everything that
  /// no rule names is denied.
  func prepare(_ access: FileAccess) throws(JailError) {
    guard access.abi > 0 else {
      log.warning("--landlock-abi 0: the program's access to files is not restricted")
      return
    }
    let known: Int
    do throws(SystemError) { known = try FileRuleset.kernelABI() } catch {
      let hint =
        error.code == EPERM
        ? "; a filter of system calls that the launcher runs under (a container's) forbids Landlock"
        : ""
      throw JailError("rules for files: \(error)\(hint)")
    }
    guard known > 0 else {
      let text =
        "this kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, lsm=landlock): the program's "
        + "access to files is not restricted"
      if configuration.isStrict { throw JailError("--strict: \(text)") }
      return log.warning(text)
    }
    let abi = min(known, access.abi)
    if known < min(access.abi, FileRights.newestABI) { try warnOfOldLandlock(known) }
    ruleset = try newRuleset(access, abi: abi, isFinal: true)
    // The rest of the restriction comes when the loader is done.
    guard isCompletedLater, library != nil || !access.allowsExecution else { return }
    let first = try newRuleset(access.whileLoading, abi: abi, isFinal: false)
    try step("rules for files") { () throws(SystemError) in try library?.allow(in: first.ruleset) }
    firstRuleset = first
  }

  private func warnOfOldLandlock(_ known: Int) throws(JailError) {
    let free =
      known < 3 ? "truncate(2) by path and ioctl(2) on devices are" : "ioctl(2) on devices is"
    let text =
      "this kernel has Landlock ABI \(known): \(free) not restricted; --landlock-abi \(known) "
      + "accepts that"
    if configuration.isStrict { throw JailError("--strict: \(text)") }
    log.warning(text)
  }

  private func newRuleset(
    _ access: FileAccess, abi: Int, isFinal: Bool
  ) throws(JailError) -> SharedRuleset {
    try step("rules for files") { () throws(SystemError) in
      let ruleset = try FileRuleset(handling: .known(abi: abi))
      for rule in access.rules {
        var rights = rule.kind.rights(abi: abi)
        let place: Descriptor
        do throws(SystemError) { place = try Descriptor(followingLinks: rule.path) } catch {
          if isFinal, !rule.isOptional {
            log.warning(
              "--fs-path-\(rule.kind.rawValue) \(rule.path): \(error); the program will be denied "
                + "all of it")
          }
          continue
        }
        if try !place.status(shown: rule.path).isDirectory {
          rights.formIntersection(.ofFiles)
        }
        if !rights.isEmpty { try ruleset.allow(rights, at: place, shown: rule.path) }
      }
      return SharedRuleset(ruleset)
    }
  }

  private func limit(to wanted: CapabilitySet) throws(JailError) {
    let permitted = try step("-c") { () throws(SystemError) in try CapabilitySet.permitted() }
    let missing = wanted.subtracting(permitted)
    guard missing.isEmpty else {
      throw JailError("-c: the caller lacks \(missing.names.joined(separator: ", "))")
    }
    let last = try step("-c") { () throws(SystemError) in try CapabilitySet.lastKnown() }
    // The right to drop from the bounding set goes last.
    try step("-c: limit the capabilities") { () throws(SystemError) in
      try wanted.union(.setpcap).apply()
      if configuration.skippedSecureBits.isDisjoint(with: [.noRoot, .noRootLocked]) {
        try wanted.limitBoundingSet(last: last)
      }
      try wanted.apply()
    }
  }
}
