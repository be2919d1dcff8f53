import CLinux
import Glibc
import Kernel

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
    case .restrictFileAccess:
      try step("restrict access to files (needs no_new_privs, -n)") { () throws(SystemError) in
        try (firstRuleset ?? ruleset)?.ruleset.restrictSelf()
      }
    case .setSystemCallTable(let name):
      try step("-a \(name)") { () throws(SystemError) in
        try check("prctl(PR_ALT_SYSCALL)", nil, linux_alternate_system_calls(name.cString))
      }
    default: break
    }
  }

  // MARK: Files

  /// Whether the program needs the library after all, and whether that can work: nothing has been
  /// given up yet, so that its file can be read.
  func inspectProgram() throws(JailError) {
    let program = configuration.program
    let kind = try step("look at \(program)") { () throws(SystemError) in
      try ProgramInspection.kind(of: program)
    }
    if case .relativeInterpreter(let path) = kind {
      // The program starts in another directory, where that may be anything.
      throw JailError(
        "\(program): its interpreter '\(RawArgument(bytes: path))' must be a full path here")
    }
    guard case .dynamic(let file) = kind else {
      if kind == .alone, configuration.capabilities != nil, !configuration.raisesAmbient {
        throw JailError(
          "\(program) is statically linked, or its interpreter is: capabilities (-c) need --ambient"
        )
      }
      library = nil
      return
    }
    try ProgramInspection.check(file, program)
    try step("preload the library") { () throws(SystemError) in
      try library?.rememberWorkingDirectory()
      if let filter = configuration.filter {
        sealedFilter = Held(try Descriptor(sealing: filter.completion.bytes, name: "seccomp"))
      }
    }
  }

  /// The rules as the kernel takes them. A path that is missing gets nothing, and everything that
  /// no rule names is denied.
  func prepare(_ access: FileAccess) throws(JailError) {
    let known = FileRuleset.kernelABI()
    guard known > 0, access.abi > 0 else {
      log.warning(
        access.abi > 0
          ? "this kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, lsm=landlock): the program's "
            + "access to files is not restricted"
          : "--landlock-abi 0: the program's access to files is not restricted")
      return
    }
    let abi = min(known, access.abi)
    ruleset = try newRuleset(access, abi: abi, isFinal: true)
    guard let library else { return }
    // The rest of the restriction is the library's, which must be loaded first.
    let first = try newRuleset(access.whileLoading, abi: abi, isFinal: false)
    try step("rules for files") { () throws(SystemError) in try library.allow(in: first.ruleset) }
    firstRuleset = first
  }

  private func newRuleset(
    _ access: FileAccess, abi: Int, isFinal: Bool
  ) throws(JailError) -> HeldRuleset {
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
        if try !place.status(shown: rule.path.description).isDirectory {
          rights.formIntersection(.ofFiles)
        }
        if !rights.isEmpty { try ruleset.allow(rights, at: place, shown: rule.path.description) }
      }
      return HeldRuleset(ruleset)
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
      if configuration.skippedSecureBits.isDisjoint(with: [.noRoot, .noRootLocked]) {
        try wanted.limitBoundingSet(last: last)
      }
      try wanted.apply()
    }
  }
}
