import CLinux
import Glibc
import Kernel
import MountTable

/// What belongs to one user on a file system: the directory `…/H/mount` and all below it, however
/// many mounts show parts of it.
public final class UserSubtree {
  public let user: ObfuscatedUsername
  /// `/home/.shadow/H/mount`.
  public let path: String
  /// Open for reading: open_by_handle_at(2) takes no `O_PATH` descriptor. Not for a whole file
  /// system, which that would keep from being unmounted.
  private let directory: Descriptor?
  /// Of a whole file system: keeps it alive, and so its device number its own, when the last mount
  /// is gone; the kernel gives the number of a dead one to the next.
  private let anchor: DetachedMount?
  /// Whether the file system holds nothing but this user's data.
  let isWholeFileSystem: Bool
  private let device: UInt64
  /// Of the file system, as mountinfo has it.
  let mountDevice: UInt64
  /// The directory's path in the file system: the root column of a mount of it.
  let root: String

  /// What was found of each file so far: most are the same libraries again and again.
  private var verdicts: [FileIdentity: Bool] = [:]

  /// - Parameter vault: the directory `…/H/mount`, open.
  public init(
    of user: ObfuscatedUsername, vault: borrowing Directory, in layout: Layout, table: MountTable
  ) throws {
    let status = try vault.status()
    guard let mount = table.mounts.first(where: { UInt64($0.id) == status.mountID }) else {
      throw Refusal(path: vault.path, reason: missingMount)
    }
    let isWhole =
      mount.root == "/" && isPath(mount.target, atOrBelow: "\(layout.shadow)/\(user)")
    if isWhole {
      let clone = try DetachedMount(cloning: vault.descriptor, shown: vault.path)
      try clone.set(propagation: .private)
      anchor = consume clone
    } else {
      anchor = nil
    }
    directory = isWhole ? nil : try vault.file(".", flags: O_RDONLY | O_DIRECTORY)
    isWholeFileSystem = isWhole
    self.user = user
    path = vault.path
    device = status.identity.device
    mountDevice = mount.device
    root = StoreGround(mount: mount).root(of: vault.path)
  }

  /// Whether `mount` shows part of the user's data, and not the file system around it.
  func shows(_ mount: Mount) -> Bool {
    mount.device == mountDevice && (isWholeFileSystem || isPath(mount.root, atOrBelow: root))
  }

  /// A text that the mount table of every namespace contains that has such a mount.
  var needle: String {
    isWholeFileSystem || !names(user, in: root)
      ? " \(linux_major(mountDevice)):\(linux_minor(mountDevice)) " : user.description
  }

  /// Whether the file behind a magic link of `/proc` is part of it: the file, not its path, since
  /// a path says nothing about a mount that is detached or in another namespace.
  func contains(_ link: String, in process: borrowing Directory) -> Bool {
    guard let identity = process.identity(behind: link), identity.device == device else {
      return false
    }
    if let known = verdicts[identity] { return known }
    let mount: CInt
    switch directory {
    case .none: return true
    case .some(let directory): mount = directory.number
    }
    let reopened = linux_reopen_through(process.descriptor.number, link, mount)
    let verdict: Bool
    if reopened >= 0 {
      let file = Descriptor(owning: reopened)
      let shown = try? linkTarget(of: "/proc/self/fd/\(file.number)")
      verdict = isPath(shown ?? "", atOrBelow: path)
    } else {
      // A file system without file handles: take its word for where the file is.
      let shown = try? linkTarget(of: process.path(of: link))
      verdict = names(user, in: shown ?? "")
    }
    verdicts[identity] = verdict
    return verdict
  }

  /// Whether files of this `st_dev` can be the user's.
  func isOnDevice(_ device: UInt64) -> Bool { self.device == device }
}

/// Whether a component of `path` is the user's.
func names(_ user: ObfuscatedUsername, in path: String) -> Bool {
  path.utf8.split(separator: UInt8(ascii: "/")).contains {
    $0.elementsEqual(user.description.utf8)
  }
}
