import DaemonStoreKernel

// What is done, as `--explain` prints it.

extension JailSteps {
  /// A line for each step, in order.
  var descriptions: [String] {
    setUp.map(\.description) + (forksInit ? [Self.forkText] : []) + ending.map(\.description)
      + ["execute the program"]
  }

  static let forkText = "fork: this process stays as init, its child goes on"
}

extension SetUpStep: CustomStringConvertible {
  var description: String {
    switch self {
    case .namespace(let step): step.description
    case .mount(let step): step.description
    case .privilege(let step): step.description
    case .launch(let step): step.description
    case .closeDescriptors: "close every descriptor that the program is not to have"
    case .prepareFileAccess(let access):
      "prepare the rules for files: "
        + access.rules.map { "\($0.path) \($0.kind.rawValue)" }.joined(separator: ", ")
    case .setLimits(let limits):
      "set the limits: "
        + limits.map { "\($0.kind.name) \(Self.text($0.soft)) \(Self.text($0.hard))" }
        .joined(separator: ", ")
    }
  }

  private static func text(_ limit: UInt64) -> String {
    limit == .max ? "unlimited" : "\(limit)"
  }
}

extension FinalStep: CustomStringConvertible {
  var description: String {
    switch self {
    case .privilege(let step): step.description
    case .program(let step): step.description
    }
  }
}

extension NamespaceStep: CustomStringConvertible {
  var description: String {
    switch self {
    case .newSession: "if there is a terminal, start a new session"
    case .becomeMapped(let user, let group):
      "become "
        + [group.map { "group \($0)" }, user.map { "user \($0)" }].compactMap { $0 }
        .joined(separator: " and ") + " of the new user namespace"
    case .unshare(let new): "enter a new \(new.kinds.fileName) namespace"
    case .setHostName(let name): "set the host name \(name)"
    case .enterNetwork(let file): "enter the network namespace of \(file)"
    case .raiseLoopback: "bring the loopback interface up"
    case .joinSessionKeyring: "join a new session keyring"
    }
  }
}

extension MountStep: CustomStringConvertible {
  var description: String {
    switch self {
    case .enterNamespace(let file): "enter the mount namespace of \(file)"
    case .newNamespace: "enter a new mnt namespace"
    case .setPropagation(let mode): "make all mounts \(mode.rawValue)"
    case .gatherStores(let names, let rest):
      "make all mounts slaves, set aside the daemon stores "
        + names.map(\.description).joined(separator: ", ")
        + (rest == .slave ? "" : ", and make the rest \(rest.rawValue)")
    case .buildProcesses: "make a new /proc, read-only"
    case .findUserData: "find the mounts of users' data"
    case .removeUserData: "take mounts of users' data out of the jail"
    case .buildDevices: "build a minimal /dev"
    case .mount(let mount), .mountInDevices(let mount): mount.description
    case .placeProcesses(let root): "replace \(text(root))/proc by the new one"
    case .makeMountPoint(let path): "bind \(path) on itself unless it is the root of a mount"
    case .placeStores(let root):
      "show the daemon stores below \(text(root))\(StoreMounts.directory) "
        + "and \(text(root))\(StoreMounts.cacheDirectory)"
    case .placeDevices(let root): "show the minimal /dev on \(text(root))/dev"
    case .changeRoot(let path): "change the root directory to \(path)"
    case .pivotRoot(let path): "make \(path) the root, and detach the old one"
    case .mountTemporaryDirectory(let bytes): "mount a tmpfs of \(bytes) bytes on /tmp"
    }
  }
}

private func text(_ root: FilePath?) -> String { root?.description ?? "" }

extension PrivilegeStep: CustomStringConvertible {
  var description: String {
    switch self {
    case .denyTerminalInput: "deny typing into the caller's terminal"
    case .setSecureBits(let bits): "set the securebits 0x\(String(bits.rawValue, radix: 16))"
    case .setGroups(let groups):
      "set the supplementary groups: "
        + (groups.isEmpty ? "none" : groups.map { "\($0)" }.joined(separator: ", "))
    case .setGroup(let group): "become group \(Self.text(group))"
    case .setUser(let user): "become user \(Self.text(user))"
    case .limitCapabilities(let set, _):
      "limit the permitted, effective, inheritable and bounding capabilities to \(Self.text(set))"
    case .raiseAmbient(let set, _): "raise the ambient capabilities \(Self.text(set))"
    case .setNoNewPrivileges: "set no_new_privs"
    case .restrictFileAccess: "allow only what the rules for files allow"
    case .setSystemCallTable(let name): "take the system call table \(name)"
    }
  }

  private static func text(_ identity: JailConfiguration.Identity) -> String {
    identity.name.map { "\(identity.number) (\($0))" } ?? "\(identity.number)"
  }

  private static func text(_ set: CapabilitySet) -> String {
    set.isEmpty ? "none" : set.names.joined(separator: ",")
  }
}

extension LaunchStep: CustomStringConvertible {
  var description: String {
    switch self {
    case .openLibrary: "open the library that finishes the jail inside a dynamic program"
    case .openTerminal: "make a terminal for the program"
    case .placeTerminal(let root): "show it in \(text(root))/dev/pts, if there is one"
    case .inspectProgram: "look at how the program is linked"
    }
  }
}

extension ProgramStep: CustomStringConvertible {
  var description: String {
    switch self {
    case .takeTerminal: "make it the program's terminal, in a session of its own"
    case .requestCompletion: "let the launcher complete the jail at the program's entry point"
    case .prepare: "prepare what the program starts with"
    case .limitCalls(.load(let filter)), .leaveToTrampoline(.load(let filter)):
      "load the filter of system calls of \(filter.name)"
    case .limitCalls(.tell), .leaveToTrampoline(.tell):
      "let the launcher record each system call"
    }
  }
}

extension JailMount: CustomStringConvertible {
  /// The mount in words, on one line, as `--explain` prints it.
  public var description: String {
    switch kind {
    case .bind(let writable):
      return "bind \(source) on \(target), \(writable ? "writable" : "read-only")"
    case .filesystem(let type, let flags, let data):
      let names = flags.names.isEmpty ? "" : ", \(flags.names.joined(separator: "|"))"
      let options = data.isEmpty ? "" : ", \(data)"
      if isBind { return "bind \(source) on \(target)\(names)" }
      if isChange { return "change the mount on \(target)\(names)\(options)" }
      return "mount \(source) on \(target), type \(type)\(names)\(options)"
    }
  }
}

extension MountFlags {
  /// The names of what is set; bits without a name as one number.
  var names: [String] {
    var rest = rawValue
    var found: [String] = []
    for (name, value) in Self.names where value.nonzeroBitCount == 1 && rest & value != 0 {
      found.append(name)
      rest &= ~value
    }
    return rest == 0 ? found : found + ["0x" + String(rest, radix: 16)]
  }
}
