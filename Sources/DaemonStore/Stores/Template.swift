import Glibc
import DaemonStoreKernel

/// What `/etc/daemon-store/D` says of a store: nothing but its name, owner, group and mode.
package struct Template: Equatable, Sendable {
  package let name: StoreName
  package let owner: uid_t
  package let group: gid_t
  /// The low twelve bits: set-id and sticky bits too.
  package let permissions: mode_t

  package init(name: StoreName, owner: uid_t, group: gid_t, permissions: mode_t) {
    self.name = name
    self.owner = owner
    self.group = group
    self.permissions = permissions
  }

  /// Why a template must not have this mode; nil when it may.
  static func rejection(of permissions: mode_t) -> String? {
    permissions & 0o002 == 0
      ? nil : "can be written by everybody (mode \(octal(permissions))); chmod o-w it"
  }
}

/// The templates of a system, read in one go.
package struct Templates: Equatable, Sendable {
  /// In the order of their names.
  package let valid: [Template]
  package let rejected: [Refusal]
  /// Whether `/etc/daemon-store` is absent: a system without stores.
  package let isMissing: Bool
  /// Whether nobody knows which templates there are. No store is taken for one without then.
  package let isUnknown: Bool
  /// The store names of the rejected: their stores are left as they are.
  let rejectedNames: Set<StoreName>

  init(
    valid: [Template], rejected: [Refusal] = [], isMissing: Bool = false,
    isUnknown: Bool = false, rejectedNames: Set<StoreName> = []
  ) {
    self.valid = valid
    self.rejected = rejected
    self.isMissing = isMissing
    self.isUnknown = isUnknown
    self.rejectedNames = rejectedNames
  }

  /// Reads the templates of `layout`. A template is a real directory with a valid name that nobody
  /// but its owner and group can write, reached through directories that only root can write. A name
  /// that begins with a dot is hidden, and nothing is made or said of it.
  ///
  /// - Throws: ``SystemError`` when the directory is there and cannot be read.
  package static func read(_ layout: Layout) throws -> Templates {
    let directory: Directory
    do {
      directory = try Directory(opening: layout.root).trusted("etc/daemon-store")
    } catch let error as SystemError where error.code == ENOENT {
      return Templates(valid: [], isMissing: true)
    } catch let error as Refusal {
      // Whoever can write it could have put any template there, so none is used.
      return Templates(valid: [], rejected: [error], isUnknown: true)
    }

    var valid: [Template] = []
    var rejected: [Refusal] = []
    var rejectedNames: Set<StoreName> = []
    for entry in try directory.names() where entry.bytes.first != UInt8(ascii: ".") {
      switch try judge(entry, in: directory) {
      case .success(let template): valid.append(template)
      case .failure(let rejection):
        rejected.append(rejection)
        if let name = StoreName(entry) { rejectedNames.insert(name) }
      }
    }
    return Templates(valid: valid, rejected: rejected, rejectedNames: rejectedNames)
  }

  /// Whether the store of that name is to be left as it is.
  func leaves(_ store: StoreName) -> Bool {
    rejectedNames.contains(store) || isUnknown && !valid.contains { $0.name == store }
  }

  private static func judge(
    _ entry: FilePath, in directory: borrowing Directory
  ) throws(SystemError) -> Result<Template, Refusal> {
    let path = directory.path(of: entry)
    func reject(_ reason: String, fix: String? = nil) -> Result<Template, Refusal> {
      .failure(Refusal(path: path, reason: reason, fix: fix.map { "\($0) \(shellWord(path))" }))
    }
    guard let name = StoreName(entry) else {
      return reject(
        "is not a store name: it begins with a letter or digit and goes on with those and . _ -")
    }
    guard let status = try directory.status(of: entry) else {
      return reject("went away while it was read; run this again")
    }
    guard status.isDirectory else {
      return reject("is \(status.kind), not a directory", fix: "rm")
    }
    if let reason = Template.rejection(of: status.permissions) {
      return reject(reason, fix: "chmod o-w")
    }
    return .success(
      Template(
        name: name, owner: status.owner, group: status.group, permissions: status.permissions))
  }
}
