import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// What `--explain` prints: what the program would be, the steps in their order, and the mount
/// table that the program would see. Everything that a plan names is looked up and checked; nothing
/// is made or started.
struct Explanation {
  private let configuration: JailConfiguration
  /// A line for each step.
  private let steps: [String]
  private let state: ProgramState
  /// The ABI that rules for files would be enforced with; 0 for not at all.
  private let landlockABI: Int
  private let mounts: [Mount]

  /// The process enters the mount namespace of `-V` to read its table, and stays there.
  init(_ plan: JailPlan) throws(JailError) {
    configuration = plan.configuration
    steps = plan.stepDescriptions
    let caller = try step("look at the caller") { () throws(SystemError) in
      try Caller.current()
    }
    state = ProgramState(plan, caller: caller)
    let rules = plan.configuration.fileAccess
    landlockABI = try step("ask for the version of Landlock") { () throws(SystemError) in
      try rules.map { (access) throws(SystemError) in
        min(try FileRuleset.kernelABI(), access.abi)
      } ?? 0
    }
    if configuration.usesLibrary { _ = try PreloadLibrary.locate(configuration) }
    guard state.missing.isEmpty else {
      throw JailError(
        "-c: at its place in the plan, the jail lacks \(state.missing.names.joined(separator: ", "))"
      )
    }
    if let file = configuration.pidFile { try Self.checkPlace(of: file) }
    mounts = try ExpectedMounts(plan).mounts
  }

  /// That a file can be written there, as far as it can be told without writing one.
  private static func checkPlace(of file: FilePath) throws(JailError) {
    let parent = file.directory.isEmpty ? "." : file.directory
    try step("-f \(file)") { () throws(SystemError) in
      try check("open", parent, access(parent.cString, W_OK | X_OK))
      let exists = access(file.cString, F_OK) == 0
      if exists {
        let place = try Descriptor(followingLinks: file)
        if try place.status(shown: file).isDirectory {
          throw SystemError(operation: "open", path: file, code: EISDIR)
        }
      }
    }
  }

  // MARK: Facts

  private var words: [RawArgument] { [configuration.program] + configuration.arguments }

  /// The kinds of namespaces that are not the caller's, and how.
  private var namespaces: [(kind: String, how: String)] {
    let all: [NamespaceKinds] = [.user, .mount, .process, .network, .ipc, .uts, .cgroup]
    return all.compactMap { kind in
      if kind == .network, let file = configuration.networkNamespaceFile {
        return (kind.fileName.description, "that of \(file)")
      }
      let isNew = configuration.namespaces.contains(kind)
      if kind == .mount, let file = configuration.mountNamespaceFile {
        return (kind.fileName.description, isNew ? "a copy of that of \(file)" : "that of \(file)")
      }
      guard isNew else { return nil }
      if kind == .process {
        return (
          kind.fileName.description,
          configuration.processNamespace == .programIsInit ? "new, the program is process 1" : "new"
        )
      }
      return (kind.fileName.description, "new")
    }
  }

  private var sets: [(String, CapabilitySet)] {
    [
      ("inheritable", state.capabilities.inheritable), ("permitted", state.capabilities.permitted),
      ("effective", state.capabilities.effective), ("bounding", state.capabilities.bounding),
      ("ambient", state.capabilities.ambient),
    ]
  }

  /// Which peer group is of no interest, and differs from run to run.
  private static func kinds(_ mount: Mount) -> String {
    let kinds =
      (mount.peerGroup == nil ? [] : ["shared"]) + (mount.master == nil ? [] : ["slave"])
      + (mount.isUnbindable ? ["unbindable"] : [])
    return kinds.isEmpty ? "private" : kinds.joined(separator: ",")
  }

  /// As it is, for JSON; what is not UTF-8 shows as `\xNN`.
  private static func text(_ bytes: some Sequence<UInt8>) -> String {
    String(validating: Array(bytes), as: UTF8.self) ?? shownBytes(bytes)
  }

  private static func text(_ limit: UInt64) -> String {
    limit == .max ? "unlimited" : "\(limit)"
  }

