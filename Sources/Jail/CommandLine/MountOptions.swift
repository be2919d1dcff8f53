import DaemonStoreKernel

extension CommandLineParser {
  mutating func takeMount(_ option: FoundOption, _ value: RawArgument) throws(JailError) {
    switch option.name {
    case .bind:
      hasBind = true
      try add(OptionValues.bind(value))
    case .mount: try add(OptionValues.mount(value))
    case .mountNamespace:
      configuration.namespaces.insert(.mount)
      literalMountNamespace = true
    case .enterMountNamespace:
      let file = FilePath(value)
      request.lookUp(.namespaceFile(file, option: "-V "))
      configuration.mountNamespaceFile = file
    case .propagation: propagation = .some(option.value)
    case .freshProcesses:
      configuration.namespaces.insert(.mount)
      explicitProcesses = true
    case .devices:
      configuration.namespaces.insert(.mount)
      configuration.minimalDevices = true
    case .temporaryDirectory:
      configuration.namespaces.insert(.mount)
      asksForTemporaryDirectory = true
      if option.value != nil {
        configuration.temporaryBytes = try OptionValues.size(value)
      }
    case .changeRoot: try setRoot(.changeRoot(FilePath(value)), option.spelling)
    case .pivotRoot: try setRoot(.pivotRoot(FilePath(value)), option.spelling)
    case .profile: try takeProfile(value)
    default:
      configuration.namespaces.insert(.mount)
      let name = try OptionValues.store(value)
      if storeNames.insert(name).inserted {
        configuration.daemonStores.append(name)
      }
    }
  }

  /// A mount makes a new namespace, unless `-V` named one before it.
  private mutating func add(_ mount: JailMount) {
    if configuration.mountNamespaceFile == nil {
      configuration.namespaces.insert(.mount)
    }
    configuration.mounts.append(mount)
  }

  private mutating func setRoot(
    _ root: JailConfiguration.RootChange, _ spelling: String
  ) throws(JailError) {
    switch configuration.root {
    case .none: break
    case .changeRoot: throw JailError("\(spelling) after -C: only one of -C, -P and --profile")
    case .pivotRoot: throw JailError("\(spelling) after -P or a profile: only one new root")
    }
    guard root.path?.isEmpty == false else { throw JailError("\(spelling) needs a directory") }
    if case .pivotRoot = root { configuration.namespaces.insert(.mount) }
    configuration.root = root
  }

  private mutating func takeProfile(_ name: RawArgument) throws(JailError) {
    guard name == "minimalistic-mountns" || name == "minimalistic-mountns-nodev" else {
      throw JailError("Unrecognized profile name '\(name)'")
    }
    try setRoot(.pivotRoot("/var/empty"), "--profile")
    profile = name.text
    // A new /proc is made after the change of root, so the profile binds none.
    configuration.namespaces.insert(.mount)
    add(JailMount(source: "/", target: "/", kind: .bind(writable: false)))
    explicitProcesses = true
    asksForTemporaryDirectory = true
    if name == "minimalistic-mountns" {
      configuration.minimalDevices = true
      add(
        JailMount(
          source: "/dev/log", target: "/dev/log", kind: .bind(writable: false), isOptional: true))
    }
  }

  // MARK: File access

  mutating func checkFileRestrictions() throws(JailError) {
    if noFileRestrictions, !fileRules.isEmpty {
      throw JailError(
        "--fs-path-* and --fs-default-paths cannot be used with --no-fs-restrictions")
    }
  }

  /// A profile allows what it mounts; the options allow more.
  mutating func finishFileAccess() {
    guard !noFileRestrictions else { return }
    var rules = fileRules
    if profile != nil {
      for mount in configuration.mounts where !mount.isChange {
        rules.append(.init(mount.target, .readAndExecute, isOptional: mount.isOptional))
        if Self.isWritable(mount) {
          rules.append(.init(mount.target, .advancedReadAndWrite, isOptional: mount.isOptional))
        }
      }
      for name in configuration.daemonStores {
        for directory in [StoreMounts.directory, StoreMounts.cacheDirectory] {
          rules.append(.init("\(directory)/\(name)", .readAndExecute))
          rules.append(.init("\(directory)/\(name)", .advancedReadAndWrite))
        }
      }
      rules += FileAccess.defaultRules
      rules += [.init("/dev", .edit), .init("/proc", .read), .init("/tmp", .readAndWrite)]
    }
    guard !rules.isEmpty else { return }
    configuration.fileAccess = FileAccess(
      rules: rules, abi: landlockABI ?? FileRights.newestABI)
  }

  private static func isWritable(_ mount: JailMount) -> Bool {
    switch mount.kind {
    case .bind(let writable): writable
    case .filesystem(_, let flags, _):
      !flags.contains(.readOnly) || !flags.isDisjoint(with: [.shared, .slave])
    }
  }
}
