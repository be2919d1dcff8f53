import ArgumentParser
import Cryptohome
import DaemonStore
import Kernel
import Program

extension StoreName: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}

/// The user that is meant: a hash, or a name and the salt, which a jail may not have.
func user(_ text: String) throws -> ObfuscatedUsername {
  switch try Username(text) {
  case .hash(let user): return user
  case .name(let name):
    do {
      return try ObfuscatedUsername(of: name, salt: .read(.system))
    } catch {
      throw Failure("\(error); where there is no salt, give the user's 40-digit hash")
    }
  }
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
