import CDaemonStoreLinux
import Glibc

/// An exclusive flock(2), held until the end of its scope, also by a process that is killed.
package struct FileLock: ~Copyable {
  private let descriptor: Descriptor
  private let process = getpid()

  /// Waits for the lock file `name` of `directory`, which is made root 0600 when absent. Only a
  /// directory that other users cannot write will do, or they could lock the file themselves.
  ///
  /// - Returns: nil when another process still holds the lock at `deadline`.
  package init?(
    _ name: FilePath, in directory: borrowing Directory, until deadline: ContinuousClock.Instant
  ) throws(SystemError) {
    var file = try Self.open(name, in: directory)
    while true {
      let isLocked = flock(file.number, LOCK_EX | LOCK_NB) == 0
      guard isLocked || errno == EWOULDBLOCK || errno == EINTR else {
        throw SystemError(operation: "flock", path: directory.path(of: name), code: errno)
      }
      if isLocked {
        if try Self.isCurrent(file, name, in: directory) {
          descriptor = file
          return
        }
        file = try Self.open(name, in: directory)
        continue
      }
      let left = ContinuousClock.now.duration(to: deadline)
      guard left > .zero else { return nil }
      pause(min(left, .milliseconds(10)))
    }
  }

  private static func open(
    _ name: FilePath, in directory: borrowing Directory
  ) throws(SystemError) -> Descriptor {
    try directory.file(name, flags: O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o600)
  }

  /// Whether the file still has its name: whoever held it before may have removed it.
  private static func isCurrent(
    _ file: borrowing Descriptor, _ name: FilePath, in directory: borrowing Directory
  ) throws(SystemError) -> Bool {
    try directory.status(of: name)?.identity == file.status().identity
  }

  /// Whether a process holds the lock file `name`, which may be absent.
  package static func isHeld(
    _ name: FilePath, in directory: borrowing Directory
  ) throws(SystemError) -> Bool {
    let file: Descriptor
    do {
      file = try directory.file(name, flags: O_RDONLY | O_NOFOLLOW)
    } catch  where error.code == ENOENT {
      return false
    }
    // Shared, and let go at once: a process that waits for it does not notice.
    while true {
      if flock(file.number, LOCK_SH | LOCK_NB) == 0 { return false }
      if errno == EWOULDBLOCK { return true }
      if errno != EINTR { try check("flock", directory.path(of: name), -1) }
    }
  }

  /// The process that took the lock file `name`, by `/proc/locks`; nil when that shows none: it may
  /// be in another pid namespace, or just have let go.
  package static func holder(of name: FilePath, in directory: borrowing Directory) -> pid_t? {
    guard let file = try? directory.file(name, flags: O_RDONLY | O_NOFOLLOW),
      let status = try? file.status(), let text = try? kernelFile("/proc/locks")
    else { return nil }
    return LockTable.holder(of: status.identity, in: text)
  }

  /// The kernel tells that a file was closed before it lets the lock go (inotify(7), IN_CLOSE_WRITE), and
  /// who waits for that must find it free. A child of the process has the same lock, and keeps it.
  deinit {
    if getpid() == process { flock(descriptor.number, LOCK_UN) }
  }

  /// Lets go. At the latest the end of the scope does.
  package consuming func release() {}

  /// Lets go and leaves no file behind. Whoever waits for it finds that it is gone, and makes one.
  package consuming func remove(_ name: FilePath, in directory: borrowing Directory) {
    _ = try? directory.removeFile(name)
  }
}

/// Sleeps for so long: nanosleep(2).
package func pause(_ time: Duration) {
  let (seconds, attoseconds) = time.components
  var wanted = timespec(tv_sec: Int(seconds), tv_nsec: Int(attoseconds / 1_000_000_000))
  var rest = timespec()
  while nanosleep(&wanted, &rest) != 0 && errno == EINTR { wanted = rest }
}
