import Glibc
import DaemonStoreKernel

/// The two places that each store has.
package enum StoreTree: String, CaseIterable, Sendable {
  /// `/run/daemon-store`, from `…/mount/root/D`.
  case data
  /// `/run/daemon-store-cache`, from `…/mount/root/.cache/D`: what may be lost.
  case cache

  /// Below `/run`.
  var name: FilePath {
    switch self {
    case .data: "daemon-store"
    case .cache: "daemon-store-cache"
    }
  }
}

/// Where everything is, below the root of the system or of an image of one.
package struct Layout: Equatable, Sendable {
  /// Absolute and without a symbolic link: `/`, or the directory of an image.
  package let root: FilePath

  /// The layout of the running system.
  package static let system = Layout(root: "/")

  package init(root: FilePath) { self.root = root }

  package var templates: FilePath { below("etc/daemon-store") }
  package var shadow: FilePath { below("home/.shadow") }
  /// Runtime state of `cryptohome`: locks, one a user.
  package var state: FilePath { below("run/cryptohome") }

  package func directory(of tree: StoreTree) -> FilePath { below("run/\(tree.name)") }

  package func path(of store: StoreName, in tree: StoreTree) -> FilePath {
    "\(directory(of: tree))/\(store)"
  }

  package func path(
    of user: ObfuscatedUsername, in store: StoreName, _ tree: StoreTree
  ) -> FilePath {
    "\(path(of: store, in: tree))/\(user)"
  }

  package func below(_ path: FilePath) -> FilePath { root.appending(path) }
}

extension Layout {
  /// The directories of both trees of stores.
  static let storeDirectories: [FilePath] = StoreTree.allCases.map { "run/\($0.name)" }

  /// Those of the directories that other users than root can change, each once, with the way out.
  package func distrusted(_ paths: [FilePath]) -> [Refusal] {
    var found: [Refusal] = []
    for path in paths {
      do {
        _ = try Directory(opening: root).trusted(path)
      } catch let refusal as Refusal {
        if !found.contains(refusal) { found.append(refusal) }
      } catch let error as SystemError {
        if [ENOENT, ENOTDIR].contains(error.code) { continue }  // nothing is reached through it
        found.append(Refusal(path: below(path), reason: "cannot be looked at: \(error)"))
      } catch {
        found.append(Refusal(path: below(path), reason: "cannot be looked at: \(error)"))
      }
    }
    return found
  }

  /// The same for those of the stores.
  package func distrustedStores() -> [Refusal] { distrusted(Self.storeDirectories) }
}

extension Directory {
  /// Opens `path` component by component from here, requiring that nobody but root can put
  /// anything there: each component a directory of root's that only root can write.
  ///
  /// - Throws: ``Refusal``, or a ``SystemError`` of `ENOENT` when it is absent.
  package func trusted(_ path: FilePath) throws -> Directory {
    try requireTrust()
    let parts = path.bytes.split(separator: UInt8(ascii: "/"), maxSplits: 1)
    guard let first = parts.first else { return try directory(".") }
    let child = try trustedChild(FilePath(truncating: first))
    return parts.count == 1 ? child : try child.trusted(FilePath(truncating: parts[1]))
  }

  private func trustedChild(_ name: FilePath) throws -> Directory {
    if let status = try status(of: name), !status.isDirectory {
      throw Refusal(
        path: self.path(of: name), reason: "is \(status.kind), not a directory",
        fix: "rm \(shellWord(self.path(of: name)))")
    }
    let child = try directory(name)
    try child.requireTrust()
    return child
  }

  private func requireTrust() throws {
    let status = try status()
    guard status.owner == 0 else {
      throw Refusal(
        path: path, reason: "belongs to user \(status.owner), not to root; chown it",
        fix: "chown root \(shellWord(path))")
    }
    guard status.permissions & 0o022 == 0 else {
      throw Refusal(
        path: path,
        reason: "can be written by others than root (mode \(octal(status.permissions))); "
          + "chmod go-w it", fix: "chmod go-w \(shellWord(path))")
    }
  }
}

/// As chmod(1) writes a mode: `0751`.
package func octal(_ mode: mode_t) -> String {
  let digits = String(mode, radix: 8)
  return "0" + String(repeating: "0", count: max(0, 3 - digits.count)) + digits
}
