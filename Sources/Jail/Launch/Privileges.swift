import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// The rules for files as the kernel takes them.
enum FileRestriction {
  /// The kernel or the caller wants none, which was told.
  case none
  case whole(SharedRuleset)
  /// The first ones are in force while a loader has to do its work, the others after that.
  case staged(first: SharedRuleset, later: SharedRuleset)

  /// What is in force from before the program.
  var first: SharedRuleset? {
    switch self {
    case .none: nil
    case .whole(let rules), .staged(let rules, _): rules
    }
  }

  /// What comes when the loader is done.
  var later: SharedRuleset? { if case .staged(_, let rules) = self { rules } else { nil } }
}

extension JailBuilder {
  /// One step of giving up what the caller is. None of them can be taken back.
  func carryOut(_ privilegeStep: PrivilegeStep) throws(JailError) {
    switch privilegeStep {
    case .denyTerminalInput: try denyTerminalInput()
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
    case .limitCapabilities(let wanted, let limitsBounding):
      try limit(to: wanted, limitsBounding: limitsBounding)
    case .raiseAmbient(let wanted, _):
      try step("-c: raise the ambient capabilities") { () throws(SystemError) in
        try wanted.raiseAmbient(last: try CapabilitySet.lastKnown())
      }
    case .setNoNewPrivileges:
      try step("-n") { () throws(SystemError) in
        try processControl(PR_SET_NO_NEW_PRIVS, 1, named: "PR_SET_NO_NEW_PRIVS")
      }
    case .restrictFileAccess:
      let restriction = try fileRestriction.get()
      try step("restrict access to files (needs no_new_privs, -n)") { () throws(SystemError) in
        try restriction.first?.ruleset.restrictSelf()
      }
    case .setSystemCallTable(let name):
      try step("-a \(name)") { () throws(SystemError) in
        try check("prctl(PR_ALT_SYSCALL)", nil, linux_alternate_system_calls(name.cString))
      }
    }
  }

  private func denyTerminalInput() throws(JailError) {
    let program = try TerminalFilter.program()
    try step("--no-new-sessions: deny typing into the terminal (needs no_new_privs, -n)") {
      () throws(SystemError) in try SystemCallFilters.load(program)
    }
  }

  /// The last thing but `execve`: from here on, the filter decides what this process can still do.
  static func load(
    _ filter: SystemCallFilter, whileLoading: Bool = false
  ) throws(JailError) {
    let program = try filter.program(whileLoading: whileLoading)
    try step(filter.loading) { () throws(SystemError) in
      try SystemCallFilters.load(program.bytes, flags: filter.flags)
    }
  }

  // MARK: Files

  /// The rules as the kernel takes them. A path that is missing gets nothing, and everything that
  /// no rule names is denied.
  ///
  /// - Parameter completion: what is left for the time when the loader is done.
  func prepare(_ access: FileAccess, _ completion: LoaderCompletion) throws(JailError) {
    guard access.abi > 0 else {
      log.warning("--landlock-abi 0: the program's access to files is not restricted")
      return fileRestriction.leave(.none)
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
      if context.isStrict { throw JailError("--strict: \(text)") }
      log.warning(text)
      return fileRestriction.leave(.none)
    }
    let abi = min(known, access.abi)
    if known < min(access.abi, FileRights.newestABI) { try warnOfOldLandlock(known) }
    let whole = try newRuleset(access, abi: abi, isWhole: true)
    // The rest of the restriction comes when the loader is done.
    let library: PreloadLibrary?
    switch completion {
    case .library(let preloaded, _): library = preloaded
    case .tracer where !access.allowsExecution: library = nil
    case .none, .tracer: return fileRestriction.leave(.whole(whole))
    }
    let first = try newRuleset(access.whileLoading, abi: abi, isWhole: false)
    try step("rules for files") { () throws(SystemError) in try library?.allow(in: first.ruleset) }
    fileRestriction.leave(.staged(first: first, later: whole))
  }

  private func warnOfOldLandlock(_ known: Int) throws(JailError) {
    let free =
      known < 3 ? "truncate(2) by path and ioctl(2) on devices are" : "ioctl(2) on devices is"
    let text =
      "this kernel has Landlock ABI \(known): \(free) not restricted; --landlock-abi \(known) "
      + "accepts that"
    if context.isStrict { throw JailError("--strict: \(text)") }
    log.warning(text)
  }

  private func newRuleset(
    _ access: FileAccess, abi: Int, isWhole: Bool
  ) throws(JailError) -> SharedRuleset {
    try step("rules for files") { () throws(SystemError) in
      let ruleset = try FileRuleset(handling: .known(abi: abi))
      for rule in access.rules {
        var rights = rule.kind.rights(abi: abi)
        let place: Descriptor
        do throws(SystemError) { place = try Descriptor(followingLinks: rule.path) } catch {
          if isWhole, !rule.isOptional {
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

  private func limit(to wanted: CapabilitySet, limitsBounding: Bool) throws(JailError) {
    let permitted = try step("-c") { () throws(SystemError) in try CapabilitySet.permitted() }
    let missing = wanted.subtracting(permitted)
    guard missing.isEmpty else {
      throw JailError("-c: the caller lacks \(missing.names.joined(separator: ", "))")
    }
    let last = try step("-c") { () throws(SystemError) in try CapabilitySet.lastKnown() }
    // The right to drop from the bounding set goes last.
    try step("-c: limit the capabilities") { () throws(SystemError) in
      try wanted.union(.setpcap).apply()
      if limitsBounding { try wanted.limitBoundingSet(last: last) }
      try wanted.apply()
    }
  }
}
