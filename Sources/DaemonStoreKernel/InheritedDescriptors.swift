import CDaemonStoreLinux
import Glibc

/// Which descriptors a program that this process executes would inherit.
package enum InheritedDescriptors {
  /// Those that are open and do not close on exec, in order.
  package static func current() throws(SystemError) -> [CInt] {
    guard let directory = opendir("/proc/self/fd") else { return try probed() }
    defer { closedir(directory) }
    var numbers: [CInt] = []
    while true {
      errno = 0
      guard let entry = readdir(directory) else {
        if errno != 0 { throw SystemError(operation: "read", path: "/proc/self/fd", code: errno) }
        return numbers.sorted()
      }
      let number = withUnsafeBytes(of: &entry.pointee.d_name) { name in
        name.prefix { $0 != 0 }.number(as: CInt.self)
      }
      if let number, isInherited(number) { numbers.append(number) }
    }
  }

  private static func isInherited(_ number: CInt) -> Bool {
    let flags = fcntl(number, F_GETFD)
    return flags >= 0 && flags & FD_CLOEXEC == 0
  }

  /// Without `/proc`: every number that a descriptor may have is asked for.
  private static func probed() throws(SystemError) -> [CInt] {
    var limit = rlimit()
    try check("getrlimit", "RLIMIT_NOFILE", getrlimit(__rlimit_resource_t(7), &limit))
    return (0..<CInt(min(limit.rlim_max, 1 << 20))).filter(isInherited)
  }

  /// Closes every descriptor that is not in `kept`.
  package static func closeAll(but kept: [CInt]) throws(SystemError) {
    var next: UInt32 = 0
    for number in Set(kept).sorted() where number >= 0 {
      let number = UInt32(number)
      if number > next { try check("close_range", nil, linux_close_range(next, number - 1, 0)) }
      next = number + 1
    }
    try check("close_range", nil, linux_close_range(next, .max, 0))
  }
}
