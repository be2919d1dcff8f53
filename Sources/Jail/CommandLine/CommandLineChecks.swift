import DaemonStoreAccounts
import Glibc
import DaemonStoreKernel

/// What only the whole command line tells, in the order in which the reference looks.
extension CommandLineParser {
  mutating func finish() throws(JailError) {
    if command.configuration.raisesAmbient, command.configuration.capabilities == nil {
      throw JailError("Can't set ambient capabilities (--ambient) without actual capabilities (-c)")
    }
    let hasStores = !command.configuration.daemonStores.isEmpty
    if hasBind, command.configuration.root == .none, !literalMountNamespace, !hasStores {
      throw JailError(
        "Bind mounts require a chroot, pivot_root, or a new mount namespace (-C, -P, -v)")
    }
    try finishPropagation()
    if addedGroups != nil, inheritsGroups || keepsGroups {
      throw JailError("--add-suppl-group is not compatible with -G or -y")
    }
    finishNamespaces()
    finishFileAccess()
    try finishFilter()
    if asksForTemporaryDirectory, command.configuration.temporaryBytes == nil {
      command.configuration.temporaryBytes = 64 << 20
    }
  }

  private mutating func finishPropagation() throws(JailError) {
    var change = JailConfiguration.PropagationChange.set(
      literalMountNamespace ? .slave : .private)
    if let word = propagation {
      guard literalMountNamespace else {
        throw JailError("No need to set mount propagation (-K) without a mount namespace (-v)")
      }
      if let word {
        guard let mode = word.text.flatMap(Propagation.init(rawValue:)) else {
          throw JailError(
            "Unrecognized mount propagation '\(word)' (-K): shared, slave, private or unbindable")
        }
        change = .set(mode)
      } else {
        change = .unchanged
      }
    }
    command.configuration.propagation = change
    command.configuration.removesUserData =
      !command.configuration.daemonStores.isEmpty && !literalMountNamespace
  }

  private mutating func finishNamespaces() {
    if asksForUserNamespace {
      command.configuration.namespaces.insert(.user)
      finishMaps()
    }
    let wantsInit = asksForInit || asksForUserNamespace
    if asksForProgramAsInit || wantsInit {
      command.configuration.namespaces.formUnion([.mount, .process])
      command.configuration.processNamespace = asksForProgramAsInit ? .programIsInit : .withInit
    }
    command.configuration.freshProcesses = explicitProcesses || (wantsInit && !asksForProgramAsInit)
  }

  /// A map without a value is of the one id that the program has to the caller's.
  private mutating func finishMaps() {
    if let userMap {
      let inside = command.configuration.user?.number ?? 0
      command.configuration.userMap =
        userMap ?? [IDRange(inside: inside, outside: world.callerUser(), count: 1)]
    }
    guard let groupMap else { return }
    if groupMap == nil, command.configuration.group == nil, let primaryGroup {
      // What is mapped and what the program becomes are then the same.
      command.configuration.group = .init(number: primaryGroup)
    }
    let inside = command.configuration.group?.number ?? 0
    command.configuration.groupMap =
      groupMap ?? [IDRange(inside: inside, outside: world.callerGroup(), count: 1)]
    command.configuration.deniesGroupChange = !world.maySetGroups()
  }

  /// The supplementary groups: what the reference finds out last.
  mutating func finishGroups() throws(JailError) {
    let user = command.configuration.user
    if let addedGroups {
      command.configuration.supplementaryGroups = addedGroups
    } else if inheritsGroups {
      guard let name = user?.name, let primaryGroup else {
        throw JailError("-G: cannot inherit supplementary groups without setting a username (-u)")
      }
      do {
        command.configuration.supplementaryGroups = try world.groups(name, primaryGroup)
      } catch {
        throw JailError("-G: the groups of \(name)", error)
      }
    } else if !keepsGroups, user != nil || command.configuration.group != nil,
      !command.configuration.deniesGroupChange
    {
      command.configuration.supplementaryGroups = []
    }
    try checkMaps()
    if let user, command.configuration.group == nil, world.callerGroup() == 0 {
      command.warnings.append(
        "-u \(user.shown) without -g: the program keeps group 0 (root)")
    }
    if !command.configuration.skippedSecureBits.isDisjoint(with: [.noRoot, .noRootLocked]),
      command.configuration.capabilities != nil
    {
      command.warnings.append(
        "-B: without the securebit noroot the bounding set stays as it is, and a program of user "
          + "0 gets capabilities back")
    }
  }

  /// Ids of a user namespace without maps cannot be taken.
  private func checkMaps() throws(JailError) {
    let configuration = command.configuration
    guard asksForUserNamespace else { return }
    if configuration.user != nil, configuration.userMap == nil {
      throw JailError("-u in a user namespace without users: add -m")
    }
    let wantsGroups = configuration.supplementaryGroups ?? []
    if configuration.group != nil || !wantsGroups.isEmpty || configuration.user != nil,
      configuration.groupMap == nil
    {
      throw JailError("-g, or the groups of -u, in a user namespace without groups: add -M")
    }
  }

  // MARK: Names

  mutating func user(_ text: RawArgument) throws(JailError) -> JailConfiguration.Identity {
    if let number = try number(text, "user") { return .init(number: number) }
    let account: Account?
    do {
      account = try world.user(FilePath(text))
    } catch { throw JailError("Bad user '\(text)'", error) }
    guard let account else { throw JailError("Bad user '\(text)': there is no such user") }
    primaryGroup = account.group
    return .init(number: account.user, name: account.name)
  }

  func group(_ text: RawArgument) throws(JailError) -> JailConfiguration.Identity {
    if let number = try number(text, "group") { return .init(number: number) }
    let group: gid_t?
    do {
      group = try world.group(FilePath(text))
    } catch { throw JailError("Bad group '\(text)'", error) }
    guard let group else { throw JailError("Bad group '\(text)': there is no such group") }
    return .init(number: group, name: FilePath(text))
  }

  /// nil when the text is no number. The last one, 4294967295, means "no change" to the kernel.
  private func number(_ text: RawArgument, _ kind: String) throws(JailError) -> UInt32? {
    guard !text.isEmpty else { throw JailError("Bad \(kind) '': it is empty") }
    let hasSign = text.bytes[0] == UInt8(ascii: "-") || text.bytes[0] == UInt8(ascii: "+")
    let digits = text.bytes.dropFirst(hasSign ? 1 : 0)
    guard !digits.isEmpty, digits.allSatisfy({ (48...57).contains($0) }) else { return nil }
    guard let number = text.text.flatMap({ UInt32($0) }), number != .max else {
      throw JailError("Bad \(kind) '\(text)': a number is 0 to 4294967294")
    }
    return number
  }
}
