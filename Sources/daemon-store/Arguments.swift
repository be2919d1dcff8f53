import DaemonStoreBus
import Cryptohome
import DaemonStore
import DaemonStoreKernel
import DaemonStoreProgram

/// The name of a store, as it is typed.
func storeName(_ text: String) throws(Failure) -> StoreName {
  guard let name = StoreName(text) else {
    throw Failure("the name of a store is letters, digits, and after the first also . _ and -")
  }
  return name
}

/// The user that is meant: a hash, or a name and the salt of the system. Where that cannot be read,
/// the service on the bus is asked.
func user(_ text: String, of store: StoreName) throws -> ObfuscatedUsername {
  let username = try Username("\(text)")
  do {
    return try username.resolve(in: .system)
  } catch {
    if let user = try? hash(of: username.path, in: store) { return user }
    throw Failure("\(error); cryptohomed is not on the bus either: give the 40-digit hash")
  }
}

/// What cryptohomed calls a user: the last component of the path of the folder.
private func hash(of name: FilePath, in store: StoreName) throws -> ObfuscatedUsername? {
  let service = "org.daemonstore.Manager1"
  let bus = try Connection()
  let reply = try bus.call(
    RemoteMethod(service, "/org/daemonstore/Manager1", service, "GetStore"), timeout: .seconds(5)
  ) { message throws(SystemError) in
    try message.append(store.description)
    try message.append(name.description)
  }
  return try reply.string().utf8.split(separator: UInt8(ascii: "/")).last
    .flatMap { ObfuscatedUsername($0) }
}

/// A mount namespace in JSON.
struct NamespaceOutput: Encodable {
  /// The first process that was found in it; without one, a file keeps it.
  let pid: Int32?
  let program: String?
  let unit: String?
  let file: String?

  init(_ keeper: MountNamespace.Keeper) {
    if case .process(let process) = keeper {
      pid = process.pid
      program = process.program
      unit = process.unit
      file = nil
    } else {
      pid = nil
      program = nil
      unit = nil
      file = keeper.description
    }
  }

  /// The unit, else the program, with the process: `notes.service (pid 12)`.
  var shown: String {
    guard let pid, let name = unit ?? program else { return file ?? "" }
    return "\(name) (pid \(pid))"
  }
}

extension Template {
  /// `notes:notes 0700`.
  var shown: String { "\(ownerName):\(groupName) \(octal(permissions))" }
}
