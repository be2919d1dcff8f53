import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// A directory of a file system below which everything is one user's.
final class VaultPart {
  /// Of the file system, as mountinfo has it.
  let mountDevice: UInt64
  /// The directory's path in the file system: the root column of a mount of it.
  let root: FilePath
  /// Whether the file system holds nothing else.
  let isWhole: Bool
  /// `st_dev` of the directory.
  let device: UInt64
  /// Where files can have another `st_dev` than the directory: what tells the file system.
  private let span: FileSystemKind?
  /// Whether its files have handles.
  private let hasHandles: Bool

  /// The path that the directory is opened by; nil when no path of ours leads to it any more.
  private let path: FilePath?
  /// A directory on the same mount, open for reading: open_by_handle_at(2) takes no `O_PATH` descriptor.
  /// Beside the vault, which it would keep busy, where there is one. Not for a whole file system, which
  /// that would keep from being unmounted.
  private let directory: Descriptor?
  /// Of a whole file system: keeps it alive, and so its device number its own, when the last mount
  /// is gone; the kernel gives the number of a dead one to the next.
  private let anchor: DetachedMount?

  /// What was found of each file so far: most are the same libraries again and again.
  private var verdicts: [FileIdentity: Bool] = [:]
  /// Of an encrypted vault.
  private let key: KeyIdentifier?
  private var listing: TreeListing?

  /// - Parameters:
  ///   - vault: the directory `…/H/mount`, open.
  ///   - keepsOpen: whether files of it can be told; else mounts alone.
  init(
    vault: borrowing Directory, of user: ObfuscatedUsername, in layout: Layout, table: MountTable,
    keepsOpen: Bool = true
  ) throws {
    let status = try vault.status()
    guard let mount = table.mounts.first(where: { $0.id == status.mountID }) else {
      throw Refusal(path: vault.path, reason: missingMount)
    }
    isWhole =
      mount.root == "/" && mount.target.isAtOrBelow("\(layout.shadow)/\(user.description)")
    anchor = isWhole && keepsOpen ? try Self.anchor(vault) : nil
    if isWhole || !keepsOpen {
      key = nil
      directory = nil
    } else {
      let readable = try vault.file(".", flags: O_RDONLY | O_DIRECTORY)
      key = status.isEncrypted ? try readable.encryptionPolicy(shown: vault.path)?.key : nil
      let above = try Directory(opening: "\(layout.shadow)")
      directory =
        try above.status().mountID == status.mountID
        ? try above.file(".", flags: O_RDONLY | O_DIRECTORY) : readable
    }
    path = vault.path
    device = status.identity.device
    mountDevice = mount.device
    span = Self.spansDevices(mount) ? FileSystemKind(vault.path) : nil
    hasHandles = Self.hasHandle(".", in: vault)
    root = StoreBase(mount: mount).root(of: "\(vault.path)")
  }

  /// What a mount at one of the user's places is part of, where no path leads to the vault.
  init(root: FilePath, mount: Mount) {
    // What cannot be opened is known by its mount alone: nothing depends on more.
    let place = try? Directory(opening: mount.target)
    let status = (try? place?.status()) ?? nil
    key = nil
    let isOnTop = status?.mountID == mount.id
    isWhole = root.isEmpty || root == "/mount"
    switch place {
    case .some(let place) where isOnTop && isWhole: anchor = try? Self.anchor(place)
    default: anchor = nil
    }
    directory = nil
    path = nil
    device = (isOnTop ? status?.identity.device : nil) ?? mount.device
    mountDevice = mount.device
    span = Self.spansDevices(mount) && isOnTop ? FileSystemKind(mount.target) : nil
    switch place {
    case .some(let place): hasHandles = Self.hasHandle(".", in: place)
    case .none: hasHandles = false
    }
    self.root = root
  }

  private static func anchor(_ directory: borrowing Directory) throws(SystemError) -> DetachedMount
  {
    let clone = try DetachedMount(cloning: directory.descriptor, shown: directory.path)
    try clone.set(propagation: .private)
    return clone
  }

  /// The files of an overlay have the `st_dev` of their layer, those of btrfs that of their
  /// subvolume.
  private static func spansDevices(_ mount: Mount) -> Bool {
    ["overlay", "btrfs", "bcachefs"].contains(mount.fileSystem)
  }

  /// Whether a mount of `root` of the file system `device` shows part of it.
  func shows(device: UInt64, _ root: FilePath) -> Bool {
    device == mountDevice && (isWhole || withoutDeletion(root).isAtOrBelow(self.root))
  }

