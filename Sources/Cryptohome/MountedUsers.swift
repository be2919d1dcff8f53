import DaemonStore
import Glibc
import DaemonStoreKernel

/// Who is mounted, and in which stores: all that a mount table shows of users, at one moment.
package struct MountedUsers: Equatable, Sendable {
  /// Everybody of whom anything is mounted, in the order in which that was.
  package let users: [ObfuscatedUsername]
  /// The stores that a user's folder is mounted in, and the cache store as well.
  package let stores: [ObfuscatedUsername: Set<StoreName>]
  /// The stores that there are.
  package let allStores: Set<StoreName>

  package init(users: [ObfuscatedUsername], stores: [ObfuscatedUsername: Set<StoreName>]) {
    self.users = users
    self.stores = stores
    allStores = stores.values.reduce(into: []) { $0.formUnion($1) }
  }

  package init(_ table: MountTable, _ layout: Layout) {
    let mounts = UserMounts(table, layout)
    var places: [ObfuscatedUsername: Int] = [:]
    let known = mounts.users
    var stores: Set<StoreName> = []
    let tree: FilePath = "\(layout.directory(of: .data))/"
    for (index, mount) in table.mounts.enumerated() {
      let name = mount.target.bytes.reversed().prefix { $0 != UInt8(ascii: "/") }.reversed()
      if let user = ObfuscatedUsername(Array(name)), known.contains(user), places[user] == nil {
        places[user] = index
      }
      if let store = mount.target.dropping(prefix: tree).flatMap({ StoreName($0.bytes) }) {
        stores.insert(store)
      }
    }
    users = known.sorted { (places[$0] ?? 0, $0) < (places[$1] ?? 0, $1) }
    self.stores = mounts.folders.mapValues { folders in
      Set(folders.filter { $0.value.count == StoreTree.allCases.count }.keys)
    }.filter { !$0.value.isEmpty }
    allStores = stores
  }

  /// Those that the calling process sees.
  ///
  /// The mounts of everything else, which may be many, are left out before the rest is parsed.
  package static func current(_ layout: Layout) throws -> MountedUsers {
    let path: FilePath = "/proc/thread-self/mountinfo"
    let text = try kernelFile(path)
    let places =
      StoreTree.allCases.map { layout.directory(of: $0) }
      + HomePlace.allCases.map { layout.below("home/\($0.rawValue)") }
    let table = try MountTable(
      parsing: lines(of: text, below: places.map { Array("\($0)/".utf8) }), from: path)
    return MountedUsers(table, layout)
  }

  /// The lines of mountinfo whose mount point, the fifth field, begins with one of these.
  static func lines(of text: [UInt8], below prefixes: [[UInt8]]) -> [UInt8] {
    var result: [UInt8] = []
    for line in text.split(separator: UInt8(ascii: "\n")) {
      let fields = line.split(separator: UInt8(ascii: " "), maxSplits: 5)
      // A line that is none is left to the parser, which refuses it.
      if fields.count < 6 || prefixes.contains(where: { fields[4].starts(with: $0) }) {
        result += line
        result.append(UInt8(ascii: "\n"))
      }
    }
    return result
  }
}
