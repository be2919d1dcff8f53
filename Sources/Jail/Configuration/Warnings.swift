import DaemonStoreKernel

extension JailConfiguration {
  /// Habits that are allowed, and that are usually mistakes: of user data that never arrives, or
  /// that arrives where it should not: a line for each, in words for a person. Nothing else looks
  /// at them: neither a plan nor ``isStrict``.
  public var warnings: [String] {
    let session =
      "--no-new-sessions: the program keeps the caller's terminal and can read what is typed there; "
      + "use --pty for a program that needs a terminal"
    return (newSessions ? [] : [session]) + mounts.filter(\.isBind).flatMap(warnings)
  }

  private static let storeRoots: [FilePath] = ["/run/daemon-store", "/run/daemon-store-cache"]

  private func warnings(of mount: JailMount) -> [String] {
    let source = mount.source.normal
    if let root = Self.storeRoots.first(where: { $0 == source }) {
      return [
        "\(mount.description): the jail sees every daemon's store; bind only \(root)/NAME, or use "
          + "--daemon-store NAME"
      ]
    }
    if source == "/run" || (source == "/" && mount.isRecursive) {
      return [
        "\(mount.description): the jail gets the host's whole /run; mount a tmpfs on /run, bind "
          + "what is needed, and show one store with --daemon-store NAME"
      ]
    }
    guard let root = Self.storeRoots.first(where: { source.isEqualOrBelow($0) }) else { return [] }
    let name = source.components[root.components.count]
    var warnings: [String] = []
    if !mount.isRecursive {
      warnings.append(
        "\(mount.description): without MS_REC, users who are logged in already are missing in "
          + "the store \(name); use -k \(source),\(mount.target),none,MS_BIND|MS_REC or "
          + "--daemon-store \(name)")
    }
    if !follows(mount) {
      warnings.append(
        "\(mount.description): it is private, so that no later login arrives in the store "
          + "\(name), and a logout does not take it away; add -v -Kslave, or use "
          + "--daemon-store \(name)")
    }
    return warnings
  }

  /// Whether later mounts of the host arrive in a bind of this configuration.
  private func follows(_ mount: JailMount) -> Bool {
    var change: Propagation?
    if case .filesystem(_, let flags, _) = mount.kind { change = flags.propagationChange }
    if change == .private || change == .unbindable { return false }
    switch propagation {
    case .unchanged, .set(.slave), .set(.shared): return true
    case .set(.private), .set(.unbindable): return !namespaces.contains(.mount)
    }
  }
}

extension FilePath {
  /// Without doubled or final slashes.
  var normal: FilePath { components.reduce(isAbsolute ? "/" : "") { $0.appending($1) } }
}
