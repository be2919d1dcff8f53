import DaemonStoreKernel

/// A process, mount or device that keeps part of a user's data in use.
package struct Holder: Hashable, Sendable, CustomStringConvertible {
  package enum Hold: Hashable, Sendable {
    case workingDirectory, root, program
    /// With the file's path, as the process knows it.
    case openFile(FilePath)
    case mapping(FilePath)
    /// A UNIX socket that is bound to a file of this path.
    case socket(FilePath)
    /// A file that was sent to this process, and that it has not received yet.
    case sentFile(FilePath)
    /// The number of descriptors on the way to this process that cannot be inspected.
    case sentUnseen(Int)
    /// This directory is on a mount that no namespace shows, with whatever is mounted in it.
    case detachedTree(FilePath)
    /// A mount namespace that keeps a copy of its own at this path.
    case mountNamespace(FilePath)
    /// A mount namespace that cannot be inspected.
    case closedNamespace
    /// Something is mounted here, at or below a mount of the user's: path and file system.
    case mount(FilePath, FilePath)
    case loopDevice(FilePath)
    /// A file or directory that this process is told about: inotify(7) and fanotify(7).
    case watch(FilePath)
    /// Something that could not be inspected, in words: it may hold anything.
    case uninspected(String)
    /// So many processes may not be looked at, this one among them: they may use anything.
    case hidden(Int, ProcessName)
    /// New processes came faster than they could be looked at.
    case fugitive
    /// The kernel says that it is in use, and no process shows it.
    case unseen
  }

  /// The process or file that keeps it in use; nil where there is no single one.
  package let keeper: MountNamespace.Keeper?
  package let hold: Hold

  package init(keeper: MountNamespace.Keeper?, hold: Hold) {
    self.keeper = keeper
    self.hold = hold
  }

  package var description: String {
    let what =
      switch hold {
      case .workingDirectory: "working directory"
      case .root: "root directory"
      case .program: "running program"
      case .openFile(let path): "open file \(path)"
      case .mapping(let path): "mapped file \(path)"
      case .socket(let path): "socket \(path)"
      case .sentFile(let path): "file \(path), which was sent to it"
      case .detachedTree(let path):
        "perhaps a mount in directory \(path), which no mount namespace shows"
      case .sentUnseen(let count):
        "perhaps \(count == 1 ? "a descriptor" : "some of \(count) descriptors") on the way to it"
      case .mountNamespace(let path): "mount namespace with a copy of its own at \(path)"
      case .closedNamespace: "perhaps a mount namespace that cannot be looked into"
      case .mount(let path, let kind): "\(kind) mounted at \(path)"
      case .loopDevice(let name): "loop device \(name)"
      case .fugitive: "perhaps processes that come and go faster than they can be looked at"
      case .watch(let path): "watch on \(path)"
      case .uninspected(let reason): "cannot inspect \(reason)"
      case .unseen: "something that no process shows"
      case .hidden(let count, let one):
        "perhaps \(count == 1 ? "\(one)" : "one of \(count) processes as \(one)"), which may not be "
          + "looked at without CAP_SYS_PTRACE"
      }
    return keeper.map { "\($0): \(what)" } ?? what
  }
}

extension Holder {
  /// Whether it names no holder, but what could not be inspected.
  package var isUninspected: Bool {
    if case .uninspected = hold { true } else { false }
  }

  /// Whether it says only that something may be there: the kernel's word for an encrypted vault that
  /// no file of it is open disproves it.
  package var isDoubt: Bool {
    switch hold {
    case .sentUnseen, .detachedTree, .uninspected, .hidden, .fugitive, .unseen: true
    default: false
    }
  }
}
