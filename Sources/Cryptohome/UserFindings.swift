import DaemonStore
import MountTable

/// What is wrong with users: with their mounts, and with what is left of those who are logged out.
public enum UserFindings {
  public static func all(_ layout: Layout) throws -> [Finding] {
    let mounted = try UserMounts(.current(), layout)
    let users = Set(try UserDirectory.all(layout)).union(mounted.users).sorted()
    var findings: [Finding] = []
    var loggedOut: [ObfuscatedUsername] = []
    for user in users {
      do {
        let status = try UserStatus.of(user, layout)
        findings += [status.staleKey, status.incomplete(layout)].compactMap { $0 }
        if !status.isMounted { loggedOut.append(user) }
      } catch {
        // One bad vault is one bad vault.
        findings.append(
          Finding(
            .badVault, "user \(user)", "has a vault that cannot be looked at",
            evidence: ["\(error)"], mend: "restore \(layout.shadow)/\(user) from a backup"))
      }
    }
    return findings + (try layout.pinnedData(of: loggedOut))
  }
}

extension UserStatus {
  /// The key of an encrypted vault that nothing of is mounted.
  fileprivate var staleKey: Finding? {
    guard !isMounted, let lock, lock != .locked else { return nil }
    return Finding(
      .staleKey, "user \(user)", "is logged out, but the vault can be read",
      evidence: [
        lock == .busy
          ? "the key is gone, but files are still open: daemon-store who and cryptohome unmount name "
            + "who has them" : "the key is in the keyring of the file system"
      ], mend: "cryptohome unmount \(user)")
  }

  /// Mounts of a user where others are missing.
  fileprivate func incomplete(_ layout: Layout) -> Finding? {
    guard !missing.isEmpty else { return nil }
    let evidence = missing.map { "nothing is mounted at \($0)" }
    let homes = HomePlace.allCases.map { layout.below("home/\($0.rawValue)/\(user)") }
    if homes.allSatisfy(missing.contains) {
      return Finding(
        .mountsWithoutLogin, "user \(user)", "is in stores, and the home is not mounted",
        evidence: evidence, mend: "cryptohome unmount \(user)")
    }
    return Finding(
      .userIncomplete, "user \(user)", "is mounted, but not everywhere", evidence: evidence,
      mend: "cryptohome mount \(user)")
  }
}
