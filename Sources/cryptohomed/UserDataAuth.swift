import DaemonStoreBus
import Cryptohome
import DaemonStore
import FoundationEssentials
import DaemonStoreKernel
import SwiftProtobuf

/// `org.chromium.UserDataAuth`: every method takes and gives one protobuf message.
extension Service {
  static let userDataAuthName = "org.chromium.UserDataAuth"
  static let userDataAuthPath = "/org/chromium/UserDataAuth"

  var userDataAuth: Interface {
    Interface(
      "org.chromium.UserDataAuthInterface",
      methods: [
        method("IsMounted") { [unowned self] (request: UserDataAuth_IsMountedRequest) in
          look()
          let name = request.username
          let users = try name.isEmpty ? tracker.users : [user(name)]
          let mounted = users.filter(tracker.users.contains)
          return UserDataAuth_IsMountedReply.with {
            $0.isMounted = !mounted.isEmpty
            $0.isEphemeralMount = !mounted.isEmpty && mounted.allSatisfy(isEphemeral)
          }
        },
        .init("Unmount", takes: [Self.request], gives: [Self.reply]) { [unowned self] in
          try unmountAll($0)
        },
      ])
  }

  var cryptohomeMisc: Interface {
    Interface(
      "org.chromium.CryptohomeMiscInterface",
      methods: [
        method("GetSanitizedUsername") {
          [unowned self] (request: UserDataAuth_GetSanitizedUsernameRequest) in
          let user = try user(request.username, salt: .makingMissing())
          return UserDataAuth_GetSanitizedUsernameReply.with {
            $0.sanitizedUsername = user.description
          }
        },
        method("GetSystemSalt") { [unowned self] (_: UserDataAuth_GetSystemSaltRequest) in
          let salt = try Salt.read(layout)
          return UserDataAuth_GetSystemSaltReply.with { $0.salt = Data(salt.bytes) }
        },
      ])
  }

  private static let request = Parameter("request", "ay")
  private static let reply = Parameter("reply", "ay")

  /// A method that is answered at once.
  private func method<Request: SwiftProtobuf.Message, Reply: SwiftProtobuf.Message>(
    _ name: String, _ body: @escaping (Request) throws -> Reply
  ) -> Interface.Method {
    .init(name, takes: [Self.request], gives: [Self.reply]) { call in
      let reply: [UInt8] = try body(try Self.decode(call)).serializedBytes()
      call.reply { try $0.append(reply) }
    }
  }

  private static func decode<Request: SwiftProtobuf.Message>(_ call: MethodCall) throws -> Request {
    let bytes = try call.message.bytes()
    do {
      return try Request(serializedBytes: bytes)
    } catch {
      throw BusError.invalidArguments(
        "these \(bytes.count) bytes are no \(Request.protoMessageName)")
    }
  }

  private func unmountAll(_ call: MethodCall) throws {
    let _: UserDataAuth_UnmountRequest = try Self.decode(call)
    try withCaller(of: call) { [unowned self] caller in
      try caller.requireRoot("unmount every user")
      try actions.start(["unmount", "--all"], for: caller.user, in: loop) {
        [unowned self] end, _ in
        look()
        let reply = UserDataAuth_UnmountReply.with {
          switch end {
          case .exited(0): $0.error = .cryptohomeErrorNotSet
          case .exited(3): $0.error = .cryptohomeErrorMountMountPointBusy
          default: $0.error = .cryptohomeErrorMountFatal
          }
        }
        call.reply { try $0.append(try reply.serializedBytes()) }
      }
    }
  }
}
