import DaemonStoreAccounts
import Glibc
import DaemonStoreKernel

/// How long a command waits for each lock that another one holds. After that it fails, and names the
/// holder: a process that is stopped or hangs delays the others this long and no longer.
package enum LockTimeout {
  package static let boot = Duration.seconds(10)
  package static let login = Duration.seconds(30)
  package static let logout = Duration.seconds(60)
}

extension FileLock {
  /// Waits for the lock file `name` of `directory`.
  ///
  /// - Throws: ``Refusal`` when another process still holds it at `deadline`.
  static func take(
    _ name: FilePath, in directory: borrowing Directory, until deadline: ContinuousClock.Instant,
    for purpose: String
  ) throws -> FileLock {
    if let lock = try FileLock(name, in: directory, until: deadline) { return lock }
    let holder = holder(of: name, in: directory)
    throw Refusal(
      path: directory.path(of: name),
      reason: "is held by \(holder.map(Self.shown) ?? "a process that cannot be seen here"), which "
        + "is still \(purpose); try again when that has ended, or end it")
  }

  /// `cryptohome (pid 12) of root`.
  private static func shown(_ process: pid_t) -> String {
    let owner = try? FileStatus.owner(ofProcess: process)
    return "\(ProcessName(process))" + (owner.map { " of \(Account.name(of: $0))" } ?? "")
  }
}
