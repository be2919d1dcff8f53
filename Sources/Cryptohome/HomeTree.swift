import DaemonStoreAccounts
import DaemonStore
import Glibc
import DaemonStoreKernel

/// Whom a user's own files belong to.
package struct Owner: Equatable, Sendable {
  package let user: uid_t
  package let group: gid_t

  package init(user: uid_t, group: gid_t) {
    self.user = user
    self.group = group
  }
}

/// The directories in a vault: `mount/user`, `mount/root` and `root/.cache`.
struct HomeTree: ~Copyable {
  let user: OwnedDirectory
  let root: OwnedDirectory
  let repairs: [String]

  /// Makes or repairs them: what only root needs is root 0700. `user` belongs to `owner`, who may
  /// give it the mode that he likes.
  ///
  /// - Parameters:
  ///   - owner: nil to leave `user` with whom it belongs to.
  ///   - isFilled: whether a new `user` gets what is in `/etc/skel`.
  init(
    in vault: borrowing Directory, owner: Owner?, isFilled: Bool = false, _ layout: Layout
  ) throws {
    let root = try OwnedDirectory("root", in: vault, owner: 0, group: 0, mode: 0o700)
    let cache = try OwnedDirectory(".cache", in: root.directory, owner: 0, group: 0, mode: 0o700)
    let present = try vault.status(of: "user")
    guard let owner = owner ?? present.map({ Owner(user: $0.owner, group: $0.group) }) else {
      throw Refusal(
        path: vault.path(of: "user"),
        reason: "has no owner yet, and the user no passwd entry; specify --owner UID:GID")
    }
    if isFilled, present == nil { try Skeleton.make("user", in: vault, owner, layout) }
    let user = try OwnedDirectory(
      "user", in: vault, owner: owner.user, group: owner.group, mode: nil)
    repairs = root.repairs + cache.repairs + user.repairs
    self.user = user
    self.root = root
  }
}

/// The two places where a home is shown: `/home/user/H` and `/home/root/H`.
enum HomePlace: String, CaseIterable, PathConvertible {
  var path: FilePath { "\(rawValue)" }

  case user, root

  /// Opens `/home/user` or `/home/root`, made if absent. The names in it tell who has logged in, so
  /// it can be passed but not listed.
  func make(_ layout: Layout) throws -> Directory {
    let home = try Directory(opening: layout.root).trusted("home")
    if try home.makeDirectory(path) {
      try home.directory(path).set(owner: 0, group: 0, mode: self == .user ? 0o711 : 0o700)
    }
    return try home.trusted(path)
  }

  /// Opens it, although other users may write it, to take something away; nil when it is absent.
  func open(_ layout: Layout) throws(SystemError) -> Directory? {
    try Directory(opening: layout.root).existing("home/\(rawValue)")
  }
}

/// One bind of a home, built but not shown.
struct HomeBind: ~Copyable {
  private let parent: Directory
  private let name: FilePath
  /// Whether the mount point comes and goes with it.
  private let makesMountPoint: Bool
  /// nil when it is mounted already.
  private let mount: DetachedMount?
  let isPresent: Bool

  /// - Throws: ``Refusal`` when something else is at the place.
  init(
    of user: ObfuscatedUsername, at place: HomePlace, source: borrowing OwnedDirectory,
    _ layout: Layout
  ) throws {
    try self.init(
      user.path, in: place.make(layout), source: source, makesMountPoint: true)
  }

  /// Over the home directory of a passwd entry.
  init(over path: FilePath, source: borrowing OwnedDirectory, _ layout: Layout) throws {
    let home = try PasswdHome(path, layout)
    try home.complete()
    let name = home.name
    try self.init(name, in: home.opened(), source: source, makesMountPoint: false)
  }

  private init(
    _ name: FilePath, in parent: consuming Directory, source: borrowing OwnedDirectory,
    makesMountPoint: Bool
  ) throws {
    let isPresent = try Self.isMounted(
      name, in: parent, source: source.identity, mayHoldFiles: !makesMountPoint)
    if isPresent {
      mount = nil
    } else {
      let clone = try DetachedMount(
        cloning: source.directory.descriptor, shown: source.directory.path)
      // Out of the peer group of `/home`, into one of its own.
      try clone.set(.home, propagation: .private)
      try clone.set(propagation: .shared)
      mount = consume clone
    }
    self.parent = parent
    self.name = name
    self.isPresent = isPresent
    self.makesMountPoint = makesMountPoint
  }

  private static func isMounted(
    _ name: FilePath, in parent: borrowing Directory, source: FileIdentity, mayHoldFiles: Bool
  ) throws -> Bool {
    let path = parent.path(of: name)
    guard let status = try parent.status(of: name) else {
      guard mayHoldFiles else { return false }
      throw Refusal(path: path, reason: "is missing, so no home can be mounted there; make it")
    }
    guard status.isDirectory else {
      throw Refusal(path: path, reason: "is \(status.kind), not a mount point; move it away")
    }
    if status.isMountRoot {
      guard status.identity == source else {
        throw Refusal(path: path, reason: "something else is mounted there; unmount it")
      }
      return true
    }
    guard try mayHoldFiles || parent.directory(name).names().isEmpty else {
      throw Refusal(
        path: path, reason: "holds files while nothing is mounted there; move them away")
    }
    return false
  }

  /// Shows it; leaves no mount point behind when that fails.
  consuming func attach() throws {
    guard let mount else { return }
    if makesMountPoint { try parent.makeDirectory(name) }
    do {
      try mount.attach(on: name, in: parent)
    } catch {
      // The first error is the one that counts.
      if makesMountPoint { _ = try? parent.removeDirectory(name) }
      throw error
    }
  }
}
