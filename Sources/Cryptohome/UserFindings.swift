import DaemonStore

extension UserStatus {
  /// What is wrong with the mounts of one user; nil when nothing is.
  public var finding: Finding? {
    guard !missing.isEmpty else { return nil }
    let evidence = missing.map { "nothing is mounted at \($0)" }
    let homes = HomePlace.allCases.map { Layout.system.below("home/\($0.rawValue)/\(user)") }
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
