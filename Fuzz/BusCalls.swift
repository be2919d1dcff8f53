import CSystemd
import Glibc

@testable import DaemonStoreBus
@testable import DaemonStoreKernel
@testable import cryptohomed

/// Calls of every method that cryptohomed has on the bus. The first byte says which, the rest are its
/// arguments as they are on the wire. The bus is played here, at the other end of the connection: it
/// lets through what a bus would, a whole message with the method's signature.
///
/// Run it where `/run` and `/home` are empty and process 1 is in the same mount namespace.
func fuzzBusCall(_ bytes: [UInt8]) {
  guard let first = bytes.first, bytes.count <= 1 << 16 else { return }
  guard let bus = PlayedBus.shared else { fatalError("cryptohomed could not be set up") }
  bus.call(CalledMethod.all[Int(first) % CalledMethod.all.count], Array(bytes.dropFirst()))
}

private struct CalledMethod {
  let path: String
  let interface: String
  let name: String
  let signature: String

  static let all: [CalledMethod] = {
    let manager = ("/org/daemonstore/Manager1", "org.daemonstore.Manager1")
    let cryptohome = ("/org/chromium/Cryptohome", "org.chromium.CryptohomeInterface")
    let session = ("/org/chromium/SessionManager", "org.chromium.SessionManagerInterface")
    let users = ("/org/chromium/UserDataAuth", "org.chromium.UserDataAuthInterface")
    let misc = ("/org/chromium/UserDataAuth", "org.chromium.CryptohomeMiscInterface")
    let properties = ("/org/daemonstore/Manager1", "org.freedesktop.DBus.Properties")
    return [
      (manager, "Mount", "sha{sv}"), (manager, "Unmount", "sa{sv}"), (manager, "List", ""),
      (manager, "GetStore", "ss"), (manager, "Delay", "ss"), (cryptohome, "IsMounted", ""),
      (cryptohome, "IsMountedForUser", "s"), (cryptohome, "GetSystemSalt", ""),
      (cryptohome, "GetSanitizedUsername", "s"), (session, "RetrieveSessionState", ""),
      (session, "RetrieveActiveSessions", ""), (session, "RetrievePrimarySession", ""),
      (session, "IsGuestSessionActive", ""), (users, "IsMounted", "ay"), (users, "Unmount", "ay"),
      (misc, "GetSanitizedUsername", "ay"), (misc, "GetSystemSalt", "ay"),
      (properties, "Get", "ss"), (properties, "GetAll", "s"), (properties, "Set", "ssv"),
    ].map { CalledMethod(path: $0.0.0, interface: $0.0.1, name: $0.1, signature: $0.2) }
  }()
}

/// cryptohomed's objects on a connection, and the other end of that.
private final class PlayedBus {
  private let service: Service
  private var connection: Connection
  private let end: CInt
  private let file: CInt
  private var serial: UInt32 = 10

  nonisolated(unsafe) static let shared = try? PlayedBus()

