import Glibc

/// What waitpid(2) found without waiting.
package enum Reaped: Equatable, Sendable {
  case ended(pid_t, ProcessEnd)
  /// There are children, and none of them has ended.
  case noneEnded
  case noChildren
}

/// Takes the status of `process`, or of any child when it is -1, if one has ended.
package func reapEnded(_ process: pid_t = -1) throws(SystemError) -> Reaped {
  var status: CInt = 0
  do {
    let ended = try check("waitpid", nil, waitpid(process, &status, WNOHANG))
    return ended == 0 ? .noneEnded : .ended(ended, ProcessEnd(waitStatus: status))
  } catch  where error.code == ECHILD {
    return .noChildren
  }
}
