import DaemonStoreKernel

/// One mount, as a line of mountinfo gives it: proc_pid_mountinfo(5).
package struct Mount: Equatable, Sendable {
  /// Unique among the mounts of this moment, in all namespaces; used again later.
  package let id: Int
  package let parent: Int
  /// `major:minor` of the file system. On btrfs not what `st_dev` says.
  package let device: UInt64
  /// The directory of the file system that is the root of this mount.
  package let root: FilePath
  /// Where it is mounted, as seen from the root of the process that was asked.
  package let target: FilePath
  /// Of this mount (`ro`, `nosuid`, …), not those of its file system.
  package let options: Set<FilePath>
  package let fileSystem: FilePath
  /// What was mounted, in the file system's own words: `/dev/sda1`, `tmpfs`.
  package let source: FilePath
  /// The peer group, of a shared mount.
  package let peerGroup: Int?
  /// The peer group that it receives from, of a slave.
  package let master: Int?
  /// Of an overlay: the directories that it is made of, as they were given when it was mounted.
  package let layers: [FilePath]
  /// Of FUSE: the user whose server it is.
  package let server: UInt32?

  package init(
    id: Int, parent: Int, device: UInt64 = 0, root: FilePath, target: FilePath,
    options: Set<FilePath> = [], fileSystem: FilePath = "tmpfs",
    source: FilePath = "tmpfs",
    peerGroup: Int? = nil, master: Int? = nil, layers: [FilePath] = [], server: UInt32? = nil
  ) {
    self.id = id
    self.parent = parent
    self.device = device
    self.root = root
    self.target = target
    self.options = options
    self.fileSystem = fileSystem
    self.source = source
    self.peerGroup = peerGroup
    self.master = master
    self.layers = layers
    self.server = server
  }

  /// How it takes part in propagation, in the words of mount_namespaces(7).
  package var propagation: String {
    switch (peerGroup, master) {
    case (nil, nil): "private"
    case (let peers?, nil): "shared:\(peers)"
    case (nil, let master?): "slave of \(master)"
    case (let peers?, let master?): "shared:\(peers), slave of \(master)"
    }
  }
}

/// Whether `path` is `directory` or lies below it, component by component. An empty directory is the
/// beginning of every absolute path.
package func isPath(_ path: FilePath, atOrBelow directory: FilePath) -> Bool {
  if directory == "/" { return path.isAbsolute }
  guard let rest = path.dropping(prefix: directory) else { return false }
  return rest.isEmpty || rest.isAbsolute
}
