import DaemonStoreKernel

extension Mount {
  /// Whether this can be what belongs at its place, one of those where a user's vault is shown: it
  /// may be a directory of the same name that another program has mounted there.
  package func mayShow(vaultOf user: ObfuscatedUsername, in layout: Layout) -> Bool {
    ShownPart(self, of: user, in: layout) != nil
  }
}

/// A mount at one of a user's places whose root has the name that belongs there.
struct ShownPart {
  let mount: Mount
  /// The directory that holds the root as a vault does, by its path in the file system.
  let vault: FilePath

  init?(_ mount: Mount, of user: ObfuscatedUsername, in layout: Layout) {
    guard let place = UserPlace(mount.target, of: user, in: layout),
      let vault = place.vaultRoot(of: mount)
    else { return nil }
    self.mount = mount
    self.vault = vault
  }

  func isOf(_ part: VaultPart) -> Bool {
    part.mountDevice == mount.device && part.root == vault
  }

  /// Whether it shows another part of the same directory.
  func isBeside(_ other: ShownPart) -> Bool {
    mount.device == other.mount.device && vault == other.vault
      && mount.target != other.mount.target
  }

  /// Whether the directory is where vaults are: `…/H/mount`, or the root of one's own file system.
  func isConventional(for user: ObfuscatedUsername) -> Bool {
    vault.isEmpty || vault == "/mount"
      || vault.dropping(suffix: "/\(user.description)/mount") != nil
  }
}

/// A place where a part of the user's vault is shown.
private enum UserPlace {
  case home(FilePath)
  case folder(StoreName, StoreTree)

  init?(_ target: FilePath, of user: ObfuscatedUsername, in layout: Layout) {
    guard let parent = target.dropping(suffix: "/\(user.description)") else { return nil }
    for place: FilePath in ["user", "root"] where parent == layout.below("home/\(place)") {
      self = .home(place)
      return
    }
    for tree in StoreTree.allCases {
      let name = parent.dropping(prefix: "\(layout.directory(of: tree))/")
      guard let store = name.flatMap({ StoreName($0.bytes) }) else { continue }
      self = .folder(store, tree)
      return
    }
    return nil
  }

  /// The directory below which everything is the user's, if `mount` is of a vault: nil when its
  /// root is not called as the part is that belongs here.
  func vaultRoot(of mount: Mount) -> FilePath? {
    let suffix: FilePath =
      switch self {
      case .home(let name): "/\(name)"
      case .folder(let store, .data): "/root/\(store.description)"
      case .folder(let store, .cache): "/root/.cache/\(store.description)"
      }
    return withoutDeletion(mount.root).dropping(suffix: suffix)
  }
}

/// The root of a mount as it was before it was removed.
func withoutDeletion(_ root: FilePath) -> FilePath {
  root.dropping(suffix: "//deleted") ?? root
}

/// Whether a component of `path` is the user's.
func names(_ user: ObfuscatedUsername, in path: FilePath) -> Bool {
  path.bytes.split(separator: UInt8(ascii: "/")).contains {
    $0.elementsEqual(user.description.utf8)
  }
}
