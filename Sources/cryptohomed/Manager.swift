import DaemonStoreBus
import Cryptohome
import DaemonStore
import DaemonStoreKernel
import DaemonStoreProgram

/// `org.daemonstore.Manager1`.
enum Manager {
  static let name = "org.daemonstore.Manager1"
  static let path = "/org/daemonstore/Manager1"

  /// The properties that change.
  static let state = ["MountedUsers", "SessionState"]

  static func failure(_ message: String) -> BusError {
    BusError("org.daemonstore.Error.Failed", message)
  }
}

extension Service {
  var manager: Interface {
    let options = Parameter("options", "a{sv}")
    return Interface(
      Manager.name,
      methods: [
        .init(
          "Mount", takes: [Parameter("user", "s"), Parameter("password_fd", "h"), options],
          gives: [Parameter("hash", "s"), Parameter("problems", "as")]
        ) { [unowned self] in try mount($0) },
        .init(
          "Unmount", takes: [Parameter("user", "s"), options],
          gives: [Parameter("complete", "b"), Parameter("problems", "as")]
        ) { [unowned self] in try unmount($0) },
        .init("List", gives: [Parameter("users", "a(sbas)")]) { [unowned self] in try list($0) },
        .init(
          "GetStore", takes: [Parameter("store", "s"), Parameter("user", "s")],
          gives: [Parameter("path", "s"), Parameter("mounted", "b")]
        ) { [unowned self] in try getStore($0) },
        .init(
          "Delay", takes: [Parameter("store", "s"), Parameter("why", "s")],
          gives: [Parameter("delay_fd", "h")]
        ) { [unowned self] in try delay($0) },
      ],
      properties: [
        .init("Version", "s", isConstant: true) { try $0.append(version) },
        .init("DelayMaxUSec", "t", isConstant: true) { [unowned self] in
          try $0.append(delay.microseconds)
        },
        .init("MountedUsers", "as") { [unowned self] in
          look()
          try $0.append(tracker.users.map(\.description))
        },
        .init("SessionState", "s") { [unowned self] in
          look()
          try $0.append(tracker.state.rawValue)
        },
      ],
      signals: [
        .init("StoreMounted", Parameter("store", "s"), Parameter("hash", "s")),
        .init("StoreUnmounting", Parameter("store", "s"), Parameter("hash", "s")),
        .init("StoreUnmounted", Parameter("store", "s"), Parameter("hash", "s")),
        .init("UserMounted", Parameter("hash", "s")),
        .init("UserUnmounted", Parameter("hash", "s")),
      ])
  }

  private func list(_ call: MethodCall) throws {
    look()
    let stores = tracker.mounted.stores
    let users = tracker.users.map { ($0, isEphemeral($0)) }
    call.reply { reply in
      try reply.append(array: "(sbas)", of: users) { message, entry throws(SystemError) in
        let (user, isEphemeral) = entry
        try message.append(structure: "sbas") { message throws(SystemError) in
          try message.append(user.description)
          try message.append(isEphemeral)
          try message.append(stores[user, default: []].sorted().map(\.description))
        }
      }
    }
  }

  private func getStore(_ call: MethodCall) throws {
    let name = try call.message.string()
    let user = try user(try call.message.string())
    look()
    guard let store = StoreName(name), tracker.mounted.allStores.contains(store) else {
      throw noStore(name)
    }
    let isMounted = tracker.mounted.stores[user]?.contains(store) == true
    call.reply { reply in
      try reply.append(layout.path(of: user, in: store, .data).description)
      try reply.append(isMounted)
    }
  }

  private func noStore(_ name: String) -> BusError {
    BusError(
      "org.daemonstore.Error.NoSuchStore",
      oneLine("there is no store \(name) here"))
  }

  /// Whom a store belongs to may hold a logout up; others could only annoy.
  private func delay(_ call: MethodCall) throws {
    let name = try call.message.string()
    let why = try call.message.string()
    guard why.utf8.count <= Delays.whyLimit else {
      throw BusError.invalidArguments("a reason has at most \(Delays.whyLimit) bytes")
    }
    try withCaller(of: call) { [unowned self] caller in
      try delays.requireRoom(for: caller.user)
      guard let store = StoreName(name),
        let template = try Templates.read(layout).valid.first(where: { $0.name == store })
      else { throw noStore(name) }
      guard caller.isRoot || caller.user == template.owner || caller.groups.contains(template.group)
      else {
        throw BusError.accessDenied(
          "only root, and the user and the group that the store \(store) belongs to, may delay it")
      }
      try delays.add(store, why: oneLine(why), of: caller.user, for: call, in: loop)
    }
  }
}
