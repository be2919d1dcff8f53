import CLinux
import Glibc

/// An exclusive flock(2), held until the end of its scope, also by a process that is killed.
public struct FileLock: ~Copyable {
  private let descriptor: Descriptor

  /// Waits for the lock file `name` of `directory`, which is made root 0600 when absent and stays.
  public init(_ name: String, in directory: borrowing Directory) throws(SystemError) {
    let file = try directory.file(name, flags: O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o600)
    try check("flock", directory.path(of: name), flock(file.number, LOCK_EX))
    descriptor = file
  }

  /// The same, but waits no longer than until `deadline`; nil when somebody else holds it still.
  public init?(
    _ name: String, in directory: borrowing Directory, until deadline: ContinuousClock.Instant
  ) throws(SystemError) {
    let file = try directory.file(name, flags: O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o600)
    while true {
      do {
        try check("flock", directory.path(of: name), flock(file.number, LOCK_EX | LOCK_NB))
        break
      } catch  where error.code == EWOULDBLOCK {
        let left = ContinuousClock.now.duration(to: deadline)
        guard left > .zero else { return nil }
        pause(min(left, .milliseconds(10)))
      }
    }
    descriptor = file
  }

  /// Lets go. At the latest the end of the scope does.
  public consuming func release() {}
}

/// Sleeps for so long: nanosleep(2).
public func pause(_ time: Duration) {
  let (seconds, attoseconds) = time.components
  var wanted = timespec(tv_sec: Int(seconds), tv_nsec: Int(attoseconds / 1_000_000_000))
  var rest = timespec()
  while nanosleep(&wanted, &rest) != 0 && errno == EINTR { wanted = rest }
}
