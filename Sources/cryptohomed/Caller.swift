import DaemonStoreBus
import Cryptohome
import DaemonStore
import Glibc
import DaemonStoreKernel

/// Who has sent a call, as the bus daemon has it from the kernel: nothing of it is the caller's word.
struct Caller {
  let user: uid_t
  /// When it connected, the effective one among them.
  let groups: [UInt32]
  /// The process that connected; nil when the bus does not know it.
  let process: pid_t?

  static let group: FilePath = "cryptohome"

  var isRoot: Bool { user == 0 }

  /// - Parameter what: `unmount every user`.
  func requireRoot(_ what: String) throws {
    guard isRoot else { throw BusError.accessDenied("only root may \(what)") }
  }

  /// Root may mount and unmount everybody, a member of the group `cryptohome` its own account.
  ///
  /// - Parameters:
  ///   - group: that group; nil where there is none.
  ///   - account: the hash of the caller's name; nil where it has none.
  fileprivate func requirePower(
    over user: ObfuscatedUsername, group: gid_t?, account: ObfuscatedUsername?
  ) throws {
    guard let group, groups.contains(group) else {
      throw BusError.accessDenied(
        "only root and the members of the group \(Self.group) may mount and unmount users")
    }
    guard account == user else {
      throw BusError.accessDenied(
        "a member of the group \(Self.group) may mount and unmount only itself")
    }
  }
}

extension Service {
  private static let patienceForAccounts = Duration.seconds(10)

  /// Calls `body` if `caller` may mount and unmount `user`. Accounts and groups may be in a directory
  /// service that does not answer: a process asks it. What `body` throws is the answer.
  func authorize(
    _ caller: Caller, over user: ObfuscatedUsername, for call: MethodCall,
    _ body: @escaping () throws -> Void
  ) throws {
    if caller.isRoot { return try body() }
    try actions.start(
      ["pam", "account", "--group=\(Caller.group)", "--", "\(caller.user)"], hearsOutput: true,
      for: caller.user, atMost: Self.patienceForAccounts, in: loop
    ) { [unowned self] end, lines in
      do {
        guard end == .exited(0), lines.count == 2 else {
          throw end == nil
            ? Manager.failure("the account of the caller could not be looked up in time")
            : failure("pam account", end, lines)
        }
        try caller.requirePower(
          over: user, group: gid_t(lines[0]), account: ObfuscatedUsername(lines[1]))
        try body()
      } catch {
        call.fail(error)
      }
    }
  }
}

/// The callers that the bus has told of, by their unique names, which it gives to no other connection;
/// and the calls that wait for that.
final class Callers {
  private var known: [String: Caller] = [:]
  private var waiting: [String: Int] = [:]
  private var count = 0
  private var countWithDescriptor = 0

  /// How many callers are remembered; how many calls wait, of one connection, and with a descriptor. One
  /// that waits takes a few KiB.
  private static let memory = 2048
  private static let limit = 2048
  private static let limitForConnection = 16
  private static let limitWithDescriptor = 32

  func caller(_ name: String) -> Caller? { known[name] }

  func remember(_ caller: Caller, as name: String) {
    if known.count >= Self.memory { known = [:] }
    known[name] = caller
  }

  /// - Throws: when too many calls wait.
  func begin(_ name: String, withDescriptor: Bool) throws {
    let ofConnection = waiting[name, default: 0]
    guard ofConnection < Self.limitForConnection, count < Self.limit,
      !withDescriptor || countWithDescriptor < Self.limitWithDescriptor
    else { throw BusError.limitsExceeded("too many calls are waiting; try again") }
    waiting[name] = ofConnection + 1
    count += 1
    if withDescriptor { countWithDescriptor += 1 }
  }

  func end(_ name: String, withDescriptor: Bool) {
    let left = waiting[name, default: 1] - 1
    waiting[name] = left > 0 ? left : nil
    count -= 1
    if withDescriptor { countWithDescriptor -= 1 }
  }
}

extension Service {
  /// Finds out who has sent `call`, of which all that is needed has been read. What `body` throws is
  /// the answer.
  ///
  /// - Parameter hasDescriptor: whether one is kept for the call.
  func withCaller(
    of call: MethodCall, hasDescriptor: Bool = false, _ body: @escaping (Caller) throws -> Void
  ) throws {
    let sender = call.sender
    call.release()
    if let caller = link?.callers.caller(sender) { return try body(caller) }
    guard let link else { return }
    let callers = link.callers
    try callers.begin(sender, withDescriptor: hasDescriptor)
    do {
      try link.bus.call(.ofBus("GetConnectionCredentials")) { message throws(SystemError) in
        try message.append(sender)
      } then: { reply in
        callers.end(sender, withDescriptor: hasDescriptor)
        do {
          if let error = reply.error { throw error }
          let caller = try Caller(reply.options())
          callers.remember(caller, as: sender)
          try body(caller)
        } catch {
          call.fail(error)
        }
      }
    } catch {
      callers.end(sender, withDescriptor: hasDescriptor)
      throw error
    }
  }
}

extension Caller {
  /// - Parameter answer: of GetConnectionCredentials.
  fileprivate init(_ answer: [String: Value]) throws {
    guard case .unsigned(let user)? = answer["UnixUserID"], let user = uid_t(exactly: user)
    else { throw BusError.accessDenied("the bus does not say whose call this is") }
    self.user = user
    if case .unsigneds(let known)? = answer["UnixGroupIDs"] { groups = known } else { groups = [] }
    if case .unsigned(let number)? = answer["ProcessID"] {
      process = pid_t(exactly: number)
    } else {
      process = nil
    }
  }
}
