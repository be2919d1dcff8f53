import Accounts
import CLinux
import DaemonStore
import Glibc
import Kernel

/// The passwd home directory below the files of a vault that are shown over it. While the vault is
/// locked, an empty directory is there that the user can enter and not write to. What was there before
/// the vault lies in `.shadow/H/before`.
enum HomeBelow {
  private static let emptyMode: mode_t = 0o550

  /// `before`, `before-2` and so on: what a repair finds later does not replace what is there.
  static func isBefore(_ name: FilePath) -> Bool {
    guard let rest = name.dropping(prefix: "before") else { return false }
    return rest.isEmpty || rest.bytes.first == UInt8(ascii: "-")
  }

  /// Whether the passwd home can be taken, before anything is changed.
  ///
  /// - Throws: ``Refusal`` with the reason.
  static func check(_ path: FilePath, _ layout: Layout) throws {
    let home = try PasswdHome(path, layout)
    let shadow = try UserDirectory.makeShadow(layout)
    guard let status = try home.parent.status(of: home.name) else { return }
    guard status.isDirectory, !status.isMountRoot else {
      throw Refusal(
        path: path,
        reason: status.isDirectory
          ? "is a mount point, and a vault's home is shown over a directory; unmount it"
          : "is \(status.kind), not a directory; move it away")
    }
    guard status.identity.device == shadow.identity.device else {
      throw Refusal(
        path: path,
        reason: "is on another file system than \(layout.shadow), so its files cannot be moved "
          + "there; move them away yourself, or leave --home out")
    }
  }

  /// Whether it is as it should be while the vault is locked: root's, and empty.
  static func isPrepared(_ path: FilePath, _ layout: Layout) throws -> Bool {
    let home = try PasswdHome(path, layout)
    guard let status = try home.parent.status(of: home.name) else { return true }
    guard status.isDirectory else { return false }
    if status.isMountRoot { return true }
    return try status.owner == 0 && status.permissions & 0o022 == 0
      && home.parent.directory(home.name).names().isEmpty
  }

  /// Moves the directory away, and puts an empty one in its place: one exchange of two names.
  ///
  /// - Returns: how many files were moved, and where to; nil when there was nothing to do.
  static func prepare(
    _ user: ObfuscatedUsername, group: gid_t, in vault: borrowing Directory, _ layout: Layout
  ) throws -> (count: Int, place: FilePath)? {
    guard var file = try VaultFile.read(in: vault), let path = file.home else { return nil }
    let home = try PasswdHome(path, layout)
    if try home.parent.makeDirectory(home.name, mode: emptyMode) {
      try home.parent.directory(home.name).set(owner: 0, group: group, mode: emptyMode)
    }
    guard try !isPrepared(path, layout) else { return nil }
    try check(path, layout)
    let old = try home.parent.directory(home.name, crossingMounts: false)
    let status = try old.status()
    if file.before == nil, file.identity != nil {
      file.before = HomeAttributes(
        owner: Owner(user: status.owner, group: status.group), mode: status.permissions)
      try file.write(in: vault)
    }
    let place = try makeEmpty(in: vault, group: group, like: old)
    guard try home.parent.canExchange(home.name, with: place, in: vault) else {
      throw Refusal(
        path: path,
        reason: "cannot be moved to \(vault.path): it is on another file system, or "
          + "under another quota; move its files away yourself")
    }
    try vault.directory(place).set(owner: 0, group: 0, mode: 0o700)
    try home.parent.sync()
    try vault.sync()
    var count = 0
    _ = try vault.directory(place).forEachFile { _, file in if !file.isDirectory { count += 1 } }
    return (count, vault.path(of: place))
  }

