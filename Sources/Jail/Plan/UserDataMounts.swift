/// Which mounts are users' data. A jail that keeps a private copy of one pins it: the home could
/// not be unmounted, nor its key removed, while the jail runs.
struct UserDataMounts: Equatable {
  /// A part of a file system, wherever it is mounted.
  struct Part: Hashable {
    let device: [UInt8]
    let root: [UInt8]
  }

  private var parts: Set<Part> = []
  /// `/home/.shadow` as a part of its file system: below a user's folder in it lies the vault that
  /// is only a directory.
  private var shadow: Part?

  /// Below these, every mount is a user's.
  private static let homes = ["/home/.shadow", "/home/user", "/home/root"].map { Array($0.utf8) }
  private static let stores = ["/run/daemon-store", "/run/daemon-store-cache"].map {
    Array($0.utf8)
  }

  /// Looks through the whole table of the namespace that users' homes are mounted in.
  init(_ table: [MountInfo]) {
    for mount in table where Self.belongsToUser(mount.target) {
      parts.insert(Part(device: mount.device, root: mount.root))
    }
    let home = Self.homes[0]
    var covering: MountInfo?
    for mount in table where isPath(home, atOrBelow: mount.target) {
      if mount.target.count >= covering?.target.count ?? 0 { covering = mount }
    }
    if let covering {
      shadow = Part(
        device: covering.device,
        root: Self.join(covering.root, home.dropFirst(covering.target.count)))
    }
  }

  /// The mounts to take out, in the order of doing: those mounted last come first.
  ///
  /// - Parameter keeping: the ids of mounts that are exempt, with all below them.
  func mounts(in table: [MountInfo], keeping: Set<UInt64>) -> [MountInfo] {
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

  private func matches(_ mount: MountInfo) -> Bool {
    let isInPlace = (Self.homes + Self.stores).contains {
      isPath(mount.target, atOrBelow: $0) && mount.target.count > $0.count
    }
    if isInPlace { return true }
    if let shadow, shadow.device == mount.device, isPath(mount.root, atOrBelow: shadow.root) {
      let rest = mount.root.dropFirst(shadow.root == [UInt8(ascii: "/")] ? 0 : shadow.root.count)
      let words = rest.split(separator: UInt8(ascii: "/"))
      if words.count >= 2, Self.isUser(words[0]), words[1].elementsEqual("mount".utf8) {
        return true
      }
    }
    return isInPart(mount)
  }

  /// Whether it shows a part or something below it: looks for each directory above its root, so
  /// that the cost does not grow with the number of users.
  private func isInPart(_ mount: MountInfo) -> Bool {
    let slash = UInt8(ascii: "/")
    var root = mount.root
    while true {
      if parts.contains(Part(device: mount.device, root: root)) { return true }
      guard root.count > 1, let last = root.lastIndex(of: slash) else { return false }
      root = last == 0 ? [slash] : Array(root[..<last])
    }
  }

  /// `/home/user/H/…`, `/run/daemon-store/D/H/…`, with an obfuscated user name for H.
  private static func belongsToUser(_ target: [UInt8]) -> Bool {
    for (directories, index) in [(homes, 0), (stores, 1)] {
      for directory in directories where isPath(target, atOrBelow: directory) {
        let words = target.dropFirst(directory.count).split(separator: UInt8(ascii: "/"))
        if words.count > index, isUser(words[index]) { return true }
      }
    }
    return false
  }

  /// 40 lower-case hexadecimal digits.
  private static func isUser(_ word: ArraySlice<UInt8>) -> Bool {
    word.count == 40
      && word.allSatisfy {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
          || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
      }
  }

  /// `root` and what follows it, with one slash between them.
  private static func join(_ root: [UInt8], _ rest: ArraySlice<UInt8>) -> [UInt8] {
    let slash = UInt8(ascii: "/")
    let tail = Array(rest.drop { $0 == slash })
    if tail.isEmpty { return root }
    return (root.last == slash ? Array(root.dropLast()) : root) + [slash] + tail
  }
}
