import DaemonStore
import Glibc
import DaemonStoreKernel
import MountAdvice

/// The file system that `/home` should be on. While it is not mounted, a vault or a salt that is made
/// would hide behind it later, beside those that it has.
enum HomeFileSystem {
  /// In the order in which systemd prefers them.
  private static let unitDirectories: [FilePath] = [
    "etc/systemd/system", "run/systemd/system", "run/systemd/generator",
    "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system",
    "run/systemd/generator.late",
  ]

  /// - Throws: ``Refusal`` while fstab or a mount unit lists `/home`, and nothing is mounted there.
  static func requireMounted(_ layout: Layout) throws {
    guard let lister = try lister(layout), try !isMounted(layout) else { return }
    throw Refusal(
      path: layout.below("home"),
      reason: "is not mounted, though \(lister) lists it, so nothing is made there; run: mount "
        + "\(layout.below("home"))  (or cryptohome create --force, where it is not used)")
  }

  private static func isMounted(_ layout: Layout) throws -> Bool {
    let home = layout.below("home")
    return try MountTable.current().mounts.contains { $0.target == home }
  }

  /// What lists it; nil for nothing.
  private static func lister(_ layout: Layout) throws -> String? {
    let fstab = layout.below("etc/fstab")
    if let entry = try entry(in: fstab) {
      return "\(fstab) (as \(entry.source), \(entry.fileSystem))"
    }
    for directory in unitDirectories {
      let path = layout.below("\(directory)/home.mount")
      var status = stat()
      guard stat(path.cString, &status) == 0 else { continue }
      // A masked unit is a link to /dev/null.
      return status.st_mode & S_IFMT == S_IFREG ? "\(path)" : nil
    }
    return nil
  }

  private static func entry(in fstab: FilePath) throws -> MountAdvice.Entry? {
    var status = stat()
    guard stat(fstab.cString, &status) == 0 else {
      if errno == ENOENT { return nil }
      throw SystemError(operation: "stat", path: fstab, code: errno)
    }
    // Such as /dev/null.
    guard status.st_mode & S_IFMT == S_IFREG else { return nil }
    guard let advice = MountAdvice() else {
      throw Refusal(
        path: fstab,
        reason: "cannot be read without libmount.so.1, so /home may be missing; install libmount, "
          + "or see that it is mounted and run: cryptohome create --force")
    }
    return try advice.entry(for: "/home", in: fstab)
  }
}
