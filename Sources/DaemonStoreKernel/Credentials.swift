import CDaemonStoreLinux
import Glibc

/// Who the calling thread is. Each call is for good: real, effective and saved id alike.
package enum Credentials {
  /// setgroups(2).
  package static func setGroups(_ groups: [gid_t]) throws(SystemError) {
    try check("setgroups", nil, linux_setgroups(groups.count, groups))
  }

  /// setresgid(2), all three.
  package static func setGroup(_ group: gid_t) throws(SystemError) {
    try check("setresgid", "\(group)", linux_setresgid(group))
  }

  /// setresuid(2), all three.
  package static func setUser(_ user: uid_t) throws(SystemError) {
    try check("setresuid", "\(user)", linux_setresuid(user))
  }
}

extension Credentials {
  /// Runs `body` with files that it makes belonging to `user` and `group` from the start, so that
  /// no name has to be looked up again for a change of owner.
  package static func makingFiles<Value: ~Copyable>(
    as user: uid_t, _ group: gid_t, _ body: () throws(SystemError) -> Value
  ) throws(SystemError) -> Value {
    let (ownUser, ownGroup) = (geteuid(), getegid())
    if (user, group) == (ownUser, ownGroup) { return try body() }
    try check("setfsuid", "\(user):\(group)", linux_set_file_ids(user, group))
    let result = Result { () throws(SystemError) in try body() }
    try check("setfsuid", "\(ownUser):\(ownGroup)", linux_set_file_ids(ownUser, ownGroup))
    return try result.get()
  }
}

/// prctl(2), with the arguments that it does not use at 0.
@discardableResult
package func processControl(
  _ option: CInt, _ a: UInt = 0, _ b: UInt = 0, _ c: UInt = 0, named name: FilePath
) throws(SystemError) -> CInt {
  try check("prctl", name, linux_prctl(option, a, b, c))
}

/// No program that is executed from here on gets privileges by set-id bits or file capabilities.
package func forbidNewPrivileges() throws(SystemError) {
  try processControl(PR_SET_NO_NEW_PRIVS, 1, named: "PR_SET_NO_NEW_PRIVS")
}
