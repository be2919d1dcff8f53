import DaemonStore
import Glibc
import DaemonStoreKernel
import MountTable

/// The file system that `/home` should be on. While it is not mounted, a vault or a salt that is made
/// would hide behind it later, beside those that it has.
enum HomeFileSystem {
  private static let limit = 1 << 20
  /// In the order in which systemd prefers them.
  private static let unitDirectories: [FilePath] = [
    "etc/systemd/system", "run/systemd/system", "run/systemd/generator",
    "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system",
    "run/systemd/generator.late",
  ]

  /// - Throws: ``Refusal`` while fstab or a mount unit lists `/home`, and nothing is mounted there.
  static func requireMounted(_ layout: Layout) throws {
    guard let source = try lister(layout), try !isMounted(layout) else { return }
    throw Refusal(
      path: layout.below("home"),
      reason: "is not mounted, though \(source) lists it, so nothing is made there; run: mount "
        + "\(layout.below("home"))  (or cryptohome create --force, where it is not used)")
  }

  private static func isMounted(_ layout: Layout) throws -> Bool {
    let home = layout.below("home")
    return try MountTable.current().mounts.contains { $0.target == home }
  }

  /// What lists it; nil for nothing.
  private static func lister(_ layout: Layout) throws -> FilePath? {
    let fstab = layout.below("etc/fstab")
    if try lists(fstab) { return fstab }
    for directory in unitDirectories {
      let path = layout.below("\(directory)/home.mount")
      var status = stat()
      guard stat(path.cString, &status) == 0 else { continue }
      // A masked unit is a link to /dev/null.
      return status.st_mode & S_IFMT == S_IFREG ? path : nil
    }
    return nil
  }

  private static func lists(_ fstab: FilePath) throws -> Bool {
    let number = open(fstab.cString, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard number >= 0 else {
      guard errno == ENOENT else {
        throw SystemError(operation: "open", path: fstab, code: errno)
      }
      return false
    }
    let file = Descriptor(owning: number)
    guard let bytes = try file.read(atMost: limit, shown: fstab) else {
      throw Refusal(path: fstab, reason: "is larger than 1 MiB, so it cannot be read")
    }
    return bytes.split(separator: UInt8(ascii: "\n")).contains { line in
      let fields = line.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
      guard fields.count > 1, fields[0].first != UInt8(ascii: "#") else { return false }
      return fields[1].elementsEqual("/home".utf8) || fields[1].elementsEqual("/home/".utf8)
    }
  }
}
