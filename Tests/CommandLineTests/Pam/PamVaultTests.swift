import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// Encrypted vaults and the passwords of logins.
@Suite(.needsRoot) struct PamVaultTests {
  @Test(arguments: [false, true])
  func loginUnlocksAndLogoutLocks(isForeign: Bool) async {
    await #expect(processExitsWith: .success) { [isForeign] in
      inEncryptedPamMachine { machine in
        let login = try machine.login("alice", isForeign: isForeign)
        #expect(try machine.mounts(of: Host.alice).count == 4)
        #expect(try machine.host.keyState(of: Host.alice) == "present")
        #expect(try machine.host.keyState(of: Host.bob) == "absent")
        try login.logout()
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        #expect(try machine.host.keyState(of: Host.alice) == "absent")
        #expect(!login.text.contains("daemon-store"), "\(login.text)")
      }
    }
  }

  @Test func wrongPasswordIsAMessage() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        let outcome = try machine.run(
          "/mnt/programs/cryptohome", "passwd", "alice",
          stdin: "\(PamMachine.password)\nanother\n")
        #expect(outcome.status == 0, "\(outcome)")
        let login = try machine.login("alice")
        let words =
          "your daemon-store vault stays locked: its password is not that of the login; as root, "
          + "make it so with cryptohome passwd alice"
        #expect(login.text.contains(words), "\(login.text)")
        #expect(try machine.host.keyState(of: Host.alice) == "absent")
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        // Unlocked by another session, it stays so until this one has ended, too.
        let opening = try machine.run(
          "/mnt/programs/cryptohome", "passwd", "alice",
          stdin: "another\n\(PamMachine.password)\n")
        #expect(opening.status == 0, "\(opening)")
        let other = try machine.login("alice")
        try other.logout()
        #expect(try machine.host.keyState(of: Host.alice) == "present")
        try login.logout()
        #expect(try machine.host.keyState(of: Host.alice) == "absent")
      }
    }
  }

  /// As with an ssh key: a session without a password.
  @Test func loginWithoutAPasswordIsAMessage() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        let outcome = try machine.run(
          "pamtester", "login", "alice", "open_session", "close_session")
        #expect(
          outcome.status == 0
            && outcome.complains(
              of: "your daemon-store vault stays locked: this login took no password"),
          "\(outcome)")
        let silent = try machine.run("pamtester", "login", "alice", "open_session(PAM_SILENT)")
        #expect(silent.status == 0 && !silent.errors.contains("daemon-store"), "\(silent)")
        #expect(try machine.host.keyState(of: Host.alice) == "absent")
      }
    }
  }

  /// A logout locks the vault for everybody but those who have files open still.
  @Test func busyKeyGoesWhenItsHolderHasGone() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        let login = try machine.login("alice")
        let holder = try machine.host.helpers.fork(inside: machine.first) {
          try check("chdir", nil, chdir("/home/user/\(Host.alice)"))
        }
        try login.logout()
        #expect(login.text.contains("your daemon-store vault is not locked yet: "))
        #expect(try machine.host.keyState(of: Host.alice) == "busy")
        try machine.host.helpers.stop(holder)
        try machine.succeed("pam", "lock-ended")
        #expect(try machine.host.keyState(of: Host.alice) == "absent")
      }
    }
  }

  @Test func deadLeaderLocksTheVault() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        let login = try machine.login("alice")
        #expect(try machine.host.keyState(of: Host.alice) == "present")
        login.kill()
        // The next login must not find it open.
        let outcome = try machine.run("pamtester", "login", "alice", "open_session")
        #expect(outcome.complains(of: "stays locked: this login took no password"), "\(outcome)")
        #expect(try machine.host.keyState(of: Host.alice) == "absent")
      }
    }
  }

  /// While the child works with the password, nobody can look into it who has just what it has
  /// itself, but for the capability to look into everybody.
  @Test func whoKnowsThePasswordCannotBeTraced() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        let cap = ["setpriv", "--bounding-set", "-sys_ptrace"]
        let words = machine.words(
          cap + ["pamtester", "login", "alice", "authenticate", "open_session", "authenticate"])
        var login = try Dialogue("nsenter", words)
        try login.tell(PamMachine.password)
        var child: pid_t = 0
        // It may be done before we look.
        for _ in 1...20 {
          let isSeen = try eventually {
            child = try children(of: login.process).first ?? 0
            return try isAtWork(child) || machine.records(of: Host.alice).contains("unmount")
          }
          #expect(isSeen)
          if child > 0, kill(child, SIGSTOP) == 0, try isAtWork(child) { break }
          login.kill()
          try machine.succeed("pam", "lock-ended")
          login = try Dialogue("nsenter", words)
          try login.tell(PamMachine.password)
        }
        for (process, isOpen) in [(login.process, true), (child, false)] {
          // As ptrace(2) does, readlink(2) asks whether one may.
          let look = try TestSupport.run(
            "setpriv", Array(cap.dropFirst()) + ["readlink", "-v", "/proc/\(process)/exe"])
          #expect((look.status == 0) == isOpen, "\(look)")
          #expect(isOpen || look.errors.contains("Permission denied"), "\(look)")
        }
        try check("kill", "\(child)", kill(child, SIGCONT))
        try login.tell(PamMachine.password)
        let status = try login.end()
        #expect(status == 0 && !login.text.contains("daemon-store"), "\(login.text)")
      }
    }
  }

  @Test func manyAtOnceLeaveNoKey() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        let logins = try (0..<6).map { index in
          let dialogue = try Dialogue(
            "nsenter",
            machine.words(
              ["pamtester", "login", index % 3 == 0 ? "bob" : "alice", "authenticate"]
                + ["open_session", "close_session"]))
          try dialogue.tell(PamMachine.password)
          return dialogue
        }
        for login in logins {
          let status = try login.end()
          #expect(status == 0 && !login.text.contains("daemon-store"), "\(login.text)")
        }
        for user in [Host.alice, Host.bob] {
          #expect(try machine.mounts(of: user).isEmpty)
          #expect(try machine.host.keyState(of: user) == "absent")
        }
      }
    }
  }
}

