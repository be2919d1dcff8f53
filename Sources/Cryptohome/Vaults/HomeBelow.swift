import DaemonStoreAccounts
import CDaemonStoreLinux
import DaemonStore
import Glibc
import DaemonStoreKernel

/// What was in a passwd home before the vault.
package struct MovedHome: Sendable, CustomStringConvertible {
  /// How many files.
  package let count: Int
  /// Where they are now.
  package let place: FilePath
  /// The processes that use them still, each in a line.
  let users: [String]

  package var description: String {
    "moved \(count) \(count == 1 ? "file" : "files") of the home directory to \(place); they are not "
      + "encrypted there"
  }

  /// What goes on writing there, each in a line.
  package var problems: [String] {
    users.map { "\(place) is used by \($0), which could go on writing there in clear; end it" }
  }
}

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

  /// The processes that have something in a directory open, or the directory, each in a line. From there
  /// they go on writing in clear, wherever it is moved.
  static func users(of directory: borrowing Directory) throws -> [String] {
    var files: Set<FileIdentity> = [try directory.status().identity]
    let isComplete = directory.forEachFile { _, file in files.insert(file.identity) }
    let users = try DaemonStore.users(of: files)
    return isComplete ? users : users + ["\(directory.path) could not be searched as a whole"]
  }

  /// - Throws: ``Refusal`` when processes use the passwd home.
  static func requireUnused(_ path: FilePath, _ layout: Layout) throws {
    let home = try PasswdHome(path, layout)
    guard let old = try home.parent.existing(home.name) else { return }
    try refuse(users(of: old), of: path)
  }

  private static func refuse(_ users: [String], of path: FilePath) throws(Refusal) {
    guard let first = users.first else { return }
    throw Refusal(
      path: path,
      reason: "is used by \(first)\(users.count > 1 ? " and \(users.count - 1) more" : ""), which "
        + "could go on writing there in clear; end it first")
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
  /// - Parameters:
  ///   - file: vault.json, which records what the directory was.
  ///   - makesMissing: whether a home that does not exist is made.
  /// - Returns: what was moved; nil when there was nothing to do.
  static func prepare(
    _ file: inout VaultFile, of account: Account, in vault: borrowing Directory, layout: Layout,
    makesMissing: Bool = true
  ) throws -> MovedHome? {
    guard let path = try file.coveredHome(of: account) else { return nil }
    let group = account.group
    let home = try PasswdHome(path, layout)
    if try makesMissing && home.parent.makeDirectory(home.name, mode: emptyMode) {
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
    let moved = try vault.directory(place)
    _ = moved.forEachFile { _, file in if !file.isDirectory { count += 1 } }
    // Now that no process can enter it any more.
    return MovedHome(count: count, place: vault.path(of: place), users: try users(of: moved))
  }

  /// The directories in a vault's that hold files from before, which processes use still.
  static func usersOfBefore(in vault: borrowing Directory) throws -> [String] {
    var found: [String] = []
    for name in try vault.names() where isBefore(name) {
      guard try vault.status(of: name)?.isDirectory == true else { continue }
      found += try users(of: vault.directory(name))
    }
    return found
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
      try DaemonStoreKernel.check(
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
      if name.bytes.count == 6, let file, let (path, attributes) = try former(file),
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

  /// Where what was there before belongs, with its owner and mode. The file is not sealed there: the
  /// place must be the home of the vault's account, and the owner that account or root. nil else.
  private static func former(_ file: VaultFile) throws -> (FilePath, HomeAttributes)? {
    guard let own = file.identity?.account, let before = file.before,
      let account = try Account.named(own.name),
      let path = (try? file.coveredHome(of: account)) ?? nil,
      [0, account.user].contains(before.owner.user)
    else { return nil }
    let others: mode_t = before.owner.group == account.group ? 0o002 : 0o022
    return (path, HomeAttributes(owner: before.owner, mode: before.mode & 0o3777 & ~others))
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
      linux_exchange(
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
