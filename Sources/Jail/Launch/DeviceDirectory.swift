import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// The minimal `/dev` of `-d`: a tmpfs that is built before any path shows it.
final class DeviceDirectory {
  /// A mount whose target lies in the new `/dev`.
  struct Waiting {
    let mount: JailMount
    /// What a bind shows; nil for another file system.
    let clone: SharedDescriptor?
  }

  private let root: SharedDescriptor
  private var waiting: [Waiting] = []

  static let nodes: [(name: String, mode: mode_t, major: UInt32, minor: UInt32)] = [
    ("null", 0o666, 1, 3), ("zero", 0o666, 1, 5), ("full", 0o666, 1, 7),
    ("urandom", 0o444, 1, 9), ("tty", 0o666, 5, 0),
  ]
  static let links = [
    ("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"),
    ("stderr", "fd/2"),
  ]

  /// - Parameter hasTerminal: whether a devpts is going to be mounted in it.
  init(hasTerminal: Bool) throws(JailError) {
    let mask = umask(0)
    defer { umask(mask) }
    var shown: [Waiting] = []
    root = try step("-d: new /dev") { () throws(SystemError) in
      let mount = try DetachedMount(
        newFilesystem: "tmpfs", source: "minijail-devfs",
        options: [("size", "5M"), ("mode", "755")], attributes: [.noSetID, .noExecution])
      let number = mount.root.descriptor.number
      for node in Self.nodes {
        let code = linux_mknod(number, node.name, S_IFCHR | node.mode, node.major, node.minor)
        if code != 0 {
          try check("mknod", "/dev/\(node.name)", errno == EPERM ? 0 : code)
          shown.append(try Self.bind(node.name, in: number))
        }
      }
      for (name, target) in Self.links {
        try check("symlink", "/dev/\(name)", symlinkat(target, number, name))
      }
      try check("mkdir", "/dev/shm", mkdirat(number, "shm", 0o1777))
      if hasTerminal { try check("mkdir", "/dev/pts", mkdirat(number, "pts", 0o755)) }
      return SharedDescriptor(mount.intoDescriptor())
    }
    waiting = shown
  }

  /// In a user namespace nobody makes devices; the host's own are shown instead.
  private static func bind(_ name: String, in directory: CInt) throws(SystemError) -> Waiting {
    let path: FilePath = "/dev/\(name)"
    _ = Descriptor(
      owning: try check(
        "create", "\(path)",
        openat(directory, name, O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0o600)))
    let clone = try DetachedMount(cloning: try Descriptor(followingLinks: path), shown: "\(path)")
    return Waiting(
      mount: JailMount(source: path, target: path, kind: .bind(writable: true)),
      clone: SharedDescriptor(clone.intoDescriptor()))
  }

  func wait(for mount: Waiting) { waiting.append(mount) }

  /// Shows it on `/dev`, and then what goes into it.
  func place(in newRoot: FilePath?, builder: JailBuilder) throws(JailError) {
    try builder.replaceMount(
      "/dev", by: root, newRoot: newRoot, what: "-d: new /dev")
    for entry in waiting {
      let target = FilePath(truncating: entry.mount.target.bytes.dropFirst("/dev".utf8.count))
      try builder.mounting(entry.mount) { () throws(SystemError) in
        if let clone = entry.clone {
          try builder.attach(clone, target, in: root, "/dev", for: entry.mount)
        } else {
          try builder.mountNew(entry.mount, target, in: root, "/dev")
          try builder.returnToWorkingDirectory()
        }
      }
    }
  }
}
