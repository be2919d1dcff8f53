import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// Who calls: what a jail is made from.
struct Caller: Equatable {
  var user: UInt32
  var group: UInt32
  var groups: [UInt32]
  var capabilities: CapabilityState
  var secureBits: SecureBits
  var noNewPrivileges: Bool
  var lastCapability: UInt8

  static func current() throws(SystemError) -> Caller {
    let last = try CapabilitySet.lastKnown()
    var groups = [gid_t](repeating: 0, count: 1 << 16)  // NGROUPS_MAX
    let count = try check("getgroups", nil, getgroups(CInt(groups.count), &groups))
    return Caller(
      user: geteuid(), group: getegid(), groups: groups[..<Int(count)].sorted(),
      capabilities: try CapabilityState.current(last: last), secureBits: try SecureBits.current(),
      noNewPrivileges: try processControl(PR_GET_NO_NEW_PRIVS, named: "PR_GET_NO_NEW_PRIVS") == 1,
      lastCapability: last)
  }
}

/// What the program will be when its `main` starts, by the rules of capabilities(7),
/// user_namespaces(7) and execve(2). Pure. A file with capabilities or set-id bits of its own is
/// not looked at.
struct ProgramState: Equatable {
  var user: UInt32
  var group: UInt32
  var groups: [UInt32]
  var capabilities: CapabilityState
  var secureBits: SecureBits
  var noNewPrivileges: Bool
  /// What `-c` wants and nobody can give.
  var missing: CapabilitySet = []

  init(_ plan: JailPlan, caller: Caller) {
    user = caller.user
    group = caller.group
    groups = caller.groups
    capabilities = caller.capabilities
    secureBits = caller.secureBits
    noNewPrivileges = caller.noNewPrivileges
    let configuration = plan.configuration
    if configuration.namespaces.contains(.user) {
      enterUserNamespace(configuration, last: caller.lastCapability)
    }
    for setUpStep in plan.steps.setUp {
      switch setUpStep {
      case .namespace(let step): follow(step)
      case .privilege(let step): follow(step)
      case .mount, .launch, .closeDescriptors, .prepareFileAccess, .setLimits: break
      }
    }
    for finalStep in plan.steps.ending {
      switch finalStep {
      case .privilege(let step): follow(step)
      case .program: break
      }
    }
    execute()
    if configuration.clearsAmbientLater, configuration.mayNeedCompletion {
      capabilities.ambient = []
    }
  }

  private mutating func follow(_ step: NamespaceStep) {
    switch step {
    case .becomeMapped(let newUser, let newGroup):
      if let newGroup { group = newGroup }
      if let newUser { become(newUser) }
    case .newSession, .unshare, .setHostName, .enterNetwork, .raiseLoopback, .joinSessionKeyring:
      break
    }
  }

  private mutating func follow(_ step: PrivilegeStep) {
    switch step {
    case .setSecureBits(let bits): secureBits.formUnion(bits)
    case .setGroups(let list): groups = Set(list).sorted()
    case .setGroup(let new): group = new.number
    case .setUser(let new): become(new.number)
    case .limitCapabilities(let wanted, let limitsBounding):
      missing = wanted.subtracting(capabilities.permitted)
      capabilities = CapabilityState(
        inheritable: wanted, permitted: wanted, effective: wanted,
        bounding: limitsBounding
          ? capabilities.bounding.intersection(wanted) : capabilities.bounding,
        ambient: capabilities.ambient)
    case .raiseAmbient(let wanted, _): capabilities.ambient = wanted
    case .setNoNewPrivileges: noNewPrivileges = true
    case .denyTerminalInput, .restrictFileAccess, .setSystemCallTable: break
    }
  }

  private mutating func enterUserNamespace(_ configuration: JailConfiguration, last: UInt8) {
    let all = CapabilitySet.all(last: last)
    capabilities = CapabilityState(permitted: all, effective: all, bounding: all)
    secureBits = []
    user = Self.inside(user, configuration.userMap)
    group = Self.inside(group, configuration.groupMap)
    groups = groups.map { Self.inside($0, configuration.groupMap) }.sorted()
  }

  /// An id as the namespace shows it; one that it does not map is 65534 (overflowuid).
  private static func inside(_ id: UInt32, _ map: [IDRange]?) -> UInt32 {
    for range in map ?? [] where id >= range.outside && id - range.outside < range.count {
      let (result, overflows) = range.inside.addingReportingOverflow(id - range.outside)
      if !overflows { return result }
    }
    return 65534
  }

  /// setresuid(2), all three: user 0 takes its capabilities along only if the securebits say so.
  private mutating func become(_ new: UInt32) {
    let old = user
    user = new
    guard !secureBits.contains(.noSetIDFixup) else { return }
    if old == 0, new != 0 {
      if !secureBits.contains(.keepCapabilities) { capabilities.permitted = [] }
      capabilities.effective = []
      capabilities.ambient = []
    } else if old != 0, new == 0 {
      capabilities.effective = capabilities.permitted
    }
  }

  private mutating func execute() {
    let old = capabilities
    secureBits.remove(.keepCapabilities)
    if user == 0, !secureBits.contains(.noRoot) {
      var permitted = old.bounding.union(old.inheritable).union(old.ambient)
      if noNewPrivileges { permitted.formIntersection(old.permitted) }
      capabilities.permitted = permitted
      capabilities.effective = permitted
    } else {
      capabilities.permitted = old.ambient
      capabilities.effective = old.ambient
    }
  }
}
