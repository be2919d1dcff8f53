import CDaemonStoreLinux
import Glibc

/// A system call that the kernel refused: `move_mount /run/x: Operation not permitted (EPERM)`.
package struct SystemError: Error, Equatable, CustomStringConvertible, Sendable {
  package let operation: String
  /// The place, as bytes; the operation's subject where there is none.
  package let path: FilePath?
  package let code: CInt

  package init(operation: String, path: FilePath?, code: CInt) {
    self.operation = operation
    self.path = path
    self.code = code
  }

  package var description: String {
    let name = linux_errno_name(code).map { String(cString: $0) } ?? "errno \(code)"
    let subject = path.map { " \($0)" } ?? ""
    return "\(operation)\(subject): \(reason) (\(name))\(hint)"
  }

  /// Why alone: `No such file or directory`.
  package var reason: String { String(cString: strerror(code)) }

  /// What to do about the errors whose text alone misleads.
  private var hint: String {
    switch (code, operation) {
    case (ENOSYS, "listmount"), (ENOSYS, "statmount"), (ENOSYS, "pidfd_getfd"):
      "; a filter of system calls (of a container or a service) rejects it, allow it there"
    case (ENOSYS, _): "; this kernel has no \(operation), Linux 5.15 or later is needed"
    case (ENOSPC, "move_mount"), (ENOSPC, "mount"), (ENOSPC, "open_tree"):
      "; the limit of mounts is reached, raise /proc/sys/fs/mount-max"
    case (EOVERFLOW, _): "; the caller's ids have no mapping in this user namespace"
    case (EMFILE, _): "; raise the limit of open files (ulimit -n)"
    default: ""
    }
  }
}

/// Makes a call that fails with -1, again on EINTR. Not for close(2), which has closed even then.
///
/// - Parameter path: computed for an error alone.
@discardableResult
package func check<Value: FixedWidthInteger>(
  _ operation: String, _ path: @autoclosure () -> FilePath? = nil,
  _ call: @autoclosure () -> Value
) throws(SystemError) -> Value {
  while true {
    let value = call()
    guard value == -1 else { return value }
    let code = errno  // at once: anything in between may change it
    guard code == EINTR else { throw SystemError(operation: operation, path: path(), code: code) }
  }
}
