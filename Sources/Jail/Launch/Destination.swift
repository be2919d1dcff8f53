import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// Where a mount goes: a path as the program will see it, looked up with the jail's root as the
/// root directory. No component leads out of it, whatever links there are on the way.
struct Destination {
  let place: SharedDescriptor
  /// For messages: the path from outside.
  let shown: FilePath
  /// A link of another user on the way; nil below a new root, which no link leads out of.
  private(set) var foreignLink: PathWalk.ForeignLink?

  var descriptor: Descriptor { _read { yield place.descriptor } }

  /// Opens what exists, or makes it first: directories above it 0755, itself a directory 0755 or an
  /// empty file 0700 of the given owner.
  ///
  /// - Parameters:
  ///   - root: the root of the jail: this process's own, or the new one at `newRoot`.
  ///   - trusted: the users, besides root and the caller, whose links in this process's root are
  ///     not noticed.
  ///   - refusing: whether a link of another user is an error.
  init(
    _ target: FilePath, in root: SharedDescriptor, newRoot: FilePath?,
    making missing: PathWalk.Missing? = nil,
    trusting trusted: Set<uid_t> = [], refusing: Bool = false
  ) throws(SystemError) {
    shown = newRoot.map { "\($0)\(target)" } ?? target
    if let newRoot, newRoot != "/" {
      var walk = PathWalk(in: root, shown: shown, making: missing)
      place = try walk.open(target)
    } else {
      var walk = try PathWalk(from: target, making: missing, trusting: trusted, refusing: refusing)
      place = try walk.open(target)
      foreignLink = walk.foreignLink
    }
  }
}
