import DaemonStore
import DaemonStoreKernel

/// What is wrong with users: with their mounts, and with what is left of those who are logged out.
package enum UserFindings {
  package static func all(_ layout: Layout) throws -> [Finding] {
    let mounted = try UserMounts(.current(), layout)
    let users = Set(try UserDirectory.all(layout)).union(mounted.users)
      .union(try VaultRemoval.pending(layout)).union(try VaultRegister.all(layout)).sorted()
    var findings = VaultFindings.salt(layout)
    var loggedOut: [ObfuscatedUsername] = []
    for user in users {
      do {
        // A login or a logout that is on its way is not half of one.
        try locked(user, layout, until: .now + .seconds(2)) {
          do {
            let home = UserHome(of: user, in: layout)
            if let removal = try VaultFindings.unfinishedRemoval(home) {
              findings.append(removal)
              return
            }
            _ = try home.kind
            findings += try VaultFindings.all(home)
            let status = try UserStatus.of(user, layout)
            findings +=
              [
                try status.isOnlyPinned(layout) ? nil : status.staleKey,
                try status.abandoned(layout) ?? status.incomplete(),
              ].compactMap { $0 }
            if !status.isMounted { loggedOut.append(user) }
          } catch {
            // One bad vault is one bad vault.
            findings.append(
              Finding(
                .badVault, "user \(user)", "has a vault that cannot be looked at",
                evidence: ["\(error)"], fix: "# restore \(layout.shadow)/\(user) from a backup"))
          }
        }
      } catch {
        findings.append(
          Finding(
            .unseen, "user \(user)", "could not be looked at", evidence: ["\(error)"],
            fix: "daemon-store doctor  # again"))
      }
    }
    let insecure = layout.distrustedHomes().map {
      Finding(
        .insecureDirectory, $0.path, "is not root's alone", evidence: [$0.reason],
        fix: $0.fix ?? "ls -ld \($0.path)  # and look why")
    }
    return insecure + findings + (try layout.pinnedData(of: loggedOut)) + (try confinedServices())
  }
}

extension UserFindings {
  /// What cryptohomed, and the `cryptohome` that it starts, need to act in the first mount namespace:
  /// setns(2), and ptrace(2) for the link to it. capabilities(7).
  private static let needed = [
    ("CAP_SYS_CHROOT", 18), ("CAP_SYS_PTRACE", 19), ("CAP_SYS_ADMIN", 21),
  ]

  /// A cryptohomed that cannot enter the mount namespace of pid 1: its logins would arrive nowhere.
  private static func confinedServices() throws -> [Finding] {
    let first = try? linkTarget(of: "/proc/1/ns/mnt")
    let here = try? linkTarget(of: "/proc/self/ns/pid")
    // By the socket that only root can serve: any user can give a process any name.
    return [try ControlSocket.server(.system)].compactMap { $0 }.compactMap { pid in
      // One of a container has another pid 1, and a number that is none here.
      guard pid > 0, (try? linkTarget(of: "/proc/\(pid)/ns/pid")) == here else { return nil }
      let process = ProcessName(pid)
      var evidence: [String] = []
      if let capabilities = process.effectiveCapabilities {
        let missing = needed.filter { capabilities & 1 << $0.1 == 0 }.map(\.0)
        if !missing.isEmpty { evidence.append("it is without \(missing.joined(separator: ", "))") }
      }
      let seen = try? linkTarget(of: "/proc/\(process.pid)/root/proc/1/ns/mnt")
      if let first, seen != first {
        evidence.append("its /proc does not show \(first), which pid 1 is in")
      }
      guard !evidence.isEmpty else { return nil }
      let unit = process.unit ?? "cryptohomed"
      return Finding(
        .serviceConfined, "\(process)", "cannot enter the first mount namespace",
        evidence: evidence, fix: "systemctl revert \(unit) && systemctl restart \(unit)")
    }
  }
}

extension UserStatus {
  /// Mounts for sessions of which none is left.
  fileprivate func abandoned(_ layout: Layout) throws -> Finding? {
    guard isMounted, let records = try SessionRecords(ofExisting: user, layout),
      try records.isAbandoned()
    else { return nil }
    let hadSessions = try !records.sessions().isEmpty
    return Finding(
      .mountsWithoutLogin, "user \(user)",
      hadSessions
        ? "is mounted, and all sessions have ended" : "is mounted, and a logout was begun",
      evidence: [
        hadSessions
          ? "\(layout.state)/sessions/\(user) names no process that is there"
          : "the logout found something in use, and was not repeated"
      ], fix: "cryptohome unmount \(user)")
  }

  /// Whether the key is wiped, and only empty directories that other users keep refer to it.
  fileprivate func isOnlyPinned(_ layout: Layout) throws -> Bool {
    guard lock == .busy, !isMounted else { return false }
    let uses = try UserSubtree(
      of: user, in: layout, recordedOwner: UserHome(of: user, in: layout).recordedOwner
    ).uses(UnmountAudit.Rest(), strictly: true)
    return uses.holders.isEmpty && !uses.pins.isEmpty && uses.pinned.isEmpty
  }

  /// The key of an encrypted vault that nothing of is mounted.
  fileprivate var staleKey: Finding? {
    guard !isMounted, let lock, lock != .locked else { return nil }
    let isBusy = lock == .busy
    return Finding(
      .staleKey, "user \(user)",
      isBusy
        ? "is logged out, but files of the vault are still open"
        : "is logged out, but the vault can be read",
      evidence: [
        isBusy
          ? "the key is gone, and what is open can still be read: cryptohome unmount names the processes"
          : "the key is in the keyring of the file system"
      ], fix: "cryptohome unmount \(user)")
  }

  /// Mounts of a user where others are missing.
  fileprivate func incomplete() -> Finding? {
    if !remaining.isEmpty {
      return Finding(
        .mountsWithoutLogin, "user \(user)", "is mounted in part, as after half of a logout",
        evidence: remaining.map { "mounted at \($0)" }, fix: "cryptohome unmount \(user)")
    }
    guard !missing.isEmpty else { return nil }
    let evidence = missing.map { "nothing is mounted at \($0)" }
    return Finding(
      .userIncomplete, "user \(user)", "is mounted, but not everywhere", evidence: evidence,
      fix: "cryptohome mount \(user)")
  }
}
