import CDaemonStoreLinux
import Glibc

/// namespaces(7): a set of kinds, as the `CLONE_NEW…` flags.
public struct NamespaceKinds: OptionSet, Hashable, Sendable {
  /// The flags as clone(2) and unshare(2) take them.
  public let rawValue: UInt64
  /// Makes a set of `CLONE_NEW…` flags, and does not check them.
  public init(rawValue: UInt64) { self.rawValue = rawValue }
  private init(_ flag: CInt) { rawValue = UInt64(UInt32(bitPattern: flag)) }

  /// Mounts: mount_namespaces(7).
  public static let mount = Self(CLONE_NEWNS)
  /// System V IPC and POSIX message queues: ipc_namespaces(7).
  public static let ipc = Self(CLONE_NEWIPC)
  /// Host name and NIS domain name: uts_namespaces(7).
  public static let uts = Self(CLONE_NEWUTS)
  /// Interfaces, addresses, routes, ports and abstract sockets: network_namespaces(7).
  public static let network = Self(CLONE_NEWNET)
  /// Process ids: pid_namespaces(7).
  public static let process = Self(CLONE_NEWPID)
  /// Ids of users and groups, and capabilities: user_namespaces(7).
  public static let user = Self(CLONE_NEWUSER)
  /// The root of what is seen of cgroups: cgroup_namespaces(7). Linux 4.6.
  public static let cgroup = Self(CLONE_NEWCGROUP)

  /// The name under `/proc/PID/ns`, of a set of one kind.
  package var fileName: FilePath {
    switch self {
    case .mount: "mnt"
    case .ipc: "ipc"
    case .uts: "uts"
    case .network: "net"
    case .process: "pid"
    case .user: "user"
    default: "cgroup"
    }
  }

  var flags: CInt { CInt(truncatingIfNeeded: rawValue) }

  /// Moves the calling thread into new namespaces of these kinds: unshare(2). For `.process`, the
  /// next child is the first process of the new one.
  package func unshare() throws(SystemError) {
    try check("unshare", nil, linux_unshare(flags))
  }

  /// Moves the calling thread into the namespace that is open at `file`: setns(2).
  package func enter(_ file: borrowing Descriptor, shown: FilePath) throws(SystemError) {
    try check("setns", shown, linux_setns(file.number, flags))
  }
}

extension Descriptor {
  /// Who made the user namespace that the namespace open here belongs to; nil where the kernel does not
  /// say, as it does not of those that are not below our own.
  package var namespaceOwner: uid_t? {
    var user: uid_t = 0
    return linux_namespace_owner(number, &user) == 0 ? user : nil
  }

  /// Who made the outermost user namespace below our own that the namespace open here belongs to; nil for
  /// one that belongs to our own.
  package var namespaceMaker: uid_t? {
    var user: uid_t = 0
    return linux_namespace_maker(number, &user) != 0 ? user : nil
  }

  /// The same of a user namespace, and what is in it.
  package var userNamespaceMaker: uid_t? {
    var user: uid_t = 0
    return linux_user_namespace_maker(number, &user) != 0 ? user : nil
  }
}

/// Makes the mount that the working directory is the root of the root of this mount namespace,
/// with the old root on `putOld`, a path beneath it: pivot_root(2).
package func pivotRoot(putOld: FilePath) throws(SystemError) {
  try check("pivot_root", putOld, linux_pivot_root(".", putOld.cString))
}
