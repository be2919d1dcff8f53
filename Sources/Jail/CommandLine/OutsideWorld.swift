import DaemonStoreAccounts
import Glibc
import DaemonStoreKernel

/// What the reading of a command line asks of the system, or of a test.
struct OutsideWorld: Sendable {
  var user: @Sendable (FilePath) throws(SystemError) -> Account? = {
    (name) throws(SystemError) in try Account.named(name)
  }
  var group: @Sendable (FilePath) throws(SystemError) -> gid_t? = {
    (name) throws(SystemError) in try Group.named(name)
  }
  var groups: @Sendable (FilePath, gid_t) throws(SystemError) -> [gid_t] = {
    (name, group) throws(SystemError) in try Account.groups(of: name, with: group)
  }
  var lastCapability: @Sendable () throws(SystemError) -> UInt8 = {
    () throws(SystemError) in try CapabilitySet.lastKnown()
  }
  var callerUser: @Sendable () -> uid_t = { geteuid() }
  var callerGroup: @Sendable () -> gid_t = { getegid() }
  /// Whether the caller may decide about groups in a user namespace that it makes.
  var maySetGroups: @Sendable () -> Bool = {
    (try? CapabilityState.current(last: 0))?.effective.contains(.setgid) ?? false
  }
  /// How the program is linked, after a look at its file; nil where that shows only in the jail.
  var linkage: @Sendable (JailConfiguration) throws(JailError) -> JailConfiguration.Linkage? = {
    (configuration) throws(JailError) in
    try ProgramFile(configuration).check(word: configuration.program)
  }
  /// That the file of a namespace can be opened.
  var probe: @Sendable (FilePath) throws(SystemError) -> Void = { (path) throws(SystemError) in
    _ = try Descriptor(followingLinks: path, flags: O_RDONLY | O_NONBLOCK)
  }
  /// All of a file; nil when it is longer than the limit.
  var contents: @Sendable (FilePath, Int) throws(SystemError) -> [UInt8]? = {
    (path, limit) throws(SystemError) in
    try Descriptor(readingNamed: path).read(atMost: limit, shown: path)
  }
  /// Whether the kernel can log what a filter would deny (Linux 4.14).
  var canLog: @Sendable () -> Bool = {
    let actions = try? kernelFile("/proc/sys/kernel/seccomp/actions_avail")
    return (actions ?? []).split { isBlank($0) }.contains { $0.elementsEqual("log".utf8) }
  }
  var isOpen: @Sendable (CInt) -> Bool = { fcntl($0, F_GETFD) >= 0 }
}
