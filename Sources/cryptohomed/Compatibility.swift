import DaemonStoreBus
import Cryptohome
import DaemonStore
import DaemonStoreKernel

/// The names that daemons know from another system, with plain types.
extension Service {
  static let cryptohomeName = "org.chromium.Cryptohome"
  static let cryptohomePath = "/org/chromium/Cryptohome"
  static let sessionManagerName = "org.chromium.SessionManager"
  static let sessionManagerPath = "/org/chromium/SessionManager"
  static let sessionManagerInterface = "org.chromium.SessionManagerInterface"

  var cryptohome: Interface {
    Interface(
      "org.chromium.CryptohomeInterface",
      methods: [
        .init("IsMounted", gives: [Parameter("is_mounted", "b")]) { [unowned self] call in
          look()
          let isMounted = !tracker.users.isEmpty
          call.reply { try $0.append(isMounted) }
        },
        .init(
          "IsMountedForUser", takes: [Parameter("username", "s")],
          gives: [Parameter("is_mounted", "b"), Parameter("is_ephemeral_mount", "b")]
        ) { [unowned self] call in
          let user = try user(try call.message.string())
          look()
          let isMounted = tracker.users.contains(user)
          call.reply {
            try $0.append(isMounted)
            try $0.append(isMounted && isEphemeral(user))
          }
        },
        .init("GetSystemSalt", gives: [Parameter("salt", "ay")]) { [unowned self] call in
          let salt = try Salt.read(layout)
          call.reply { try $0.append(salt.bytes) }
        },
        .init(
          "GetSanitizedUsername", takes: [Parameter("username", "s")],
          gives: [Parameter("sanitized", "s")]
        ) { [unowned self] call in
          let user = try user(try call.message.string(), salt: .makingMissing())
          call.reply { try $0.append(user.description) }
        },
      ])
  }

  var sessionManager: Interface {
    Interface(
      Self.sessionManagerInterface,
      methods: [
        .init("RetrieveSessionState", gives: [Parameter("state", "s")]) { [unowned self] call in
          look()
          call.reply { try $0.append(tracker.state.rawValue) }
        },
        .init("RetrieveActiveSessions", gives: [Parameter("sessions", "a{ss}")]) {
          [unowned self] call in
          look()
          let users = tracker.users
          try names.find(users, for: call, self) { names in
            let sessions = zip(names, users.map(\.description)).map { ($0, $1) }
            call.reply { reply in
              try reply.append(array: "{ss}", of: sessions) { message, entry throws(SystemError) in
                try message.append(structure: "ss", entry: true) { message throws(SystemError) in
                  try message.append(entry.0)
                  try message.append(entry.1)
                }
              }
            }
          }
        },
        .init(
          "RetrievePrimarySession",
          gives: [Parameter("username", "s"), Parameter("sanitized_username", "s")]
        ) { [unowned self] call in
          look()
          let primary = tracker.users.first { !isEphemeral($0) }
          try names.find([primary].compactMap { $0 }, for: call, self) { names in
            call.reply {
              try $0.append(names.first ?? "")
              try $0.append(primary?.description ?? "")
            }
          }
        },
        .init("IsGuestSessionActive", gives: [Parameter("is_guest", "b")]) { [unowned self] call in
          look()
          let isGuest = !tracker.users.isEmpty && tracker.users.allSatisfy(isEphemeral)
          call.reply { try $0.append(isGuest) }
        },
      ],
      signals: [.init("SessionStateChanged", Parameter("state", "s"))])
  }
}