/// Whether a process keeps its memory out of swap, as from the moment that it asks for a password.
private func isAtWork(_ process: pid_t) throws -> Bool {
  guard process > 0, let status = try? readFile("/proc/\(process)/status") else { return false }
  return status.contains("VmLck:") && !status.contains("VmLck:\t       0 kB")
}

/// passwd(1): a program that is set-uid root, for a user.
@Suite(.needsRoot) struct PamPasswordTests {
  private static let new = "battery staple"

  /// What passwd(1) is to alice, or to root.
  private static func change(
    _ machine: PamMachine, _ lines: [String], asRoot: Bool = false
  ) throws -> Outcome {
    let words = (asRoot ? [] : ["setpriv", "--ruid", "1000"]) + ["pamtester", "login", "alice"]
    return try TestSupport.run(
      "nsenter", machine.words(words + ["chauthtok"]), stdin: lines.map { $0 + "\n" }.joined()
    ).named("passwd")
  }

  private static func opens(
    _ machine: PamMachine, _ password: String, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let login = try machine.login("alice", password: password)
    #expect(
      try machine.host.keyState(of: Host.alice) == "present", "\(login.text)",
      sourceLocation: sourceLocation)
    try login.dialogue.tell(password)
    #expect(try login.dialogue.end() == 0, "\(login.text)", sourceLocation: sourceLocation)
    #expect(
      try machine.host.keyState(of: Host.alice) == "absent", sourceLocation: sourceLocation)
  }

  @Test(arguments: [false, true])
  func vaultFollowsThePasswordOfTheLogin(isLoggedIn: Bool) async {
    await #expect(processExitsWith: .success) { [isLoggedIn] in
      inEncryptedPamMachine { machine in
        let login = isLoggedIn ? try machine.login("alice") : nil
        let outcome = try Self.change(machine, [PamMachine.password, Self.new, Self.new])
        #expect(outcome.status == 0 && !outcome.errors.contains("daemon-store"), "\(outcome)")
        if let login {
          try login.dialogue.tell(Self.new)
          #expect(try login.dialogue.end() == 0, "\(login.text)")
        }
        try Self.opens(machine, Self.new)
      }
    }
  }

  @Test func refusedPasswordChangesNothing() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        let path = "/home/.shadow/\(Host.alice)/vault.json"
        let before = try readFile(path)
        for lines in [
          ["not the old one"], [PamMachine.password, Self.new, "mistyped"],
          [PamMachine.password, "short", "short"],
        ] {
          let outcome = try Self.change(machine, lines)
          #expect(outcome.status != 0, "\(outcome)")
          #expect(!outcome.errors.contains("daemon-store"), "\(outcome)")
        }
        #expect(try readFile(path) == before)
        try Self.opens(machine, PamMachine.password)
      }
    }
  }

  /// pam_unix says yes to the new password, and then cannot write it.
  @Test func passwordThatIsNotWrittenChangesNothing() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        let path = "/home/.shadow/\(Host.alice)/vault.json"
        let before = try readFile(path)
        try machine.host.helpers.inside(machine.first) {
          try bindMount("/etc/shadow", "/etc/shadow")
        }
        let outcome = try Self.change(machine, [PamMachine.password, Self.new, Self.new])
        #expect(outcome.status != 0, "\(outcome)")
        #expect(try readFile(path) == before)
        try Self.opens(machine, PamMachine.password)
      }
    }
  }

  @Test func rootWhoDoesNotKnowTheOldOneIsTold() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        let outcome = try Self.change(machine, [Self.new, Self.new], asRoot: true)
        let words =
          "the daemon-store vault of alice keeps its password: the old one was not asked for"
        #expect(outcome.status == 0 && outcome.complains(of: words), "\(outcome)")
        let login = try machine.login("alice", password: Self.new)
        #expect(login.text.contains("its password is not that of the login"), "\(login.text)")
        login.kill()
        // The vault gets it first, and then the login: nothing is wrong.
        let passwd = try machine.run(
          "/mnt/programs/cryptohome", "passwd", "alice",
          stdin: "\(PamMachine.password)\n\(Self.new)x\n")
        #expect(passwd.status == 0, "\(passwd)")
        let next = try Self.change(machine, [Self.new, Self.new + "x", Self.new + "x"])
        #expect(next.status == 0 && !next.errors.contains("daemon-store"), "\(next)")
        try Self.opens(machine, Self.new + "x")
      }
    }
  }

  @Test func userWithoutAPasswordedVaultNoticesNothing() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        let outcome = try Self.change(machine, [PamMachine.password, Self.new, Self.new])
        #expect(outcome.status == 0 && !outcome.errors.contains("daemon-store"), "\(outcome)")
      }
    }
  }

  /// An expired password: changed in the middle of a login, between auth and the session.
  @Test func expiredPasswordIsChangedDuringLogin() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        let shadow = try readFile("/etc/shadow").split(separator: "\n").map { line in
          line.hasPrefix("alice:") ? line.replacing(":19000:", with: ":0:") : String(line)
        }
        try writeFile("/etc/shadow", shadow.joined(separator: "\n") + "\n", mode: 0o600)
        let login = try Dialogue(
          "nsenter",
          machine.words(
            ["pamtester", "login", "alice", "authenticate"]
              + ["chauthtok(PAM_CHANGE_EXPIRED_AUTHTOK)", "open_session", "authenticate"]))
        for line in [PamMachine.password, PamMachine.password, Self.new, Self.new] {
          try login.tell(line)
        }
        let isOpen = try eventually {
          try machine.host.keyState(of: Host.alice) == "present"
        }
        #expect(isOpen, "with the new one: \(login.text)")
        try login.tell(Self.new)
        #expect(try login.end() == 0, "\(login.text)")
        try machine.succeed("pam", "lock-ended")
        try Self.opens(machine, Self.new)
      }
    }
  }
}

extension Substring {
  fileprivate func replacing(_ old: String, with new: String) -> String {
    guard let start = indices.first(where: { self[$0...].hasPrefix(old) }) else {
      return String(self)
    }
    return self[..<start] + new + self[index(start, offsetBy: old.count)...]
  }
}