  /// Whether `mount` shows a directory that ``PinRelease`` has emptied and removed beside the vault.
  /// Root alone makes names there, and the kernel alone ends a path with `//deleted`; a removed
  /// directory stays empty (rmdir(2)).
  func isRemovedPin(_ mount: Mount) -> Bool {
    guard mount.device == mountDevice, !isWhole, let above = root.dropping(suffix: "/mount"),
      let name = mount.root.dropping(prefix: "\(above)/\(DirectoryRenewal.removedPrefix)")?
        .dropping(suffix: "//deleted")
    else { return false }
    return name.isName
  }

  var descriptor: CInt? {
    switch directory {
    case .some(let directory): directory.number
    case .none: nil
    }
  }

  /// A text that the mount table of every namespace contains that has such a mount.
  func needle(of user: ObfuscatedUsername) -> FilePath {
    isWhole || !names(user, in: root)
      ? " \(linux_major(mountDevice)):\(linux_minor(mountDevice)) " : user.path
  }

  /// Whether the file behind a magic link of `/proc` is in it; nil when neither its device nor its
  /// file handle can tell.
  ///
  /// - Parameter deviceOfMount: the file system of a mount that is shown anywhere.
  func contains(
    _ file: FileStatus, _ link: FilePath, in process: borrowing Directory,
    deviceOfMount: (UInt64) -> UInt64?, _ unknowns: Unknowns
  ) -> Bool? {
    guard isHere(file, link, in: process, deviceOfMount) else { return false }
    if isWhole { return true }
    if let known = verdicts[file.identity] { return known }
    guard let path else { return nil }
    do throws(SystemError) {
      guard let shown = try pathHere(of: file, link, in: process) else { return nil }
      var verdict = Self.relative(shown, to: path) != nil
      if !verdict { verdict = try isStray(file, link, in: process) }
      verdicts[file.identity] = verdict
      return verdict
    } catch {
      unknowns.add(error, about: process.path)
      return nil
    }
  }

  /// The path of the file behind a link, as our own mount shows it; nil where the file system has no
  /// handles, or this is not the file system.
  private func pathHere(
    of file: FileStatus, _ link: FilePath, in process: borrowing Directory
  ) throws(SystemError) -> FilePath? {
    let mount: CInt
    switch directory {
    case .none: return nil
    case .some(let directory): mount = directory.number
    }
    let reopened = linux_reopen_through(process.descriptor.number, link.cString, mount)
    guard reopened >= 0 else {
      let code = errno
      // No handles; a file that is gone; a filter of system calls: the mount decides then.
      guard ![EOPNOTSUPP, ESTALE, ENOENT, ESRCH, EOVERFLOW, EPERM, EACCES, ENOSYS].contains(code)
      else { return nil }
      throw SystemError(operation: "open_by_handle_at", path: process.path(of: link), code: code)
    }
    let same = Descriptor(owning: reopened)
    // The handle of another file system is by chance that of another file here.
    guard try same.status().identity == file.identity else { return nil }
    return try linkTarget(of: "/proc/self/fd/\(same.number)")
  }

  /// Whether a file is a removed directory that was encrypted with the vault's key: it was moved out
  /// of the vault before it was removed.
  private func isStray(
    _ file: FileStatus, _ link: FilePath, in process: borrowing Directory
  ) throws(SystemError) -> Bool {
    guard let key, file.isDirectory, file.isEncrypted, file.links == 0 else { return false }
    do {
      let path = process.path(of: link)
      let readable = try Descriptor(followingLinks: path, flags: O_RDONLY | O_DIRECTORY)
      return try readable.encryptionPolicy(shown: path)?.key == key
    } catch  where error.code == ENOENT {
      return false
    }
  }

  /// Whether a path, as our own mount shows it, is that of a directory that ``PinRelease`` has emptied
  /// and removed: root alone makes names there.
  private func isEmptied(_ shown: FilePath) -> Bool {
    guard let home = path?.dropping(suffix: "/mount"),
      let name = shown.dropping(prefix: "\(home)/\(DirectoryRenewal.removedPrefix)")
    else { return false }
    return name.isName
  }

  /// Opens the file of a handle, if it is on this file system; nil, too, when it is gone.
  func open(_ handle: [UInt8], _ type: CInt, on device: UInt64) throws(SystemError) -> Descriptor? {
    guard device == self.device else { return nil }
    let mount: CInt
    switch directory {
    case .none: return nil
    case .some(let directory): mount = directory.number
    }
    do {
      return Descriptor(
        owning: try check(
          "open_by_handle_at", path.map { "\($0)" },
          linux_open_handle(mount, type, handle, UInt32(handle.count))))
    } catch  where [ESTALE, ENOENT].contains(error.code) {
      return nil
    }
  }

