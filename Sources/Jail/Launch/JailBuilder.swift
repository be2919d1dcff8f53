import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import Seccomp

/// Carries a plan out in the process that becomes the jail. Every failure is final: the process
/// ends, its namespaces with it, and nothing has run.
final class JailBuilder {
  let configuration: JailConfiguration
  let log: Log
  /// Opened before anything changed.
  private var network: SharedDescriptor?
  private var mountNamespace: SharedDescriptor?
  private let libraryPath: FilePath?

  // What one step leaves for a later one.
  var stores: StoreMounts?
  var devices: DeviceDirectory?
  private var userData: UserDataMounts?
  /// The mount table, until the next step: reading it is what costs most on a host with many.
  private var knownTable: [Mount]?
  private var processes: SharedDescriptor?
  private var workingDirectory: SharedDescriptor?
  private var newProcesses: SharedDescriptor?
  /// The program's own terminal, until the program has it.
  private var terminal: JailTerminal?
  /// Whether a part of the jail is done when the loader of the program is done, and whether that
  /// loader is root's.
  var isCompletedLater = false
  var trustsLoader = true
  /// The library, if that part is left to it.
  var library: PreloadLibrary?
  /// The filter of system calls for the library, made before limits are in force.
  var sealedFilter: SharedDescriptor?
  /// What executes the program, where it has other files than the caller.
  var trampoline: SharedDescriptor?
  /// The rules for files that are in force in the end.
  var ruleset: SharedRuleset?
  /// Those that are in force before, where a loader has to do its work first.
  var firstRuleset: SharedRuleset?

  init(
    _ configuration: JailConfiguration, log: Log, library: FilePath? = nil,
    network: SharedDescriptor? = nil,
    mountNamespace: SharedDescriptor? = nil
  ) {
    self.configuration = configuration
    self.log = log
    libraryPath = library
    self.network = network
    self.mountNamespace = mountNamespace
  }

  /// Everything but the steps of ``JailProcess``: what two processes do together, and what comes so
  /// close to the program that nothing else can be done any more. Those are errors here.
  func carryOut(_ jailStep: JailStep) throws(JailError) {
    switch jailStep {
    case .newSession: try startSession()
    case .denyTerminalInput: try denyTerminalInput()
    case .becomeMapped(let user, let group): try becomeMapped(user, group)
    case .openLibrary:
      guard let libraryPath else { return }
      let staysInPlace =
        configuration.namespaces.isDisjoint(with: [.mount, .user])
        && configuration.root == .none && configuration.mountNamespaceFile == nil
      library = try PreloadLibrary(libraryPath, mayStayInPlace: staysInPlace)
    case .enterMounts(let file):
      guard let mountNamespace else { throw JailError("-V \(file): it was not opened") }
      try step("-V \(file)") { () throws(SystemError) in
        try NamespaceKinds.mount.enter(mountNamespace.descriptor, shown: file)
      }
    case .unshare(let kinds):
      try step("-\(Self.option(of: kinds)): new \(kinds.fileName) namespace") {
        () throws(SystemError) in try kinds.unshare()
      }
      if kinds == .mount { try rememberDirectories() }
    case .setPropagation(let mode):
      try step("make all mounts \(mode.rawValue)") { () throws(SystemError) in
        try mode.set(on: "/", recursive: true)
      }
    case .setHostName(let name):
      try step("--uts=\(name)") { () throws(SystemError) in
        try check("sethostname", FilePath(name), linux_sethostname(name.cString))
      }
    case .enterNetwork(let file):
      guard let network else { throw JailError("-e\(file): it was not opened") }
      try step("-e\(file)") { () throws(SystemError) in
        try NamespaceKinds.network.enter(network.descriptor, shown: file)
      }
    case .raiseLoopback:
      if linux_loopback_up() != 0 {
        log.warning("-e: the loopback interface stays down: \(String(cString: strerror(errno)))")
      }
    case .joinSessionKeyring:
      try step("-w: new session keyring") { () throws(SystemError) in
        try check("keyctl", nil, linux_new_session_keyring())
      }
    case .gatherStores, .findUserData, .removeUserData, .buildDevices, .mount, .makeMountPoint,
      .placeStores, .placeDevices, .placeTerminal, .changeRoot, .pivotRoot,
      .mountTemporaryDirectory,
      .buildProcesses, .placeProcesses:
      try carryOutMount(jailStep)
    case .openTerminal: terminal = try JailTerminal(configuration)
    case .closeDescriptors: forgetDescriptors()
    case .inspectProgram: try inspectProgram()
    case .prepareFileAccess(let access): try prepare(access)
    case .setSecureBits, .setGroups, .setGroup, .setUser, .limitCapabilities, .raiseAmbient,
      .setNoNewPrivileges, .restrictFileAccess, .setSystemCallTable:
      try dropPrivilege(jailStep)
    case .loadFilter:
      guard let filter = configuration.filter else { throw Self.misplaced(jailStep) }
      try loadFilter(filter, isCompletedLater ? filter.startup : filter.program)
    case .setLimits, .forkInit, .takeTerminal, .requestCompletion, .prepareProgram, .tellCalls,
      .execute:
      throw Self.misplaced(jailStep)
    }
  }

