import Bus
import Cryptohome
import DaemonStore
import Kernel

/// `org.daemonstore.Manager1`.
enum Manager {
  static let name = "org.daemonstore.Manager1"
  static let path = "/org/daemonstore/Manager1"
}

extension Service {
  var manager: Interface {
    Interface(
      Manager.name,
      methods: [
        Interface.Method("List", gives: [Parameter("users", "a(sas)")]) { [unowned self] in
          list($0)
        },
        Interface.Method(
          "GetStore", takes: [Parameter("store", "s"), Parameter("user", "s")],
          gives: [Parameter("path", "s"), Parameter("mounted", "b")]
        ) { [unowned self] in
          try getStore($0)
        },
      ],
      signals: [
        Interface.Signal("StoreMounted", Parameter("store", "s"), Parameter("user", "s")),
        Interface.Signal("StoreUnmounting", Parameter("store", "s"), Parameter("user", "s")),
        Interface.Signal("StoreUnmounted", Parameter("store", "s"), Parameter("user", "s")),
        Interface.Signal("UserMounted", Parameter("user", "s")),
        Interface.Signal("UserUnmounted", Parameter("user", "s")),
      ])
  }

  private func list(_ call: MethodCall) {
    look()
    let stores = tracker.mounted.stores
    call.reply { reply in
      try reply.append(array: "(sas)", of: tracker.users) { message, user throws(SystemError) in
        try message.append(structure: "sas") { message throws(SystemError) in
          try message.append(user.description)
          try message.append(stores[user, default: []].sorted().map(\.description))
        }
      }
    }
  }

  private func getStore(_ call: MethodCall) throws {
    let text = try call.message.string()
    let user = try user(try call.message.string())
    look()
    guard let store = StoreName(text), tracker.mounted.allStores.contains(store) else {
      throw BusError(
        "org.daemonstore.Error.NoSuchStore", oneLine("there is no store \(text) on this system"))
    }
    let isMounted = tracker.mounted.stores[user]?.contains(store) == true
    call.reply { reply in
      try reply.append(layout.path(of: user, in: store, .data))
      try reply.append(isMounted)
    }
  }

  /// The user that a caller means.
  func user(_ text: String) throws -> ObfuscatedUsername {
    do {
      switch try Username(text) {
      case .hash(let user): return user
      case .name(let name): return try ObfuscatedUsername(of: name, salt: .read(layout))
      }
    } catch let error as Refusal {
      throw BusError.invalidArguments(oneLine("\(error)"))
    }
  }
}