  /// The path of a file of it from its directory; nil where the file system does not say.
  func relativePath(
    of file: FileStatus, _ link: FilePath, in process: borrowing Directory, _ unknowns: Unknowns
  ) -> FilePath? {
    guard let path, file.identity.device == device else { return nil }
    do throws(SystemError) {
      return try pathHere(of: file, link, in: process).flatMap { Self.relative($0, to: path) }
    } catch {
      unknowns.add(error, about: process.path)
      return nil
    }
  }

  /// What follows the directory in a path that the kernel has given; nil for a path elsewhere.
  private static func relative(_ shown: FilePath, to path: FilePath) -> FilePath? {
    guard let rest = shown.dropping(prefix: path) else { return nil }
    return rest.isEmpty ? rest : rest.dropping(prefix: "/")
  }

  /// Where a directory that is part of it is.
  func place(
    of file: FileStatus, _ link: FilePath, in process: borrowing Directory, _ unknowns: Unknowns
  ) -> DirectoryPins.Place? {
    if isWhole { return file.identity.device == device ? .removed(from: nil) : nil }
    guard let path, file.identity.device == device else { return nil }
    do throws(SystemError) {
      guard let shown = try pathHere(of: file, link, in: process) else {
        // A directory that was removed has no handle any more.
        return try isStray(file, link, in: process) ? .removed(from: nil) : nil
      }
      guard let relative = Self.relative(shown, to: path) else {
        guard try isStray(file, link, in: process) else { return nil }
        return isEmptied(shown) ? .emptied : .removed(from: nil)
      }
      if file.links > 0 { return .below(relative) }
      return .removed(from: relative.directory.dropping(suffix: "/") ?? "")
    } catch {
      unknowns.add(error, about: process.path)
      return nil
    }
  }

  private func isHere(
    _ file: FileStatus, _ link: FilePath, in process: borrowing Directory,
    _ deviceOfMount: (UInt64) -> UInt64?
  ) -> Bool {
    guard let span else { return file.identity.device == device }
    guard [S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO].contains(file.mode & S_IFMT) else { return false }
    if let device = deviceOfMount(file.mountID) { return device == mountDevice }
    // Few others have no handles, if that is so here. Not every file system answers statfs(2).
    return Self.hasHandle(link, in: process) == hasHandles
      && FileSystemKind(process.path(of: link)) == span
  }

  /// Whether name_to_handle_at(2) works: then it is the mount that is wrong.
  private static func hasHandle(_ link: FilePath, in directory: borrowing Directory) -> Bool {
    linux_reopen_through(directory.descriptor.number, link.cString, -1) < 0 && errno == EBADF
  }

  /// Whether a walk through the directory finds the file. A removed file counts: no walk finds it.
  func lists(_ file: FileStatus) -> Bool {
    guard path != nil, file.isDirectory || file.mode & S_IFMT == S_IFREG else { return false }
    return file.links == 0 || lists(file.identity)
  }

  /// The same of a file that is known by its number alone.
  func lists(_ file: FileIdentity) -> Bool {
    guard let path else { return false }
    // The directory is not that of the user whose process has the file.
    Inspection.shares.inTime(of: 0) { listing = listing ?? TreeListing("\(path)") }
    guard let listing, !listing.isIncomplete else { return true }
    return listing.files.contains(file)
  }

  /// Whether files with this `st_dev` can be in it.
  func isOnDevice(_ device: UInt64) -> Bool { span != nil || self.device == device }
}

/// What statfs(2) says of a file system: the same for all files on it, but for subvolumes.
private struct FileSystemKind: Equatable {
  private var type: UInt64 = 0
  private var id: UInt64 = 0

  init?(_ path: FilePath) {
    guard linux_file_system(path.cString, &type, &id) == 0 else { return nil }
    let isOverlay = type == 0x794c_7630  // OVERLAYFS_SUPER_MAGIC
    if !isOverlay { id = 0 }
  }
}

/// The files in a directory, at all depths, but not in other mounts.
private struct TreeListing {
  private(set) var files: Set<FileIdentity> = []
  /// Whether part of it could not be read.
  private(set) var isIncomplete = false

  init(_ path: FilePath) {
    do throws(SystemError) {
      let directory = try Directory(opening: path)
      files.insert(try directory.status().identity)
      try read(directory)
    } catch {
      isIncomplete = true
    }
  }

  private mutating func read(_ directory: borrowing Directory) throws(SystemError) {
    guard Inspection.goesOn() else {
      throw SystemError(operation: "read", path: directory.path, code: ETIMEDOUT)
    }
    for name in try directory.names() {
      guard let file = try directory.status(of: name), !file.isMountRoot else { continue }
      files.insert(file.identity)
      guard file.isDirectory else { continue }
      do {
        try read(try directory.directory(name, crossingMounts: false))
      } catch  where [ENOENT, EXDEV].contains(error.code) {
        continue  // went away, or was mounted over, meanwhile
      }
    }
  }
}