  private init() throws {
    service = try Service(delay: .seconds(2))
    let listener = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
    let name = "fuzzed-bus-\(getpid())"
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0[1...].copyBytes(from: name.utf8) }
    let size = socklen_t(MemoryLayout<sa_family_t>.size + 1 + name.utf8.count)
    let isBound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(listener, $0, size) == 0 }
    }
    precondition(isBound && listen(listener, 1) == 0)
    setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:abstract=\(name)", 1)
    connection = try Connection()
    end = accept(listener, nil, nil)
    file = open("/dev/null", O_RDONLY)
    precondition(end >= 0 && file >= 0)
    _ = fcntl(end, F_SETFL, O_NONBLOCK)
    // EXTERNAL, as a bus answers it.
    send(Array("DATA\r\nOK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n".utf8))
    process()
    let hello: [(UInt8, String, HeaderValue)] = [
      (5, "u", .number(1)), (6, "s", .text(":1.1")), (7, "s", .text("org.freedesktop.DBus")),
      (8, "g", .signature("s")),
    ]
    send(message(2, hello, number(4) + Array(":1.1\0".utf8)))
    process()
    try connection.publish(service.manager, at: Manager.path)
    try connection.publish(service.cryptohome, at: Service.cryptohomePath)
    try connection.publish(service.sessionManager, at: Service.sessionManagerPath)
    try connection.publish(service.userDataAuth, at: Service.userDataAuthPath)
    try connection.publish(service.cryptohomeMisc, at: Service.userDataAuthPath)
    _ = received()
  }

  func call(_ method: CalledMethod, _ arguments: [UInt8]) {
    var fields: [(UInt8, String, HeaderValue)] = [
      (1, "o", .text(method.path)), (2, "s", .text(method.interface)),
      (3, "s", .text(method.name)), (6, "s", .text(":1.1")), (7, "s", .text(":1.2")),
    ]
    // A bus passes no message on whose header and body do not belong together.
    if !method.signature.isEmpty { fields.append((8, "g", .signature(method.signature))) }
    let takesFile = method.signature.utf8.contains(UInt8(ascii: "h"))
    if takesFile { fields.append((9, "u", .number(1))) }
    let body = method.signature.isEmpty ? [] : arguments
    send(message(1, fields, body), takesFile ? file : nil)
    process()
    precondition(received() > 0, "\(method.name) was not answered")
  }

  private enum HeaderValue {
    case text(String), signature(String), number(UInt32)
  }

  private func number(_ value: Int) -> [UInt8] {
    withUnsafeBytes(of: UInt32(value).littleEndian) { Array($0) }
  }

  /// A message of the D-Bus specification, little-endian.
  private func message(
    _ type: UInt8, _ fields: [(UInt8, String, HeaderValue)], _ body: [UInt8]
  ) -> [UInt8] {
    func pad(_ bytes: inout [UInt8]) { while bytes.count % 8 != 0 { bytes.append(0) } }
    var list: [UInt8] = []
    for (code, type, value) in fields {
      pad(&list)
      list += [code, 1] + type.utf8 + [0]
      switch value {
      case .text(let text): list += number(text.utf8.count) + text.utf8 + [0]
      case .signature(let text): list += [UInt8(text.utf8.count)] + text.utf8 + [0]
      case .number(let value): list += number(Int(value))
      }
    }
    serial += 1
    var all = [UInt8(ascii: "l"), type, 0, 1] + number(body.count) + number(Int(serial))
    all += number(list.count) + list
    pad(&all)
    return all + body
  }

  private func send(_ bytes: [UInt8], _ descriptor: CInt? = nil) {
    var control = [UInt](repeating: 0, count: 3)  // struct cmsghdr, and one descriptor
    let isSent = bytes.withUnsafeBytes { bytes in
      control.withUnsafeMutableBytes { control in
        control.storeBytes(of: 20, as: Int.self)
        control.storeBytes(of: SOL_SOCKET, toByteOffset: 8, as: CInt.self)
        control.storeBytes(of: 1, toByteOffset: 12, as: CInt.self)  // SCM_RIGHTS
        control.storeBytes(of: descriptor ?? -1, toByteOffset: 16, as: CInt.self)
        var part = iovec(
          iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
        return withUnsafeMutablePointer(to: &part) { part in
          var header = msghdr()
          header.msg_iov = part
          header.msg_iovlen = 1
          if descriptor != nil {
            header.msg_control = control.baseAddress
            header.msg_controllen = control.count
          }
          return sendmsg(end, &header, CInt(MSG_NOSIGNAL)) == bytes.count
        }
      }
    }
    precondition(isSent, "the connection was given up")
  }

  private func process() { while sd_bus_process(connection.pointer, nil) > 0 {} }

  /// How many bytes have come.
  private func received() -> Int {
    var buffer = [UInt8](repeating: 0, count: 65536)
    var count = 0
    while true {
      let new = recv(end, &buffer, buffer.count, 0)
      if new <= 0 { return count }
      count += new
    }
  }
}
