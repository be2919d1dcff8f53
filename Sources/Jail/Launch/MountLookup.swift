import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// Finding what is mounted, and where: with a word, or with `--strict` a refusal, where another user
/// decides about that by a symbolic link.
extension JailBuilder {
  /// Root's ids and the caller's are known to a user namespace, and all others look alike.
  private var trustedLinkOwners: Set<uid_t> {
    context.isInUserNamespace ? [65534] : []
  }

  /// What the source of a mount leads to.
  func place(ofSource mount: JailMount) throws(SystemError) -> SharedDescriptor {
    do throws(SystemError) {
      return SharedDescriptor(try Descriptor(withoutLinks: mount.source))
    } catch {
      guard error.code == ELOOP else { throw error }
    }
    var walk = try PathWalk(
      from: mount.source, trusting: trustedLinkOwners, refusing: context.isStrict)
    let place = try walk.open(mount.source)
    warn(of: walk.foreignLink, on: "source", of: mount)
    return place
  }

  /// Where a mount goes. In a new root no link leads out, and in this process's own one may.
  func destination(
    _ target: FilePath, in root: SharedDescriptor, _ newRoot: FilePath?,
    making missing: PathWalk.Missing? = nil,
    for mount: JailMount
  ) throws(SystemError) -> Destination {
    let place = try Destination(
      target, in: root, newRoot: newRoot, making: missing, trusting: trustedLinkOwners,
      refusing: context.isStrict)
    warn(of: place.foreignLink, on: "target", of: mount)
    return place
  }

  private func warn(of link: PathWalk.ForeignLink?, on side: String, of mount: JailMount) {
    guard let link else { return }
    log.warning(
      "\(mount.description): the \(side) leads through the symbolic link \(link.path) of user "
        + "\(link.owner), who can point it at any file; name the file that is meant")
  }

  /// Why a source may be missing in spite of appearances.
  func hint(forMissing mount: JailMount) -> String {
    guard context.root == .none else { return "" }
    let hiding = context.mounts.prefix { $0 != mount }.last {
      !$0.isBind && !$0.isChange && mount.source.isEqualOrBelow($0.target)
    }
    guard let hiding else { return "" }
    let words = mount.source.components
    let isStore = words.count == 3 && mount.source.isEqualOrBelow("/run/daemon-store")
    return "; the new file system on \(hiding.target) hides it, since there is no new root: use -P "
      + "or a profile" + (isStore ? ", or --daemon-store \(words[2])" : "")
  }

  /// Shows a new mount on `target`, in place of what is mounted there, if that can go: in a user
  /// namespace, or in a directory of devices of a new root, it stays below.
  func replaceMount(
    _ target: FilePath, by mount: SharedDescriptor, newRoot: FilePath?, what: String
  ) throws(JailError) {
    let old = try step(what) { () throws(SystemError) in
      try Destination(
        target, in: try openRoot(), newRoot: newRoot,
        making: .init(isDirectory: true, owner: 0, group: 0))
    }
    let status = try step(what) { () throws(SystemError) in
      try old.descriptor.status(shown: old.shown)
    }
    let goes =
      status.isMountRoot && !context.isInUserNamespace
      && (newRoot == nil || target == "/proc")
    try refuseIfShared(status.mountID, itself: !goes, what)
    try step(what) { () throws(SystemError) in
      if goes {
        try changeDirectory(to: old.descriptor, shown: old.shown)
        try unmount(".", lazily: true)
        try returnToWorkingDirectory()
      }
      let place = try Destination(target, in: try openRoot(), newRoot: newRoot)
      try moveMount(mount.descriptor, on: place.descriptor, shown: place.shown)
    }
  }

  /// With `-K`, mounts are as the caller's namespace has them: what is mounted on a shared one, or
  /// taken from it, changes the caller's, too.
  private func refuseIfShared(_ id: UInt64, itself: Bool, _ what: String) throws(JailError) {
    guard context.sharesMounts else { return }
    let table = try MountTable.ofThisThread().mounts
    guard let mount = table.first(where: { $0.id == id }),
      let covered = itself ? mount : table.first(where: { $0.id == mount.parent })
    else { throw JailError("-K without a value: \(what): the mount below it is not in sight") }
    guard covered.peerGroup == nil else {
      throw JailError(JailConfiguration.sharedMountText(covered.target.description))
    }
  }
}
