import DaemonStoreKernel

/// Which mounts are users' data. A jail that keeps a private copy of one pins it: the home could
/// not be unmounted, nor its key removed, while the jail runs.
struct UserDataMounts: Equatable {
  /// A part of a file system, wherever it is mounted.
  struct Part: Hashable {
    let device: UInt64
    let root: FilePath
  }

  private var parts: Set<Part> = []
  /// `/home/.shadow` as a part of its file system: below a user's folder in it lies the vault that
  /// is only a directory.
  private var shadow: Part?

  /// Below these, every mount is a user's.
  private static let homes: [FilePath] = ["/home/.shadow", "/home/user", "/home/root"]
  private static let stores: [FilePath] = ["/run/daemon-store", "/run/daemon-store-cache"]

  /// Looks through the whole table of the namespace that users' homes are mounted in.
  init(_ table: [Mount]) {
    for mount in table where Self.belongsToUser(mount.target) {
      parts.insert(Part(device: mount.device, root: mount.root))
    }
    let home = Self.homes[0]
    var covering: Mount?
    for mount in table where home.isAtOrBelow(mount.target) {
      if mount.target.cString.count >= covering?.target.cString.count ?? 0 { covering = mount }
    }
    if let covering {
      shadow = Part(
        device: covering.device, root: home.moved(from: covering.target, to: covering.root))
    }
  }

  /// The mounts to take out, in the order of doing: those mounted last come first.
  ///
  /// - Parameter keeping: the ids of mounts that are exempt, with all below them.
  func mounts(in table: [Mount], keeping: Set<UInt64>) -> [Mount] {
    var parents: [UInt64: UInt64] = [:]
    for mount in table { parents[mount.id] = mount.parent }
    return table.reversed().filter { mount in
      matches(mount) && !Self.isBelow(mount.id, keeping, parents)
    }
  }

  private static func isBelow(
    _ id: UInt64, _ roots: Set<UInt64>, _ parents: [UInt64: UInt64]
  ) -> Bool {
    var current = id
    for _ in 0...parents.count {
      // A root that is not in the table is above what this process sees, and exempts nothing.
      guard let parent = parents[current] else { return false }
      if roots.contains(current) { return true }
      guard parent != current else { return false }
      current = parent
    }
    return false
  }

  private func matches(_ mount: Mount) -> Bool {
    let isInPlace = (Self.homes + Self.stores).contains {
      mount.target.isAtOrBelow($0) && mount.target != $0
    }
    if isInPlace { return true }
    if let shadow, shadow.device == mount.device, mount.root.isAtOrBelow(shadow.root) {
      let words = mount.root.moved(from: shadow.root, to: "/").components
      if words.count >= 2, Self.isUser(words[0]), words[1] == "mount" { return true }
    }
    return isInPart(mount)
  }

  /// Whether it shows a part or something below it: looks for each directory above its root, so
  /// that the cost does not grow with the number of users.
  private func isInPart(_ mount: Mount) -> Bool {
    var root = mount.root
    while true {
      if parts.contains(Part(device: mount.device, root: root)) { return true }
      guard let parent = root.parent else { return false }
      root = parent
    }
  }

  /// `/home/user/H/…`, `/run/daemon-store/D/H/…`, with an obfuscated user name for H.
  private static func belongsToUser(_ target: FilePath) -> Bool {
    for (directories, index) in [(homes, 0), (stores, 1)] {
      for directory in directories where target.isAtOrBelow(directory) {
        let words = target.moved(from: directory, to: "/").components
        if words.count > index, isUser(words[index]) { return true }
      }
    }
    return false
  }

  /// 40 lower-case hexadecimal digits.
  private static func isUser(_ word: FilePath) -> Bool {
    word.bytes.count == 40
      && word.bytes.allSatisfy {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
          || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
      }
  }
}
