import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// Carries steps out that every process can take for itself, in the process that becomes the jail. Every
/// failure is final: the process ends, its namespaces with it, and nothing has run.
final class JailBuilder {
  let context: JailContext
  let log: Log
  /// Opened before anything changed.
  private var network: Handover<SharedDescriptor>
  private var mountNamespace: Handover<SharedDescriptor>

  private var stores = Handover<StoreMounts>("the daemon stores")
  var devices = Handover<DeviceDirectory>("the new /dev")
  private var userData = Handover<UserDataMounts>("the mounts of users' data")
  private var processes = Handover<SharedDescriptor>("/proc of the host")
  private var newProcesses = Handover<SharedDescriptor>("the new /proc")
  var fileRestriction = Handover<FileRestriction>("the rules for files")
  /// The mount table, until the next step: reading it is what costs most on a host with many.
  private var knownTable: [Mount]?
  /// Where the launcher was called, if a mount may hide that from a path.
  private var workingDirectory: SharedDescriptor?

  init(_ context: JailContext, log: Log, _ namespaces: NamespaceFiles) {
    self.context = context
    self.log = log
    network = Handover("the network namespace of -e", namespaces.network)
    mountNamespace = Handover("the mount namespace of -V", namespaces.mount)
  }

  /// Everything of the host that the set-up had open.
  func forgetDescriptors() {
    stores.forget()
    devices.forget()
    userData.forget()
    processes.forget()
    newProcesses.forget()
    network.forget()
    mountNamespace.forget()
    knownTable = nil
    workingDirectory = nil
  }

  // MARK: Namespaces

  func carryOut(_ namespaceStep: NamespaceStep) throws(JailError) {
    switch namespaceStep {
    case .newSession: try startSession()
    case .becomeMapped(let user, let group): try becomeMapped(user, group)
    case .unshare(let new):
      try step("\(new.option): new \(new.kinds.fileName) namespace") {
        () throws(SystemError) in try new.kinds.unshare()
      }
    case .setHostName(let name):
      try step("--uts=\(name)") { () throws(SystemError) in
        try check("sethostname", FilePath(name), linux_sethostname(name.cString))
      }
    case .enterNetwork(let file):
      let namespace = try network.get()
      try step("-e\(file)") { () throws(SystemError) in
        try NamespaceKinds.network.enter(namespace.descriptor, shown: file)
      }
    case .raiseLoopback:
      if linux_loopback_up() != 0 {
        log.warning("-e: the loopback interface stays down: \(String(cString: strerror(errno)))")
      }
    case .joinSessionKeyring:
      try step("-w: new session keyring") { () throws(SystemError) in
        try check("keyctl", nil, linux_new_session_keyring())
      }
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

  // MARK: Mounts

  func carryOut(_ mountStep: MountStep) throws(JailError) {
    let known = knownTable
    knownTable = nil
    switch mountStep {
    case .enterNamespace(let file):
      let namespace = try mountNamespace.get()
      try step("-V \(file)") { () throws(SystemError) in
        try NamespaceKinds.mount.enter(namespace.descriptor, shown: file)
      }
    case .newNamespace(let opensProcesses):
      try step("-v: new mnt namespace") { () throws(SystemError) in
        try NamespaceKinds.mount.unshare()
      }
      // Both on the mounts of the new namespace; the old one's would not be found in it.
      workingDirectory = try held("the working directory", ".")
      if opensProcesses { processes.leave(try held("/proc", "/proc")) }
    case .setPropagation(let mode):
      try step("make all mounts \(mode.rawValue)") { () throws(SystemError) in
        try mode.set(on: "/", recursive: true)
      }
    case .gatherStores(let names, let rest):
      stores.leave(try StoreMounts(gathering: names, rest: rest, builder: self))
    case .buildProcesses: newProcesses.leave(try Self.buildProcesses())
    case .findUserData:
      let table = try mountTable()
      userData.leave(UserDataMounts(table))
      knownTable = table
    case .removeUserData: try removeUserData(known)
    case .buildDevices(let hasTerminal):
      devices.leave(try DeviceDirectory(hasTerminal: hasTerminal))
    case .mount(let mount): try perform(mount)
    case .mountInDevices(let mount): try prepareInDevices(mount)
    case .placeProcesses(let root): try placeProcesses(in: root)
    case .makeMountPoint(let path): try makeMountPoint(path)
    case .placeStores(let root): try stores.get().place(in: root, builder: self)
    case .placeDevices(let root): try devices.get().place(in: root, builder: self)
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
    }
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

  /// The whole mount table that this process can reach.
  private func mountTable() throws(JailError) -> [Mount] {
    let processes = try processes.get()
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
    let userData = try userData.get()
    var left = Int.max
    var known = known
    while true {
      let table = if let known { known } else { try mountTable() }
      known = nil
      let mounts = userData.mounts(in: table, keeping: stores.current?.identifiers ?? [])
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

  /// A new one that shows the jail's own processes.
  private static func buildProcesses() throws(JailError) -> SharedDescriptor {
    try step("-r, -p: new /proc") { () throws(SystemError) in
      let mount = try DetachedMount(
        newFilesystem: "proc", source: "proc", options: [],
        attributes: [.readOnly, .noSetID, .noDevices, .noExecution])
      return SharedDescriptor(mount.intoDescriptor())
    }
  }

  private func placeProcesses(in newRoot: FilePath?) throws(JailError) {
    let newProcesses = try newProcesses.get()
    if let newRoot {
      // Only what is mounted by -b or -k makes a new root that is missing.
      let option = if case .pivotRoot = context.root { "-P" } else { "-C" }
      try step("\(option) \(newRoot)") { () throws(SystemError) in
        _ = try Descriptor(followingLinks: newRoot, flags: LINUX_O_PATH | O_DIRECTORY)
      }
    }
    try replaceMount("/proc", by: newProcesses, newRoot: newRoot, what: "-r, -p: new /proc")
  }
}
