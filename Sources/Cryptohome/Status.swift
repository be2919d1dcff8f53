import DaemonStore
import Glibc
import DaemonStoreKernel

/// What the kernel shows of one user.
package struct UserStatus: Equatable, Sendable {
  package let user: ObfuscatedUsername
  /// Of the account that the vault belongs to; nil where that is not recorded.
  package let name: FilePath?
  /// nil for a user whose vault is gone, or of a kind that this version cannot tell.
  package let vault: VaultKind?
  /// Whether an encrypted vault can be read; nil for any other.
  package let lock: VaultLock?
  /// Whether a removal of the vault was interrupted.
  package let isRemoving: Bool
  /// Why the vault cannot be opened: its file is damaged, missing, or of another vault.
  package let problem: String?
  /// The stores that the user's folder is mounted in, and the cache store as well.
  package let stores: [StoreName]
  /// Whether anything is mounted.
  package let isMounted: Bool
  /// Of a user who is logged in: the paths where something should be, and is not.
  package let missing: [FilePath]
  /// Of a user whose logout is not finished: the paths where something is still mounted.
  package let remaining: [FilePath]

  /// Every user who has a directory or a mount, in the order of their hashes.
  package static func all(_ layout: Layout) throws -> [UserStatus] {
    let mounted = try UserMounts(.current(), layout)
    let users = Set(try UserDirectory.all(layout)).union(mounted.users)
      .union(try VaultRemoval.pending(layout))
    let templates = try Templates.read(layout).valid.map(\.name)
    return try users.sorted().map {
      try UserStatus(of: $0, mounted, templates: templates, layout)
    }
  }

  /// One user, who may be unknown: then nothing is mounted.
  package static func of(_ user: ObfuscatedUsername, _ layout: Layout) throws -> UserStatus {
    try UserStatus(
      of: user, UserMounts(.current(), layout),
      templates: try Templates.read(layout).valid.map(\.name), layout)
  }

  private init(
    of user: ObfuscatedUsername, _ mounts: UserMounts, templates: [StoreName], _ layout: Layout
  ) throws {
    self.user = user
    let home = UserHome(of: user, in: layout)
    vault = try home.present
    lock = try vault?.vault(of: home).state()
    isRemoving = try VaultRemoval.isUnfinished(home)
    let homes = mounts.homes[user] ?? []
    let folders = mounts.folders[user] ?? [:]
    stores = folders.filter { $0.value.count == StoreTree.allCases.count }.keys.sorted()
    isMounted = mounts.isMounted(user)
    let isLeaving =
      isMounted && (lock == .busy || homes.isEmpty || Self.isAbandoned(user, layout))
    let places: [(path: FilePath, isMounted: Bool)] = HomePlace.allCases.map { place in
      (layout.below("home/\(place.rawValue)/\(user)"), homes.contains(place))
    }
    func paths(in stores: some Sequence<StoreName>) -> [(path: FilePath, isMounted: Bool)] {
      stores.flatMap { store in
        StoreTree.allCases.map { tree in
          (layout.path(of: user, in: store, tree), folders[store]?.contains(tree) == true)
        }
      }
    }
    let wanted = places + paths(in: templates)
    missing = isMounted && !isLeaving ? wanted.filter { !$0.isMounted }.map(\.path) : []
    let known = places + paths(in: folders.keys.sorted())
    remaining = isLeaving ? known.filter(\.isMounted).map(\.path) : []
    name = home.readableRecord?.identity?.account.name
    problem = isRemoving ? nil : home.problem
  }

  /// Whether a logout was begun that is not finished. What cannot be read says nothing here.
  private static func isAbandoned(_ user: ObfuscatedUsername, _ layout: Layout) -> Bool {
    guard let records = (try? SessionRecords(ofExisting: user, layout)) ?? nil else { return false }
    return (try? records.isAbandoned()) ?? false
  }
}

/// The mounts of all users in one table, but for what others have mounted at their places.
struct UserMounts {
  var homes: [ObfuscatedUsername: Set<HomePlace>] = [:]
  var folders: [ObfuscatedUsername: [StoreName: Set<StoreTree>]] = [:]

  var users: Set<ObfuscatedUsername> { Set(homes.keys).union(folders.keys) }

  func isMounted(_ user: ObfuscatedUsername) -> Bool {
    homes[user]?.isEmpty == false || folders[user]?.contains { !$0.value.isEmpty } == true
  }

  init(_ table: MountTable, _ layout: Layout) {
    for mount in table.mounts {
      for place in HomePlace.allCases {
        let names = Self.names(below: layout.below("home/\(place.rawValue)"), mount.target)
        guard names.count == 1, let user = ObfuscatedUsername(names[0].bytes) else { continue }
        // What is mounted last is on top.
        if mount.mayShow(vaultOf: user, in: layout) {
          homes[user, default: []].insert(place)
        } else {
          homes[user]?.remove(place)
        }
      }
      for tree in StoreTree.allCases {
        let names = Self.names(below: layout.directory(of: tree), mount.target)
        guard names.count == 2, let store = StoreName(names[0].bytes),
          let user = ObfuscatedUsername(names[1].bytes)
        else { continue }
        if mount.mayShow(vaultOf: user, in: layout) {
          folders[user, default: [:]][store, default: []].insert(tree)
        } else {
          folders[user]?[store]?.remove(tree)
        }
      }
    }
  }

  private static func names(below directory: FilePath, _ target: FilePath) -> [FilePath] {
    target.dropping(prefix: "\(directory)/")?.components ?? []
  }
}
