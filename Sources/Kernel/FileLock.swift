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

  /// Lets go. At the latest the end of the scope does.
  public consuming func release() {}
}
