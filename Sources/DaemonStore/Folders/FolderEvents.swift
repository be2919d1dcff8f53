import DaemonStoreClient
import Glibc
import DaemonStoreKernel

/// The coming and going of users' folders, as an ordinary process sees it in any mount namespace:
/// the kernel wakes it, and one statx(2) a folder tells.
package enum FolderEvents {
  /// Waits until a user's folder is mounted, or with `gone` until it is not; false when `timeout`
  /// came first. It is what libdaemonstore does for daemons, with the way out for who types.
  ///
  /// - Throws: ``Refusal`` where it could never come, or nobody would tell.
  package static func wait(
    for user: ObfuscatedUsername, in store: StoreName, _ tree: StoreTree, gone: Bool,
    timeout: Duration?, _ layout: Layout
  ) throws -> Bool {
    let deadline = timeout.map { ContinuousClock.now + $0 }
    let folder = UserFolder(cString: layout.path(of: user, in: store, tree).cString)
    while true {
      // No longer than poll(2) can wait at once.
      let left = deadline.map { ContinuousClock.now.duration(to: $0) }
      do throws(StoreClientError) {
        if gone ? try folder.waitUntilGone(for: left) : try folder.wait(for: left) { return true }
      } catch {
        switch error.code {
        case EINTR: continue
        case ENOENT: throw noStore(layout.path(of: store, in: tree), store)
        case ENOTSUP: throw noEvents
        default: throw error
        }
      }
      if let deadline, ContinuousClock.now >= deadline { return false }
    }
  }

  static func events() throws -> MountEvents {
    do {
      return try MountEvents()
    } catch  where [ENOENT, ENOTDIR].contains(error.code) {
      throw noEvents
    }
  }

  private static let noEvents = Refusal(
    path: "/proc/self/mountinfo",
    reason: "is not there, and nothing else tells of mounts; give this jail a /proc of its own "
      + "(minijail0 -p)")

  fileprivate static func noStore(_ path: FilePath, _ store: StoreName) -> Refusal {
    Refusal(
      path: path,
      reason: "is no store here, so no user's folder comes; run daemon-store startup, or give this "
        + "jail the store (minijail0 --daemon-store \(store))")
  }
}

/// A user's folder came or went.
package struct FolderChange: Equatable, Sendable {
  package enum Event: String, Sendable {
    /// It was there when the watch began.
    case present
    case arrived, left
  }

  package let event: Event
  package let store: StoreName
  package let user: ObfuscatedUsername
  /// `/run/daemon-store/D/H`.
  package let path: FilePath
}

/// The folders in one store or all, watched.
package struct FolderWatch: ~Copyable {
  private let events: MountEvents
  private let tree: StoreTree
  private let layout: Layout
  private let only: StoreName?
  /// The ids of the mounts: a folder that left and came again is another one.
  private var folders: [Folder: UInt64] = [:]
  private var isFirst = true
  /// Stores that this process may not list, each with the reason, as of the last look.
  package private(set) var closed: [StoreName: String] = [:]

  private struct Folder: Hashable, Comparable {
    let store: StoreName
    let user: ObfuscatedUsername

    static func < (left: Self, right: Self) -> Bool {
      (left.store, left.user) < (right.store, right.user)
    }
  }

  /// - Parameter only: the store; nil for all that are there at the time of each look.
  /// - Throws: ``Refusal`` without that store, and where nobody would tell.
  package init(_ only: StoreName?, _ tree: StoreTree, _ layout: Layout) throws {
    if let only {
      let path = layout.path(of: only, in: tree)
      if try FileStatus.mountID(at: path) == nil { throw FolderEvents.noStore(path, only) }
    }
    events = try FolderEvents.events()
    self.only = only
    self.tree = tree
    self.layout = layout
  }

  /// What has changed since the last call; the first gives what is there.
  package mutating func changes() throws -> [FolderChange] {
    closed = [:]
    var now: [Folder: UInt64] = [:]
    for store in try stores() {
      for user in try users(in: store) {
        guard let id = try FileStatus.mountID(at: layout.path(of: user, in: store, tree)) else {
          continue
        }
        now[Folder(store: store, user: user)] = id
      }
    }
    let left = folders.filter { now[$0.key] != $0.value }.keys.sorted()
    let arrived = now.filter { folders[$0.key] != $0.value }.keys.sorted()
    let event: FolderChange.Event = isFirst ? .present : .arrived
    isFirst = false
    folders = now
    return left.map { change(.left, $0) } + arrived.map { change(event, $0) }
  }

  /// Waits for the next change of any mount, or one of `others`; says which of those it was.
  package func next(
    or others: [(descriptor: CInt, events: CInt)]
  ) throws(SystemError) -> [Bool] {
    try events.next(or: others)
  }

  private func change(_ event: FolderChange.Event, _ folder: Folder) -> FolderChange {
    FolderChange(
      event: event, store: folder.store, user: folder.user,
      path: layout.path(of: folder.user, in: folder.store, tree))
  }

  private func stores() throws(SystemError) -> [StoreName] {
    if let only { return [only] }
    do {
      return try Self.names(in: layout.directory(of: tree)).compactMap { StoreName($0) }
    } catch  where error.code == ENOENT {
      return []
    }
  }

  /// The mount points in a store: a folder has one only as long as it is mounted.
  private mutating func users(in store: StoreName) throws(SystemError) -> [ObfuscatedUsername] {
    let path = layout.path(of: store, in: tree)
    do {
      return try Self.names(in: path).compactMap { ObfuscatedUsername($0) }
    } catch  where [ENOENT, ENOTDIR].contains(error.code) {
      return []
    } catch  where error.code == EACCES {
      closed[store] = "\(path): only root and the store's group may list it"
      return []
    }
  }

  /// The directory is open for a moment only: that keeps a store from being unmounted.
  private static func names(in path: FilePath) throws(SystemError) -> [FilePath] {
    try Directory(opening: path).names()
  }
}
