import Glibc
import DaemonStoreKernel

/// What became of one mount that was to go.
package struct Removal: Equatable, Sendable {
  package enum Outcome: Equatable, Sendable {
    case removed
    /// Taken out of sight, but alive until its last user lets go.
    case detached
    /// Still there: the kernel says that it is in use, in these words.
    case busy(String)
    /// Still there for another reason.
    case failed(String)
  }

  package let path: FilePath
  package let outcome: Outcome

  package init(path: FilePath, outcome: Outcome) {
    self.path = path
    self.outcome = outcome
  }

  /// What is still there because of `error`.
  package init(path: FilePath, failed error: any Error) {
    let isBusy = (error as? SystemError)?.code == EBUSY
    self.init(path: path, outcome: isBusy ? .busy("\(error)") : .failed("\(error)"))
  }

  package var isHeld: Bool { reason != nil }

  /// Whether somebody uses it, as the kernel says.
  package var isInUse: Bool {
    switch outcome {
    case .detached, .busy: true
    case .removed, .failed: false
    }
  }

  /// Why it is still there; nil when it is not.
  package var reason: String? {
    switch outcome {
    case .removed, .detached: nil
    case .busy(let reason), .failed(let reason): reason
    }
  }
}

extension Directory {
  /// Unmounts what is on `name` in here, however often it is stacked, and says what became of it;
  /// nil when nothing was mounted.
  ///
  /// - Parameter isOurs: whether a mount with this root may go. Something that was mounted on top
  ///   by others stays, and is the reason.
  package func clear(
    _ name: FilePath, lazily: Bool, isOurs: (FileStatus) -> Bool = { _ in true }
  ) -> Removal? {
    let path = path(of: name)
    var outcome: Removal.Outcome?
    var delay = 1
    do {
      while let status = try status(of: name), status.isMountRoot {
        guard isOurs(status) else {
          return Removal(path: path, outcome: .failed("\(path): something else is mounted on it"))
        }
        do {
          try unmount(name)
          outcome = .removed
        } catch  where error.code == EBUSY && delay <= 32 {
          // Whoever looks at a mount keeps it busy meanwhile, and who watches looks just now.
          pause(.milliseconds(delay))
          delay *= 2
        } catch  where lazily && error.code == EBUSY {
          try unmount(name, lazily: true)
          outcome = .detached
        }
      }
    } catch {
      return Removal(path: path, failed: error)
    }
    return outcome.map { Removal(path: path, outcome: $0) }
  }
}

/// Takes a user's folders away, in all stores, and so in every jail.
package enum UserFolders {
  /// The last first. Each mount point goes with its mount: that detaches what a namespace keeps on
  /// it for itself (rmdir(2) since Linux 3.18). The caller holds the user's lock. The lock of the
  /// stores is not needed: what lies below a user's name in a store belongs to that user alone.
  ///
  /// - Parameters:
  ///   - lazily: detach what is busy.
  ///   - isOurs: whether a mount with this root is of the user's data; others stay.
  package static func remove(
    _ user: ObfuscatedUsername, from layout: Layout, lazily: Bool,
    isOurs: (FileStatus) -> Bool
  ) -> [Removal] {
    var removals: [Removal] = []
    do {
      guard let trees = try OpenTrees(existingIn: layout) else { return [] }
      for tree in StoreTree.allCases.reversed() {
        for store in try trees[tree].stores().reversed() {
          removals += try trees[tree].remove(user, from: store, lazily: lazily, isOurs: isOurs)
        }
      }
    } catch {
      removals.append(Removal(path: layout.directory(of: .data), failed: error))
    }
    return removals
  }

  /// Every user who has a mount point in a store, mounted or not.
  package static func users(of layout: Layout) throws -> [ObfuscatedUsername] {
    guard let trees = try OpenTrees(existingIn: layout) else { return [] }
    var users: Set<ObfuscatedUsername> = []
    for tree in StoreTree.allCases {
      for store in try trees[tree].stores() { users.formUnion(try trees[tree].users(in: store)) }
    }
    return users.sorted()
  }
}

extension OpenTree {
  /// The names of the directories that are stores, or can be.
  func stores() throws(SystemError) -> [StoreName] {
    try underlying.root.names().compactMap { StoreName($0) }
  }

  /// The users who have a mount point in a store.
  func users(in store: StoreName) throws(SystemError) -> [ObfuscatedUsername] {
    let status = try underlying.root.status(of: store.path)
    guard status?.isDirectory == true else { return [] }
    return try underlying.root.directory(store.path).names()
      .compactMap { ObfuscatedUsername($0) }
  }

  func remove(
    _ user: ObfuscatedUsername, from store: StoreName, lazily: Bool,
    isOurs: (FileStatus) -> Bool
  ) throws(SystemError) -> [Removal] {
    let name: FilePath = "\(store)/\(user)"
    do {
      guard try underlying.root.status(of: name) != nil else { return [] }
    } catch  where error.code == ENOTDIR {
      return []  // not a store, but a file in the place of one
    }
    let removal = visible.clear(name, lazily: lazily, isOurs: isOurs)
    if let removal, removal.isHeld { return [removal] }
    do {
      try underlying.root.removeDirectory(name)
    } catch {
      return [Removal(path: visible.path(of: name), failed: error)]
    }
    return removal.map { [$0] } ?? []
  }
}