  /// Makes the terminal this process's, and gives the launcher its side. What leads to it is closed,
  /// but for the standard descriptors.
  func giveTerminal(through socket: SharedDescriptor) throws(JailError) {
    try terminal?.take(sending: socket)
    terminal = nil
  }

  /// What of the terminal is needed until then.
  var terminalDescriptors: [CInt] { terminal?.descriptors ?? [] }

  static func misplaced(_ jailStep: JailStep) -> JailError {
    JailError("\(jailStep): this step cannot be done here")
  }

  /// The last thing but `execve`: from here on, the filter decides what this process can still do.
  private func loadFilter(_ filter: SystemCallFilter, _ program: FilterProgram?) throws(JailError) {
    guard let program else { throw JailError("\(filter.name): there is no filter for a loader") }
    try step(Self.loading(filter)) {
      () throws(SystemError) in
      try SystemCallFilters.load(program.bytes, flags: filter.flags)
    }
  }

  static func loading(_ filter: SystemCallFilter) -> String {
    "load the filter of \(filter.name) (needs no_new_privs, -n)"
  }

  /// Everything of the host that the set-up had open.
  private func forgetDescriptors() {
    stores = nil
    devices = nil
    userData = nil
    knownTable = nil
    processes = nil
    workingDirectory = nil
    newProcesses = nil
    network = nil
    mountNamespace = nil
  }

  private static func option(of kinds: NamespaceKinds) -> String {
    switch kinds {
    case .ipc: "l"
    case .uts: "-uts"
    case .network: "e"
    case .cgroup: "N"
    default: "v"
    }
  }

  /// A process of the caller's session has the caller's terminal as `/dev/tty`, whatever its own
  /// descriptors are, and could read from it and type into it (TIOCSTI).
  private func startSession() throws(JailError) {
    let what = "start a new session, away from the caller's terminal"
    do throws(SystemError) {
      _ = try Descriptor(
        followingLinks: "/dev/tty" as FilePath, flags: O_RDONLY | O_NONBLOCK | O_NOCTTY)
    } catch {
      // Only this says that there is no terminal; without the file there may be one.
      if error.code == ENXIO { return }
    }
    try step(what) { () throws(SystemError) in try check("setsid", nil, setsid()) }
  }

  private func denyTerminalInput() throws(JailError) {
    let program = try TerminalFilter.program()
    try step("--no-new-sessions: deny typing into the terminal (needs no_new_privs, -n)") {
      () throws(SystemError) in try SystemCallFilters.load(program)
    }
  }

