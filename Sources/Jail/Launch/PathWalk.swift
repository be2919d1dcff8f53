import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// Looks a path up one component at a time, each from the descriptor of the one before it. What is
/// missing can be made on the way, and links of other users are noticed.
///
/// No component that is looked up contains a slash, and a link is replaced by its text. With a jail's
/// root as the base, `..` goes back to the descriptor that the walk came from: the walk never leaves
/// that root, whatever is renamed meanwhile.
struct PathWalk {
  /// What a mount point that is missing is made as.
  struct Missing {
    let isDirectory: Bool
    let owner: uid_t
    let group: gid_t
  }

  /// A symbolic link that another user than root and the caller made.
  struct ForeignLink: Equatable {
    let path: FilePath
    let owner: uid_t
  }

  private enum Base { case newRoot, processRoot }

  private let base: Base
  /// For messages.
  private let shown: FilePath
  private let missing: Missing?
  /// The users whose links are followed without a word.
  private let trusted: Set<uid_t>
  /// Whether a link of another user ends the walk.
  private var refusesForeignLinks = false
  /// The way from the root to where the walk is, all directories.
  private var way: [(name: FilePath, place: SharedDescriptor)]
  /// The components to go, the next one last.
  private var rest: [FilePath] = []
  private(set) var foreignLink: ForeignLink?

  /// As in the kernel, path_resolution(7).
  private static let linkLimit = 40

  /// A walk in a jail's root.
  init(in root: SharedDescriptor, shown: FilePath, making missing: Missing?) {
    self.init(.newRoot, root, shown, missing, [])
  }

  /// A walk from the root of this process, for an absolute path, or from its working directory.
  ///
  /// - Parameters:
  ///   - trusted: the users, besides root and the caller, whose links are not noticed.
  ///   - refusing: whether a link of another user is an error.
  init(
    from path: FilePath, making missing: Missing? = nil, trusting trusted: Set<uid_t> = [],
    refusing: Bool = false
  ) throws(SystemError) {
    let start = SharedDescriptor(
      try Descriptor(
        followingLinks: (path.isAbsolute ? "/" : ".") as FilePath, flags: LINUX_O_PATH | O_DIRECTORY
      ))
    self.init(.processRoot, start, path, missing, trusted.union([0, geteuid()]))
    refusesForeignLinks = refusing
  }

  private init(
    _ base: Base, _ start: SharedDescriptor, _ shown: FilePath, _ missing: Missing?,
    _ trusted: Set<uid_t>
  ) {
    self.trusted = trusted
    self.base = base
    self.shown = shown
    self.missing = missing
    way = [("/", start)]
  }

  /// Opens `path`, `O_PATH`.
  mutating func open(_ path: FilePath) throws(SystemError) -> SharedDescriptor {
    guard !path.isEmpty else { throw error(ENOENT) }
    // A final slash asks for a directory, as `.` does; a mount point is what is mounted on it.
    let asksForDirectory =
      base == .processRoot && missing == nil && path.bytes.last == UInt8(ascii: "/")
    rest = (path.components + (asksForDirectory ? ["."] : [])).reversed()
    var links = 0
    while let name = rest.popLast() {
      if name == "." { continue }
      if name == ".." {
        try goUp()
        continue
      }
      let found = try look(for: name)
      guard let text = try followed(found, name) else { continue }
      links += 1
      guard links <= Self.linkLimit else { throw error(ELOOP) }
      if text.isAbsolute { way = [try root()] }
      rest += text.components.reversed()
    }
    return way[way.count - 1].place
  }

  private func error(_ code: CInt, _ operation: String = "open") -> SystemError {
    SystemError(operation: operation, path: shown, code: code)
  }

  private func root() throws(SystemError) -> (name: FilePath, place: SharedDescriptor) {
    if base == .newRoot { return way[0] }
    return (
      "/",
      SharedDescriptor(
        try Descriptor(followingLinks: "/" as FilePath, flags: LINUX_O_PATH | O_DIRECTORY))
    )
  }