  /// An empty directory with the extended attributes of `old`.
  private static func makeEmpty(
    in vault: borrowing Directory, group: gid_t, like old: borrowing Directory
  ) throws -> FilePath {
    for number in 1...99 {
      let name: FilePath = number == 1 ? "before" : "before-\(number)"
      if try !vault.makeDirectory(name), try !vault.directory(name).names().isEmpty { continue }
      let new = try vault.directory(name, crossingMounts: false)
      let source = try old.file(".", flags: O_RDONLY | O_DIRECTORY)
      let target = try new.file(".", flags: O_RDONLY | O_DIRECTORY)
      try Kernel.check(
        "copy attributes", old.path, linux_copy_extended_attributes(source.number, target.number))
      // After the attributes: an access list in them is bounded by the mode.
      try new.set(owner: 0, group: group, mode: emptyMode)
      try target.sync(shown: new.path)
      return name
    }
    throw Refusal(
      path: vault.path(of: "before-99"), reason: "is taken; move the directories before it away")
  }

  /// Puts what was there before the vault back, or where root finds it.
  ///
  /// - Returns: what was done, in words.
  static func restore(
    _ user: ObfuscatedUsername, in shadow: borrowing Directory, _ layout: Layout
  ) throws -> [String] {
    let vault = try shadow.directory(user.path)
    // A damaged file does not name a home: then the directories are kept in another place.
    let file = (try? VaultFile.read(in: vault)) ?? nil
    var notes: [String] = []
    for name in try vault.names() where isBefore(name) {
      guard let status = try vault.status(of: name), status.isDirectory else { continue }
      let isEmptyOne = status.owner == 0 && status.permissions == emptyMode
      if isEmptyOne, try vault.directory(name).names().isEmpty { continue }
      if name == "before", let path = file?.home, let attributes = file?.before,
        try putBack(name, in: vault, at: path, attributes, layout)
      {
        notes.append("restored \(path) as it was before the vault")
        continue
      }
      let kept: FilePath = "\(name)-\(user)"
      try shadow.move(name, of: vault, to: kept)
      try shadow.sync()
      notes.append("kept the files from before the vault in \(shadow.path(of: kept))")
    }
    return notes
  }

  /// - Returns: whether the home was empty, and its place free.
  private static func putBack(
    _ name: FilePath, in vault: borrowing Directory, at path: FilePath,
    _ attributes: HomeAttributes,
    _ layout: Layout
  ) throws -> Bool {
    guard try isFree(path, layout) else { return false }
    let home = try PasswdHome(path, layout)
    // Before it is shown: a crash leaves no home that is root's.
    try vault.directory(name).set(
      owner: attributes.owner.user, group: attributes.owner.group, mode: attributes.mode)
    try home.parent.exchange(home.name, with: name, in: vault)
    try home.parent.sync()
    try vault.sync()
    return true
  }
}

extension HomeBelow {
  /// Whether an empty directory is at the path.
  private static func isFree(_ path: FilePath, _ layout: Layout) throws -> Bool {
    do {
      let home = try PasswdHome(path, layout)
      guard let status = try home.parent.status(of: home.name) else { return false }
      if !status.isDirectory || status.isMountRoot { return false }
      return try home.parent.directory(home.name).names().isEmpty
    } catch let error as SystemError where error.code == ENOENT {
      return false
    }
  }
}

extension Directory {
  /// Exchanges the two names; false where they are on different file systems.
  fileprivate func canExchange(
    _ name: FilePath, with other: FilePath, in directory: borrowing Directory
  ) throws(SystemError) -> Bool {
    do {
      try exchange(name, with: other, in: directory)
      return true
    } catch {
      guard error.code == EXDEV else { throw error }
      return false
    }
  }

  /// Exchanges a name of this directory with one of another.
  fileprivate func exchange(
    _ name: FilePath, with other: FilePath, in directory: borrowing Directory
  ) throws(SystemError) {
    try check(
      "rename", path(of: name),
      linux_rename_exchange(
        descriptor.number, name.cString, directory.descriptor.number, other.cString))
  }

  /// Moves a name of another directory here; `EEXIST` when the new name is taken.
  fileprivate func move(
    _ name: FilePath, of directory: borrowing Directory, to new: FilePath
  ) throws(SystemError) {
    try check(
      "rename", path(of: new),
      linux_rename_new(
        directory.descriptor.number, name.cString, descriptor.number, new.cString))
  }
}
