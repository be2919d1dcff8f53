import DaemonStore
import Glibc
import DaemonStoreKernel

extension Layout {
  /// The directories that users' homes are reached through, and that other users than root can
  /// change. Nothing is made there; what is to be taken away is taken away all the same.
  func distrustedHomes() -> [Refusal] {
    distrusted(["home", "home/user", "home/root"]) + distrustedShadow()
  }

  /// `/home/.shadow`, which the next login repairs.
  private func distrustedShadow() -> [Refusal] {
    do {
      guard let status = try UserDirectory.shadow(self)?.status(),
        status.owner != 0 || status.permissions & 0o022 != 0
      else { return [] }
      return [
        Refusal(
          path: shadow,
          reason: "can be changed by others than root (owner \(status.owner), mode "
            + "\(octal(status.permissions))); chown and chmod it",
          fix: "chown root:root \(shadow) && chmod 0711 \(shadow)")
      ]
    } catch {
      return [Refusal(path: shadow, reason: "cannot be looked at: \(error)")]
    }
  }
}