  /// Both on the mounts of the new namespace; the old one's would not be found in it.
  private func rememberDirectories() throws(JailError) {
    workingDirectory = try held("the working directory", ".")
    if configuration.removesUserData { processes = try held("/proc", "/proc") }
  }

  private func held(_ what: String, _ path: FilePath) throws(JailError) -> SharedDescriptor {
    try step(what) { () throws(SystemError) in
      SharedDescriptor(try Descriptor(followingLinks: path, flags: LINUX_O_PATH | O_DIRECTORY))
    }
  }

  /// Relative sources are looked up from where the launcher was called.
  func returnToWorkingDirectory() throws(SystemError) {
    guard let workingDirectory else { return }
    try changeDirectory(to: workingDirectory.descriptor, shown: ".")
  }

  // MARK: Mounts

  private func carryOutMount(_ mountStep: JailStep) throws(JailError) {
    let known = knownTable
    knownTable = nil
    switch mountStep {
    case .gatherStores(let names, let rest):
      stores = try StoreMounts(gathering: names, rest: rest, builder: self)
    case .findUserData:
      let table = try mountTable()
      userData = UserDataMounts(table)
      knownTable = table
    case .removeUserData: try removeUserData(known)
    case .buildDevices: devices = try DeviceDirectory(hasTerminal: configuration.ownTerminal)
    case .mount(let mount): try perform(mount)
    case .makeMountPoint(let path): try makeMountPoint(path)
    case .placeStores(let root): try stores?.place(in: root, builder: self)
    case .placeDevices(let root): try devices?.place(in: root, builder: self)
    case .placeTerminal(let root): try terminal?.place(in: root, builder: self)
    case .changeRoot(let path):
      try step("-C \(path)") { () throws(SystemError) in
        try DaemonStoreKernel.changeRoot(to: path)
      }
      workingDirectory = nil
    case .pivotRoot(let path):
      try step("-P \(path)") { () throws(SystemError) in try pivot(to: path) }
      workingDirectory = nil
    case .mountTemporaryDirectory(let bytes):
      try step("-t: new /tmp") { () throws(SystemError) in
        try mountFilesystem(
          "none", on: "/tmp", type: "tmpfs", flags: UInt(MountFlags.standard.rawValue),
          data: "size=\(bytes),mode=1777", shown: "/tmp")
      }
    case .buildProcesses: try buildProcesses()
    case .placeProcesses(let root): try placeProcesses(in: root)
    case .newSession, .denyTerminalInput, .becomeMapped, .enterMounts, .openLibrary, .unshare,
      .setPropagation, .setHostName, .enterNetwork, .raiseLoopback, .joinSessionKeyring,
      .openTerminal, .takeTerminal, .closeDescriptors, .inspectProgram, .prepareFileAccess,
      .setLimits, .setSecureBits, .setGroups, .setGroup, .setUser, .limitCapabilities,
      .raiseAmbient, .setNoNewPrivileges, .restrictFileAccess, .setSystemCallTable,
      .requestCompletion, .prepareProgram, .loadFilter, .tellCalls, .forkInit, .execute:
      throw Self.misplaced(mountStep)
    }
  }

  /// The whole mount table that this process can reach.
  private func mountTable() throws(JailError) -> [Mount] {
    guard let processes else { throw JailError("/proc was not opened") }
    let text = try step("read the mount table") { () throws(SystemError) in
      let file = Descriptor(
        owning: try check(
          "open", "/proc/self/mountinfo",
          openat(processes.descriptor.number, "self/mountinfo", O_RDONLY | O_CLOEXEC)))
      return try file.read(atMost: .max, shown: "/proc/self/mountinfo") ?? []
    }
    return try MountTable.ofThisProcess(text).mounts
  }

