import DaemonStore
import Glibc
import Kernel

/// The secret-less bytes that every obfuscated name of a system depends on. Without them no vault
/// is found again, so a file that cannot be used is an error and never replaced.
public struct Salt: Equatable, Sendable {
  public let bytes: [UInt8]
  static let limit = 1 << 20

  /// The older place, which counts where it exists.
  static func legacyPath(_ layout: Layout) -> FilePath { "\(layout.shadow)/salt" }
  static func path(_ layout: Layout) -> FilePath { layout.below("var/lib/system_salt") }

  /// Reads the salt of the system.
  public static func read(_ layout: Layout) throws -> Salt {
    guard let salt = try existing(layout) else {
      throw Refusal(
        path: path(layout), reason: "there is no salt yet; as root, run daemon-store startup")
    }
    return salt
  }

  /// Reads the salt, or makes one on a system that has none: 16 random bytes, 0644, all or nothing
  /// and on the disk when this returns. Where a user's directory exists, its name came from a salt
  /// that is lost, and none is made.
  public static func readOrMake(_ layout: Layout) throws -> Salt {
    if let salt = try existing(layout) { return salt }
    let users = try UserDirectory.all(layout)
    guard users.isEmpty else {
      throw Refusal(
        path: path(layout),
        reason: "is gone, but \(layout.shadow) holds \(users.count) user directories whose names "
          + "came from it; restore it from a backup")
    }
    return try make(layout)
  }

  /// The salt, if there is one.
  static func existing(_ layout: Layout) throws -> Salt? {
    for path in [legacyPath(layout), path(layout)] {
      do {
        return try read(path)
      } catch let error as SystemError where error.code == ENOENT {
        continue
      } catch let error as SystemError where error.code == EACCES {
        throw Refusal(
          path: path,
          reason: "only root can tell whether this salt is in use; ask as root, or give the "
            + "40-digit hash")
      }
    }
    return nil
  }

  private static func read(_ path: FilePath) throws -> Salt {
    let file = try Descriptor(opening: path, flags: O_RDONLY | O_NONBLOCK)
    let status = try file.status(shown: path)
    guard status.mode & S_IFMT == S_IFREG else {
      throw Refusal(path: path, reason: "is \(status.kind), not a salt file")
    }
    guard let bytes = try file.read(atMost: limit, shown: path) else {
      throw Refusal(path: path, reason: "is larger than 1 MiB, so it is no salt; restore it")
    }
    guard !bytes.isEmpty else {
      throw Refusal(path: path, reason: "is empty, so it is no salt; restore it from a backup")
    }
    return Salt(bytes: bytes)
  }

  private static func make(_ layout: Layout) throws -> Salt {
    var random = SystemRandomNumberGenerator()
    let salt = Salt(bytes: (0..<16).map { _ in UInt8.random(in: .min ... .max, using: &random) })
    let directory = try Directory(opening: layout.root).trusted("var/lib")
    let temporary: FilePath = ".system_salt.\(getpid())"
    // What a process of the same number left when it was killed.
    _ = try? directory.removeFile(temporary)
    let file = try directory.file(temporary, flags: O_WRONLY | O_CREAT | O_EXCL, mode: 0o644)
    do {
      try check("chmod", directory.path(of: temporary), fchmod(file.number, 0o644))
      try file.write(salt.bytes, shown: directory.path(of: temporary))
      try check("fsync", directory.path(of: temporary), fsync(file.number))
      try file.close()
      try directory.renameNew(temporary, to: "system_salt")
    } catch  where error.code == EEXIST {
      // Somebody was faster: theirs counts.
      try directory.removeFile(temporary)
      return try read(layout)
    } catch {
      _ = try? directory.removeFile(temporary)
      throw error
    }
    try directory.sync()
    return salt
  }
}