  private static func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

  // MARK: Forms

  var text: String {
    var lines = [
      "program: \(words.map(\.description).joined(separator: " "))", "", "the program will be:",
    ]
    let groups = state.groups.map { "\($0)" }.joined(separator: ",")
    lines.append(
      "  ids            user \(state.user), group \(state.group), "
        + "groups \(groups.isEmpty ? "none" : groups)")
    for (name, set) in sets {
      let names = set.names.joined(separator: ",")
      let label = name + String(repeating: " ", count: 15 - name.utf8.count)
      lines.append("  \(label)\(Self.hex(set.rawValue))\(names.isEmpty ? "" : " ")\(names)")
    }
    lines.append("  securebits     \(Self.hex(state.secureBits.rawValue))")
    lines.append("  no_new_privs   \(state.noNewPrivileges ? "yes" : "no")")
    let spaces = namespaces.map { "\($0.kind) (\($0.how))" }.joined(separator: ", ")
    lines.append("  namespaces     \(spaces.isEmpty ? "the caller's" : spaces)")
    for limit in configuration.limits {
      lines.append(
        "  limit          \(limit.kind.name) \(Self.text(limit.soft)) \(Self.text(limit.hard))")
    }
    if let access = configuration.fileAccess {
      lines.append(
        landlockABI > 0
          ? "  files          only as the rules say (Landlock ABI \(landlockABI))"
          : "  files          not restricted: this kernel has no Landlock, or the ABI is 0")
      for rule in access.rules {
        lines.append("                 \(rule.kind.rawValue) \(rule.path)")
      }
    }
    lines += ["", "steps:"]
    for (index, text) in steps.enumerated() { lines.append("  \(index + 1). \(text)") }
    lines += ["", "mounts:"]
    for mount in mounts {
      let root = mount.root == "/" ? "" : "[\(mount.root)]"
      lines.append(
        "  \(mount.target) \(mount.fileSystem) \(mount.attributes.options) "
          + "\(Self.kinds(mount)) \(mount.source)\(root)")
    }
    return lines.map { oneLine($0) + "\n" }.joined()
  }

  var json: String {
    let capabilities = sets.map { ($0.0, JSONText.strings($0.1.names)) }
    let limits = configuration.limits.map { limit in
      JSONText.object([
        ("name", .string(limit.kind.name)),
        ("soft", limit.soft == .max ? .null : .number(limit.soft)),
        ("hard", limit.hard == .max ? .null : .number(limit.hard)),
      ])
    }
    let files = configuration.fileAccess.map { access in
      JSONText.object([
        ("abi", .number(UInt64(landlockABI))),
        (
          "rules",
          .array(
            access.rules.map {
              .object([
                ("path", .string(Self.text($0.path.bytes))), ("access", .string($0.kind.rawValue)),
              ])
            })
        ),
      ])
    }
    let table = mounts.map { mount in
      JSONText.object([
        ("target", .string(Self.text(mount.target.bytes))),
        ("type", .string(Self.text(mount.fileSystem.bytes))),
        ("options", .strings(mount.attributes.optionWords)),
        ("propagation", .string(Self.kinds(mount))),
        ("source", .string(Self.text(mount.source.bytes))),
        ("root", .string(Self.text(mount.root.bytes))),
      ])
    }
    return JSONText.object([
      ("program", .strings(words.map { Self.text($0.bytes) })),
      ("user", .number(UInt64(state.user))), ("group", .number(UInt64(state.group))),
      ("groups", .array(state.groups.map { .number(UInt64($0)) })),
      ("capabilities", .object(capabilities)),
      ("securebits", .number(state.secureBits.rawValue)),
      ("noNewPrivileges", .bool(state.noNewPrivileges)),
      ("namespaces", .object(namespaces.map { ($0.kind, .string($0.how)) })),
      ("limits", .array(limits)), ("files", files ?? .null),
      ("steps", .strings(steps)), ("mounts", .array(table)),
    ]).text() + "\n"
  }
}
