import DaemonStore
import Glibc
import Kernel
import MountTable

/// What the kernel shows of one user.
public struct UserStatus: Equatable, Sendable {
  public let user: ObfuscatedUsername
  /// nil for a user whose vault is gone, or of a kind that this version cannot tell.
  public let vault: VaultKind?
  /// Whether both homes are mounted.
  public let hasHomes: Bool
  /// The stores that the user's folder is mounted in, both folder and cache.
  public let stores: [StoreName]
  /// The stores that have a template, and not both mounts of this user.
  public let missing: [StoreName]

  public var isMounted: Bool { hasHomes || !stores.isEmpty }

  /// Every user who has a directory or a mount, in the order of their hashes.
  public static func all(_ layout: Layout) throws -> [UserStatus] {
    let mounted = try UserMounts(.current(), layout)
    let users = Set(try UserDirectory.all(layout)).union(mounted.users)
    let templates = try Templates.read(layout).valid.map(\.name)
    return try users.sorted().map {
      try UserStatus(of: $0, mounted, templates: templates, layout)
    }
  }

  /// One user, who may be unknown: then nothing is mounted.
  public static func of(_ user: ObfuscatedUsername, _ layout: Layout) throws -> UserStatus {
    try UserStatus(
      of: user, UserMounts(.current(), layout),
      templates: try Templates.read(layout).valid.map(\.name), layout)
  }

  private init(
    of user: ObfuscatedUsername, _ mounts: UserMounts, templates: [StoreName], _ layout: Layout
  ) throws {
    self.user = user
    vault = try VaultKind.mounted(of: user, layout)
    hasHomes = mounts.homes[user] == Set(HomePlace.allCases)
    let folders = mounts.folders[user] ?? [:]
    let complete = folders.filter { $0.value.count == StoreTree.allCases.count }.map(\.key)
    stores = complete.sorted()
    let isMounted = hasHomes || !complete.isEmpty
    missing = isMounted ? Set(templates).subtracting(complete).sorted() : []
  }
}

/// The mounts of all users in one table.
struct UserMounts {
  var homes: [ObfuscatedUsername: Set<HomePlace>] = [:]
  var folders: [ObfuscatedUsername: [StoreName: Set<StoreTree>]] = [:]

  var users: Set<ObfuscatedUsername> { Set(homes.keys).union(folders.keys) }

  init(_ table: MountTable, _ layout: Layout) {
    for mount in table.mounts {
      for place in HomePlace.allCases {
        let names = Self.names(below: layout.below("home/\(place.rawValue)"), mount.target)
        guard names.count == 1, let user = ObfuscatedUsername(names[0]) else { continue }
        homes[user, default: []].insert(place)
      }
      for tree in StoreTree.allCases {
        let names = Self.names(below: layout.directory(of: tree), mount.target)
        guard names.count == 2, let store = StoreName(names[0]),
          let user = ObfuscatedUsername(names[1])
        else { continue }
        folders[user, default: [:]][store, default: []].insert(tree)
      }
    }
  }

  private static func names(below directory: String, _ target: String) -> [String] {
    let prefix = directory + "/"
    guard target.utf8.starts(with: prefix.utf8) else { return [] }
    return target.utf8.dropFirst(prefix.utf8.count).split(separator: UInt8(ascii: "/"))
      .map { String(Substring($0)) }
  }
}
