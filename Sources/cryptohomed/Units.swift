import Bus
import Cryptohome
import DaemonStore
import Glibc
import Kernel
import Program

/// `daemon-store-user@HASH.target`, which systemd has active while the user is mounted: a service
/// that is for a user's data begins and ends with it.
enum UserUnit {
  /// sd_booted(3).
  static var isSupported: Bool { access("/run/systemd/system", F_OK) == 0 }

  static func name(of user: ObfuscatedUsername) -> String { "daemon-store-user@\(user).target" }

  static func manager(_ member: String) -> RemoteMethod {
    RemoteMethod(
      "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
      member)
  }
}

extension Service {
  func startUnit(of user: ObfuscatedUsername) { job("StartUnit", UserUnit.name(of: user)) }
  func stopUnit(of user: ObfuscatedUsername) { job("StopUnit", UserUnit.name(of: user)) }

  private func job(_ member: String, _ unit: String) {
    guard UserUnit.isSupported else { return }
    do {
      try bus.call(UserUnit.manager(member)) { message throws(SystemError) in
        try message.append(unit)
        try message.append("replace")
      } then: { reply in
        if let error = reply.error { Program.complain("cryptohomed: \(unit): \(error)") }
      }
    } catch {
      Program.complain("cryptohomed: \(unit): \(error)")
    }
  }
}
