import DaemonStoreAccounts
import DaemonStore
import Glibc
import DaemonStoreKernel

/// The home directory of a user's passwd entry, over which `mount/user` is shown if the vault says
/// so. What lies below stays there, out of sight, until logout.
struct PasswdHome: ~Copyable {
  /// The directory above it: nobody but root can put anything there.
  let parent: Directory
  let name: FilePath

  /// - Parameter isForRemoval: whether it does not matter who else can write the directory above.
  init(_ path: FilePath, _ layout: Layout, isForRemoval: Bool = false) throws {
    guard let (above, name) = Self.components(of: path) else {
      throw Refusal(path: path, reason: "is no place that a home can be mounted on")
    }
    let root = try Directory(opening: layout.root)
    parent = isForRemoval ? try root.directory(above) : try root.trusted(above)
    self.name = name
  }

  /// Completes the replacement that another logout has begun.
  func complete() throws(SystemError) { _ = try renewal().finish() }

  private func renewal() throws(SystemError) -> DirectoryRenewal {
    DirectoryRenewal(in: try parent.directory("."), staging: ".\(name).daemon-store-moving")
  }

  /// Puts another directory in its place, with the same owner, mode, attributes and files: what other
  /// namespaces keep on it is detached.
  static func replace(_ path: FilePath, _ layout: Layout) throws {
    let home = try PasswdHome(path, layout, isForRemoval: true)
    let renewal = try home.renewal()
    try renewal.finish()
    try renewal.renew(home.name)
  }

  /// Gives up the name.
  consuming func opened() -> Directory { parent }

  /// The path of the entry's, checked: it is not one of the places where vaults are kept and shown.
  static func path(of name: FilePath, _ account: Account?) throws(Refusal) -> FilePath {
    guard let path = account?.home else {
      throw Refusal(path: name, reason: "has no passwd entry, so no home directory to be covered")
    }
    guard path.text != nil else {
      throw Refusal(
        path: path,
        reason: "is the home directory of \(name), and not UTF-8, so vault.json cannot name it")
    }
    let ours: [FilePath] = ["home/.shadow", "home/user", "home/root"]
    guard let (parent, own) = components(of: path),
      !ours.contains(where: { parent.appending(own).isEqualOrBelow($0) })
    else {
      throw Refusal(
        path: path,
        reason: "is the home directory of \(name), and no place that a home can be mounted on")
    }
    return path
  }

  /// Unmounts the user's files from it, if they are there; the directory stays.
  static func remove(
    _ path: FilePath, _ layout: Layout, lazily: Bool, isOurs: (FileStatus) -> Bool
  ) -> Removal? {
    do {
      let home = try PasswdHome(path, layout, isForRemoval: true)
      try home.complete()
      guard let status = try home.parent.status(of: home.name), isOurs(status) else { return nil }
      return home.parent.clear(home.name, lazily: lazily, isOurs: isOurs)
    } catch let error as SystemError where error.code == ENOENT {
      return nil
    } catch {
      return Removal(path: path, failed: error)
    }
  }

  /// Below the root and at least two names deep, without `.` and `..`.
  private static func components(of path: FilePath) -> (parent: FilePath, name: FilePath)? {
    let slash = UInt8(ascii: "/")
    var bytes = Array(path.bytes)[...]
    if bytes.count > 1, bytes.last == slash { bytes = bytes.dropLast() }
    let names = bytes.split(separator: slash, omittingEmptySubsequences: false).dropFirst()
      .map { Array($0) }
    let isStrange = names.contains { [[], Array(".".utf8), Array("..".utf8)].contains($0) }
    guard bytes.first == slash, names.count >= 2, !isStrange, let last = names.last else {
      return nil
    }
    let parent = Array(names.dropLast().joined(separator: [slash]))
    return (FilePath(truncating: parent), FilePath(truncating: last))
  }
}
