import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// A user as the system knows it: passwd(5) through NSS.
package struct Account: Equatable, Sendable {
  package let name: FilePath
  package let user: uid_t
  package let group: gid_t
  /// As bytes: a home directory need not be UTF-8.
  package let home: FilePath

  /// The user of that name; nil when there is none. A name server that does not answer throws.
  package static func named(_ name: FilePath) throws(SystemError) -> Account? {
    try lookUp("getpwnam", name, grows: { getpwnam_r(name.cString, $0, $1, $2, $3) }) { entry in
      Account(
        name: FilePath(cString: entry.pw_name), user: entry.pw_uid, group: entry.pw_gid,
        home: FilePath(cString: entry.pw_dir))
    }
  }

  /// The supplementary groups of the user and `group`: initgroups(3), without setting them.
  package static func groups(of name: FilePath, with group: gid_t) throws(SystemError) -> [gid_t] {
    var capacity: CInt = 32
    while true {
      var groups = [gid_t](repeating: 0, count: Int(capacity))
      let count = linux_getgrouplist(name.cString, group, &groups, capacity)
      if count >= 0 { return Array(groups[..<Int(count)]) }
      guard capacity < 1 << 16 else {  // NGROUPS_MAX
        throw SystemError(operation: "getgrouplist", path: name, code: ERANGE)
      }
      capacity *= 2
    }
  }
}

/// A group: group(5) through NSS.
package enum Group {
  /// The group id of that name; nil when there is none.
  package static func named(_ name: FilePath) throws(SystemError) -> gid_t? {
    try lookUp("getgrnam", name, grows: { getgrnam_r(name.cString, $0, $1, $2, $3) }) { $0.gr_gid }
  }
}

extension Account {
  /// The name of the user of that number; nil when there is none.
  package static func named(_ user: uid_t) throws(SystemError) -> FilePath? {
    try lookUp(
      "getpwuid", "\(user)",
      grows: { (entry: UnsafeMutablePointer<passwd>, space, size, result) in
        getpwuid_r(user, entry, space, size, result)
      }
    ) { FilePath(cString: $0.pw_name) }
  }

  /// The name of the user, or its number where it has none: for messages.
  package static func name(of user: uid_t) -> FilePath {
    ((try? named(user)) ?? nil) ?? "\(user)"
  }
}

extension Group {
  /// The name of the group of that number; nil when there is none.
  package static func named(_ number: gid_t) throws(SystemError) -> FilePath? {
    try lookUp(
      "getgrgid", "\(number)",
      grows: { (entry: UnsafeMutablePointer<group>, space, size, result) in
        getgrgid_r(number, entry, space, size, result)
      }
    ) { FilePath(cString: $0.gr_name) }
  }

  /// The name of the group, or its number where it has none: for messages.
  package static func name(of group: gid_t) -> FilePath {
    ((try? named(group)) ?? nil) ?? "\(group)"
  }
}

/// One of the reentrant look-ups, with a buffer that grows until the entry fits.
private func lookUp<Entry: BitwiseCopyable, Value>(
  _ operation: String, _ subject: FilePath,
  grows call: (
    UnsafeMutablePointer<Entry>, UnsafeMutablePointer<CChar>, Int,
    UnsafeMutablePointer<UnsafeMutablePointer<Entry>?>
  ) -> CInt, _ take: (Entry) -> Value
) throws(SystemError) -> Value? {
  var size = 1024
  while true {
    let space = UnsafeMutablePointer<CChar>.allocate(capacity: size)
    let entry = UnsafeMutablePointer<Entry>.allocate(capacity: 1)
    defer {
      space.deallocate()
      entry.deallocate()
    }
    var found: UnsafeMutablePointer<Entry>?
    let code = call(entry, space, size, &found)
    switch code {
    case 0: return found.map { take($0.pointee) }
    case ERANGE where size < 1 << 24: size *= 4
    case EINTR: continue
    // What getpwnam(3) lists as other ways of saying that there is no such entry.
    case ENOENT, ESRCH, EBADF, EPERM: return nil
    default: throw SystemError(operation: operation, path: subject, code: code)
    }
  }
}
