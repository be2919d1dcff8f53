import Accounts
import DaemonStore
import Glibc
import Kernel

/// The home directory of a user's passwd entry, over which `mount/user` is shown if the vault says
/// so. What lies below stays there, out of sight, until logout.
struct PasswdHome: ~Copyable {
  /// The directory above it: nobody but root can put anything there.
  let parent: Directory
  let name: String

  init(_ path: String, _ layout: Layout) throws {
    guard let (above, name) = Self.components(of: path) else {
      throw Refusal(path: path, reason: "is no place that a home can be mounted on")
    }
    parent = try Directory(opening: layout.root).trusted(above)
    self.name = name
  }

  /// Gives up the name.
  consuming func opened() -> Directory { parent }

  /// The path of the entry's, checked: it is not one of the places where vaults are kept and shown.
  static func path(of name: String, _ account: Account?) throws -> String {
    guard let path = account?.home else {
      throw Refusal(path: name, reason: "has no passwd entry, so no home directory to be covered")
    }
    let ours = ["home/.shadow", "home/user", "home/root"]
    guard let (parent, own) = components(of: path),
      !ours.contains(where: { "\(parent)/\(own)/".utf8.starts(with: "\($0)/".utf8) })
    else {
      throw Refusal(
        path: path,
        reason: "is the home directory of \(name), and no place that a home can be mounted on")
    }
    return path
  }

  /// Unmounts the user's files from it, if they are there; the directory stays.
  static func remove(
    _ path: String, _ layout: Layout, lazily: Bool, isOurs: (FileStatus) -> Bool
  ) -> Removal? {
    do {
      let home = try PasswdHome(path, layout)
      guard let status = try home.parent.status(of: home.name), isOurs(status) else { return nil }
      return home.parent.clear(home.name, lazily: lazily, isOurs: isOurs)
    } catch let error as SystemError where error.code == ENOENT {
      return nil
    } catch {
      return Removal(path: path, heldBy: error)
    }
  }

  /// Below the root and at least two names deep, without `.` and `..`.
  private static func components(of path: String) -> (parent: String, name: String)? {
    let slash = UInt8(ascii: "/")
    let isTrailing = path.utf8.count > 1 && path.utf8.last == slash
    let names = (isTrailing ? path.utf8.dropLast() : path.utf8[...])
      .split(separator: slash, omittingEmptySubsequences: false).dropFirst()
      .map { String(Substring($0)) }
    guard path.utf8.first == slash, names.count >= 2,
      !names.contains(where: { ["", ".", ".."].contains($0) }), let last = names.last
    else { return nil }
    return (names.dropLast().joined(separator: "/"), last)
  }
}
