import Accounts
import Bus
import Cryptohome
import DaemonStore
import Glibc
import Kernel

/// Who has sent a call, as the bus daemon has it from the kernel: nothing of it is the caller's word.
struct Caller {
  let user: uid_t
  /// When it connected, the effective one among them.
  let groups: [UInt32]

  static let group = "cryptohome"

  var isRoot: Bool { user == 0 }

  /// - Parameter what: `unmount every user`.
  func requireRoot(_ what: String) throws {
    guard isRoot else { throw BusError.accessDenied("only root may \(what)") }
  }

  /// Root may mount and unmount everybody, a member of the group `cryptohome` its own account.
  func requirePower(over user: ObfuscatedUsername, _ layout: Layout) throws {
    if isRoot { return }
    guard let group = try Group.named(Self.group), groups.contains(group) else {
      throw BusError.accessDenied(
        "only root and the members of the group \(Self.group) may mount and unmount users; add "
          + "the caller to it, and log in again")
    }
    guard let name = try Account.named(self.user),
      try ObfuscatedUsername(of: name, salt: .read(layout)) == user
    else {
      throw BusError.accessDenied(
        "a member of the group \(Self.group) may mount and unmount only itself")
    }
  }
}

extension Service {
  /// Asks the bus who has sent `call`. What `body` throws is the answer.
  func withCaller(of call: MethodCall, _ body: @escaping (Caller) throws -> Void) throws {
    let sender = call.message.sender
    try bus.call(.ofBus("GetConnectionCredentials")) { message throws(SystemError) in
      try message.append(sender)
    } then: { reply in
      do {
        if let error = reply.error { throw error }
        let answer = try reply.options()
        guard case .unsigned(let user)? = answer["UnixUserID"], let user = uid_t(exactly: user)
        else { throw BusError.accessDenied("the bus does not say whose call this is") }
        var groups: [UInt32] = []
        if case .unsigneds(let known)? = answer["UnixGroupIDs"] { groups = known }
        try body(Caller(user: user, groups: groups))
      } catch {
        call.fail(error)
      }
    }
  }
}