  private mutating func goUp() throws(SystemError) {
    switch base {
    case .newRoot: if way.count > 1 { way.removeLast() }
    case .processRoot:
      let above = try entry("..", LINUX_O_PATH | O_DIRECTORY)
      if way.count > 1 { way.removeLast() }
      way[way.count - 1].place = SharedDescriptor(above)
    }
  }

  private func entry(_ name: FilePath, _ flags: CInt) throws(SystemError) -> Descriptor {
    try Descriptor(
      entry: name, of: way[way.count - 1].place.descriptor, flags: flags, shown: shown)
  }

  /// The entry itself; made where it is missing and may be. A directory unless it is the last.
  private mutating func look(for name: FilePath) throws(SystemError) -> SharedDescriptor {
    // Each turn finds it, makes it, or finds that another process has just made or removed it.
    for _ in 0..<64 {
      do throws(SystemError) { return SharedDescriptor(try entry(name, LINUX_O_PATH)) } catch {
        guard error.code == ENOENT, let missing else { throw error }
        if let made = try make(name, missing) { return made }
      }
    }
    throw error(ENOENT)
  }

  /// Directories on the way 0755, the last one a directory 0755 or an empty file 0700 of the given
  /// owner. nil for a directory, which is looked up next, and where something has the name already.
  private func make(_ name: FilePath, _ missing: Missing) throws(SystemError) -> SharedDescriptor? {
    let parent = way[way.count - 1].place
    let isLast = rest.isEmpty
    do throws(SystemError) {
      guard isLast, !missing.isDirectory else {
        let make = { () throws(SystemError) -> Void in
          try check(
            "mkdir", shown,
            mkdirat(parent.descriptor.number, name.cString, 0o755))
        }
        // mkdir(2) gives no descriptor, so the directory is its owner's from the start.
        if isLast {
          try Credentials.makingFiles(as: missing.owner, missing.group, make)
        } else {
          try make()
        }
        return nil
      }
      let file = SharedDescriptor(
        try Descriptor(
          entry: name, of: parent.descriptor, flags: O_CREAT | O_EXCL | O_RDONLY, mode: 0o700,
          shown: shown))
      try check(
        "chown", shown,
        fchown(file.descriptor.number, missing.owner, missing.group))
      return file
    } catch {
      guard error.code == EEXIST else {
        throw SystemError(
          operation: error.operation == "open" ? "create" : error.operation, path: error.path,
          code: error.code)
      }
      return nil
    }
  }

  /// Goes to what was found; for a symbolic link the text that it is replaced by.
  private mutating func followed(
    _ found: SharedDescriptor, _ name: FilePath
  ) throws(SystemError) -> FilePath? {
    let status = try found.descriptor.status(shown: shown)
    guard status.mode & S_IFMT == S_IFLNK else {
      guard status.isDirectory || rest.isEmpty else { throw error(ENOTDIR) }
      way.append((name, found))
      return nil
    }
    if base == .processRoot, !trusted.contains(status.owner), foreignLink == nil {
      let link = ForeignLink(path: path(to: name), owner: status.owner)
      guard !refusesForeignLinks else {
        throw SystemError(
          operation: "--strict: follow a symbolic link of user \(link.owner),",
          path: link.path, code: EPERM)
      }
      foreignLink = link
    }
    if try found.descriptor.isOnProc() {
      // A magic link is no text: only the kernel follows it, and never in a jail's root.
      guard base == .processRoot else { throw error(ELOOP) }
      way.append(
        (
          name,
          SharedDescriptor(
            try Descriptor(
              following: name, in: way[way.count - 1].place.descriptor, shown: shown))
        ))
      let isDirectory = try way[way.count - 1].place.descriptor.status().isDirectory
      guard isDirectory || rest.isEmpty else { throw error(ENOTDIR) }
      return nil
    }
    let text = try found.descriptor.linkText(shown: shown)
    guard !text.isEmpty else { throw error(ENOENT) }
    return text
  }

  /// Where the walk is, for messages.
  private func path(to name: FilePath) -> FilePath {
    let start: FilePath = shown.isAbsolute || base == .newRoot ? "/" : "."
    return way.dropFirst().reduce(start) { $0.appending($1.name) }.appending(name)
  }
}
