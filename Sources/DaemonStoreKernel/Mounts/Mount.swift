/// One mount, from a line of mountinfo (``MountTable``) or from statmount(2) (``MountListing``).
package struct Mount: Equatable, Sendable {
  /// Unique among the mounts of this moment, in all namespaces; used again later.
  package var id: UInt64
  package var parent: UInt64
  /// Of the file system, as makedev(3) joins `major:minor`. On btrfs not what `st_dev` says.
  package var device: UInt64
  /// The directory of the file system that is the root of this mount.
  package var root: FilePath
  /// Where it is mounted, as seen from the root of the process that was asked.
  package var target: FilePath
  /// Of this mount, not of its file system.
  package var attributes: MountAttributes
  package var fileSystem: FilePath
  /// What was mounted, in the file system's own words: `/dev/sda1`, `tmpfs`; `none` where the kernel has
  /// nothing.
  package var source: FilePath
  /// The peer group, of a shared mount.
  package var peerGroup: Int?
  /// The peer group that it receives from, of a slave.
  package var master: Int?
  package var isUnbindable: Bool
  /// Of an overlay: the directories that it is made of, as they were given when it was mounted.
  package var layers: [FilePath]
  /// Of FUSE: the user whose server it is.
  package var server: UInt32?

  package init(
    id: UInt64, parent: UInt64, device: UInt64 = 0, root: FilePath, target: FilePath,
    attributes: MountAttributes = [], fileSystem: FilePath = "tmpfs", source: FilePath = "tmpfs",
    peerGroup: Int? = nil, master: Int? = nil, isUnbindable: Bool = false,
    layers: [FilePath] = [], server: UInt32? = nil
  ) {
    self.id = id
    self.parent = parent
    self.device = device
    self.root = root
    self.target = target
    self.attributes = attributes
    self.fileSystem = fileSystem
    self.source = source
    self.peerGroup = peerGroup
    self.master = master
    self.isUnbindable = isUnbindable
    self.layers = layers
    self.server = server
  }

  /// The same with what depends on the type of the file system.
  ///
  /// - Parameter options: of the file system, with commas between them.
  init(
    id: UInt64, parent: UInt64, device: UInt64, root: FilePath, target: FilePath,
    attributes: MountAttributes, fileSystem: FilePath, source: FilePath, peerGroup: Int?,
    master: Int?, isUnbindable: Bool, options: () -> [UInt8]
  ) {
    let isServed = fileSystem.dropping(prefix: "fuse") != nil
    self.init(
      id: id, parent: parent, device: device, root: root, target: target, attributes: attributes,
      fileSystem: fileSystem, source: source.isEmpty ? "none" : source, peerGroup: peerGroup,
      master: master, isUnbindable: isUnbindable,
      layers: fileSystem == "overlay" ? overlayLayers(options()) : [],
      server: isServed ? Self.server(options()) : nil)
  }

  /// `user_id=1000` of FUSE, which the kernel writes itself.
  private static func server(_ options: [UInt8]) -> UInt32? {
    let label: StaticString = "user_id="
    return options.split(separator: UInt8(ascii: ",")).first { $0.begins(with: label) }
      .flatMap { $0.dropFirst(label.utf8CodeUnitCount).number() }
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