  /// Detaching one takes those below it along, so the table is read again until none is left.
  private func removeUserData(_ known: [Mount]?) throws(JailError) {
    guard let userData else { return }
    var left = Int.max
    var known = known
    while true {
      let table = if let known { known } else { try mountTable() }
      known = nil
      let mounts = userData.mounts(in: table, keeping: stores?.identifiers ?? [])
      guard let first = mounts.first else { return }
      guard mounts.count < left else {
        throw JailError(
          "--daemon-store: cannot take \(first.target) out of "
            + "the jail, which would hold on to a user's data")
      }
      left = mounts.count
      for mount in mounts {
        let target = mount.target.cString
        // Gone already with one above it, or hidden by another: the next turn tells.
        let top = open(target, LINUX_O_PATH | O_CLOEXEC | O_NOFOLLOW)
        guard top >= 0, try identifier(ofMount: Descriptor(owning: top)) == mount.id else {
          continue
        }
        _ = umount2(target, CInt(UMOUNT_NOFOLLOW | MNT_DETACH))
      }
    }
  }

  private func identifier(ofMount place: consuming Descriptor) throws(JailError) -> UInt64 {
    try step("--daemon-store") { () throws(SystemError) in try place.status().mountID }
  }

  private func makeMountPoint(_ path: FilePath) throws(JailError) {
    try step("-P \(path)") { () throws(SystemError) in
      let root = try Descriptor(followingLinks: path, flags: LINUX_O_PATH | O_DIRECTORY)
      guard try !root.status(shown: path).isMountRoot else { return }
      try mountFilesystem(
        path, on: path, type: "none", flags: UInt(MS_BIND | MS_REC), data: "",
        shown: path)
    }
  }

  /// pivot_root(2) without a directory for the old root: it ends up on top of the new one, from
  /// where it is detached.
  private func pivot(to path: FilePath) throws(SystemError) {
    let old = try Descriptor(followingLinks: "/" as FilePath, flags: LINUX_O_PATH | O_DIRECTORY)
    let new = try Descriptor(followingLinks: path, flags: LINUX_O_PATH | O_DIRECTORY)
    try changeDirectory(to: new, shown: path)
    try pivotRoot(putOld: ".")
    try changeDirectory(to: old, shown: "the old root")
    // Not to the host: what is unmounted here stays mounted there.
    try Propagation.private.set(on: ".", recursive: true)
    try unmount(".", lazily: true)
    try changeDirectory(to: new, shown: path)
    try DaemonStoreKernel.changeRoot(to: ".")
  }

  /// Ids that the namespace does not map could make no file in it.
  private func becomeMapped(_ user: UInt32?, _ group: UInt32?) throws(JailError) {
    if let group {
      try step("-M: become group \(group)") { () throws(SystemError) in
        try Credentials.setGroup(group)
      }
    }
    if let user {
      try step("-m: become user \(user)") { () throws(SystemError) in
        try Credentials.setUser(user)
      }
    }
  }

  /// A new one that shows the jail's own processes.
  private func buildProcesses() throws(JailError) {
    newProcesses = try step("-r, -p: new /proc") { () throws(SystemError) in
      let mount = try DetachedMount(
        newFilesystem: "proc", source: "proc", options: [],
        attributes: [.readOnly, .noSetID, .noDevices, .noExecution])
      return SharedDescriptor(mount.intoDescriptor())
    }
  }

  private func placeProcesses(in newRoot: FilePath?) throws(JailError) {
    guard let newProcesses else { return }
    if let newRoot {
      // Only what is mounted by -b or -k makes a new root that is missing.
      let option = if case .pivotRoot = configuration.root { "-P" } else { "-C" }
      try step("\(option) \(newRoot)") { () throws(SystemError) in
        _ = try Descriptor(followingLinks: newRoot, flags: LINUX_O_PATH | O_DIRECTORY)
      }
    }
    try replaceMount("/proc", by: newProcesses, newRoot: newRoot, what: "-r, -p: new /proc")
  }
}
