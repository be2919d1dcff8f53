import Glibc
import DaemonStoreKernel

/// What became of a template that was to be added or removed.
package enum TemplateChange: String, Sendable {
  case added, changed, unchanged, removed, absent
}

extension Templates {
  /// What a change that was killed may leave, and the next one removes. It is hidden.
  static let unfinished: FilePath = ".unfinished"

  /// Makes the template, or gives the one that is there this owner and mode: it is always as it was
  /// or as it is to be, and on the disk when this returns. `/etc/daemon-store` is made if absent.
  ///
  /// - Throws: ``Refusal`` for what ``read(_:)`` would reject, or ``SystemError``.
  package static func add(_ wanted: Template, to layout: Layout) throws -> TemplateChange {
    if let reason = Template.rejection(of: wanted.permissions) {
      throw Refusal(path: "\(layout.templates)/\(wanted.name)", reason: reason)
    }
    let directory = try openDirectory(making: layout)
    return try alone(in: directory) { try put(wanted, in: directory) }
  }

  /// A file that only root can open: any user could lock the directory itself.
  private static let lockFile: FilePath = ".lock"

  private static func alone(
    in directory: borrowing Directory, _ body: () throws -> TemplateChange
  ) throws -> TemplateChange {
    let lock = try FileLock.take(
      lockFile, in: directory, until: .now + LockTimeout.login, for: "changing templates")
    let outcome = Result { try body() }
    lock.remove(lockFile, in: directory)
    return try outcome.get()
  }

  private static func put(
    _ wanted: Template, in directory: borrowing Directory
  ) throws -> TemplateChange {
    let name = wanted.name.path
    try directory.removeDirectory(unfinished)
    let old = try directory.status(of: name)
    if let old {
      guard old.isDirectory else {
        throw Refusal(
          path: directory.path(of: name), reason: "is \(old.kind), not a directory; remove it")
      }
      if old.owner == wanted.owner, old.group == wanted.group,
        old.permissions == wanted.permissions
      {
        return .unchanged
      }
      try requireEmpty(name, in: directory)
    }
    try directory.makeDirectory(unfinished, mode: 0)
    do {
      try directory.directory(unfinished).set(
        owner: wanted.owner, group: wanted.group, mode: wanted.permissions)
      // In one step, also over the old one, which is empty.
      try directory.rename(unfinished, to: name)
    } catch {
      _ = try? directory.removeDirectory(unfinished)  // the first error is the one that counts
      throw error
    }
    try directory.sync()
    return old == nil ? .added : .changed
  }

  /// Removes the template, unless users are mounted in its store.
  package static func remove(_ store: StoreName, from layout: Layout) throws -> TemplateChange {
    let users = try UserFolders.users(of: layout, in: store)
    guard users.isEmpty else {
      throw Refusal(
        path: layout.path(of: store, in: .data),
        reason: "users are mounted in it; run this again when they are logged out: "
          + users.map(\.description).joined(separator: " "))
    }
    guard let directory = try existingDirectory(layout) else { return .absent }
    return try alone(in: directory) { try drop(store, in: directory) }
  }

  private static func drop(
    _ store: StoreName, in directory: borrowing Directory
  ) throws -> TemplateChange {
    let name = store.path
    try directory.removeDirectory(unfinished)
    guard let status = try directory.status(of: name) else { return .absent }
    guard status.isDirectory else {
      throw Refusal(
        path: directory.path(of: name), reason: "is \(status.kind), not a directory; remove it")
    }
    try requireEmpty(name, in: directory)
    try directory.removeDirectory(name)
    try directory.sync()
    return .removed
  }

  private static func existingDirectory(_ layout: Layout) throws -> Directory? {
    do {
      return try Directory(opening: layout.root).trusted("etc/daemon-store")
    } catch let error as SystemError where error.code == ENOENT {
      return nil
    }
  }

  private static func openDirectory(making layout: Layout) throws -> Directory {
    let root = try Directory(opening: layout.root)
    // An image may have neither yet.
    for name: FilePath in ["etc", "etc/daemon-store"]
    where try root.makeDirectory(name) {
      try root.directory(name).set(owner: 0, group: 0, mode: 0o755)
    }
    return try root.trusted("etc/daemon-store")
  }

  /// Only the name, the owner and the mode of a template count, and files in it would be lost.
  private static func requireEmpty(_ name: FilePath, in directory: borrowing Directory) throws {
    let template = try directory.directory(name)
    guard try template.names().isEmpty else {
      throw Refusal(
        path: template.path, reason: "holds files, which a template has no use for; move them away")
    }
  }
}

extension UserFolders {
  /// Who is mounted in one store, in either tree; nobody where no stores are set up.
  package static func users(of layout: Layout, in store: StoreName) throws -> [ObfuscatedUsername] {
    var users: Set<ObfuscatedUsername> = []
    for tree in StoreTree.allCases {
      guard let visible = try Startup.existing(tree, layout),
        try visible.status(of: store.path)?.isDirectory == true
      else { continue }
      let directory = try visible.directory(store.path)
      for user in try directory.names().compactMap({ ObfuscatedUsername($0) })
      where try directory.status(of: user.path)?.isMountRoot == true {
        users.insert(user)
      }
    }
    return users.sorted()
  }
}

extension Startup {
  /// Whether stores are set up: whether the system has booted.
  package static func isDone(_ layout: Layout) throws -> Bool {
    try existing(.data, layout) != nil
  }

  /// Brings one store into line with its template, or takes it down without one, if stores are set
  /// up at all; nil if they are not, and the next boot will do it.
  package static func follow(_ store: StoreName, in layout: Layout) throws -> StartupReport? {
    guard try isDone(layout) else { return nil }
    return try run(layout, templates: .read(layout), only: [store])
  }
}
