import DaemonStoreKernel

/// What only the whole command line tells, in the order in which the reference looks.
extension CommandLineParser {
  mutating func check() throws(JailError) {
    if configuration.raisesAmbient, configuration.capabilities == nil {
      throw JailError("Can't set ambient capabilities (--ambient) without actual capabilities (-c)")
    }
    let hasStores = !configuration.daemonStores.isEmpty
    if hasBind, configuration.root == .none, !literalMountNamespace, !hasStores {
      throw JailError(
        "Bind mounts require a chroot, pivot_root, or a new mount namespace (-C, -P, -v)")
    }
    try finishPropagation()
    if request.addsGroups, request.inheritsGroups || request.keepsGroups {
      throw JailError("--add-suppl-group is not compatible with -G or -y")
    }
    finishNamespaces()
    finishFileAccess()
    if asksForTemporaryDirectory, configuration.temporaryBytes == nil {
      configuration.temporaryBytes = 64 << 20
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
    configuration.propagation = change
    configuration.removesUserData =
      !configuration.daemonStores.isEmpty && !literalMountNamespace
  }

  private mutating func finishNamespaces() {
    if request.asksForUserNamespace { configuration.namespaces.insert(.user) }
    let wantsInit = asksForInit || request.asksForUserNamespace
    if asksForProgramAsInit || wantsInit {
      configuration.namespaces.formUnion([.mount, .process])
      configuration.processNamespace = asksForProgramAsInit ? .programIsInit : .withInit
    }
    configuration.freshProcesses = explicitProcesses || (wantsInit && !asksForProgramAsInit)
  }
}
