import DaemonStore
import Glibc
import DaemonStoreKernel

/// `/home/.shadow` and the users' directories in it.
enum UserDirectory {
  /// Opens `/home/.shadow`, although other users may write it; nil when it is absent. It is for looking, and for
  /// taking away: what makes something goes through ``makeShadow(_:)``.
  static func shadow(_ layout: Layout) throws(SystemError) -> Directory? {
    try Directory(opening: layout.root).existing("home/.shadow")
  }

  /// Opens `/home/.shadow`, made or repaired: root 0711. It cannot be listed, but an ordinary user
  /// can ask whether the older salt is in it.
  static func makeShadow(_ layout: Layout) throws -> OwnedDirectory {
    let home = try Directory(opening: layout.root).trusted("home")
    return try OwnedDirectory(
      ".shadow", in: home, owner: 0, group: 0, mode: 0o711, crossingMounts: true)
  }

  /// Every user who has a directory.
  static func all(_ layout: Layout) throws -> [ObfuscatedUsername] {
    guard let shadow = try shadow(layout) else { return [] }
    return try shadow.names().compactMap { ObfuscatedUsername($0) }
  }
}
