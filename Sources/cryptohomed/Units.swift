import DaemonStoreBus
import Cryptohome
import DaemonStore
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram

/// `daemon-store-user@HASH.target`, which systemd has active while the user is mounted: a service
/// that is for a user's data begins and ends with it.
enum UserUnit {
  /// sd_booted(3).
  static var isSupported: Bool { access("/run/systemd/system", F_OK) == 0 }

  static func name(of user: ObfuscatedUsername) -> String { "daemon-store-user@\(user).target" }
  static let pattern = "daemon-store-user@*.target"

  static func manager(_ member: String) -> RemoteMethod {
    RemoteMethod(
      "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
      member)
  }
}

extension Service {
  func startUnit(of user: ObfuscatedUsername) { job("StartUnit", UserUnit.name(of: user)) }
  func stopUnit(of user: ObfuscatedUsername) { job("StopUnit", UserUnit.name(of: user)) }

  /// Starts the units of those who are mounted, and stops the others: somebody may have logged out
  /// while this did not run.
  func startAndStopUnits() {
    for user in tracker.users { startUnit(of: user) }
    guard UserUnit.isSupported, let link else { return }
    do {
      try link.bus.call(UserUnit.manager("ListUnitsByPatterns")) { message throws(SystemError) in
        try message.append(["active"])
        try message.append([UserUnit.pattern])
      } then: { [unowned self] reply in
        do {
          if let error = reply.error { throw error }
          let wanted = Set(tracker.users.map(UserUnit.name))
          for unit in try reply.firstStrings(before: "sssssouso") where !wanted.contains(unit) {
            job("StopUnit", unit)
          }
        } catch {
          Program.complain("cryptohomed: \(UserUnit.pattern): \(error)")
        }
      }
    } catch {
      Program.complain("cryptohomed: \(UserUnit.pattern): \(error)")
    }
  }

  private func job(_ member: String, _ unit: String) {
    guard UserUnit.isSupported, let link else { return }
    do {
      try link.bus.call(UserUnit.manager(member)) { message throws(SystemError) in
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
