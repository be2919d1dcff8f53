import FoundationEssentials
import Glibc
import TestSupport
import Testing

/// What others could change, or what fails on the way, never keeps a vault open.
@Suite(.needsRoot, .tags(.attack)) struct DistrustTests {
  private struct Finding: Decodable {
    let kind: String
    let subject: String
    let fix: String
  }

  /// A logout that looks at the directories first and ends where others can write one, as the first version
  /// did, unmounts nothing: status 1.
  private static func expectNaiveLogoutRefuses(_ host: Host) throws {
    let outcome = try host.script(
      "test -z \"$(find /home /home/user /home/.shadow /run/daemon-store -maxdepth 0 "
        + "\\( -perm /022 -o ! -user 0 \\))\" && umount /home/user/\(Host.alice)")
    #expect(outcome.status == 1 && outcome.errors.isEmpty, "\(outcome)")
    #expect(try host.keyState(of: Host.alice) == "present")
  }

  @Test(arguments: ["/home", "/home/user", "/home/.shadow", "/run/daemon-store"])
  func locksAVaultBelowADirectoryOfOthers(path: String) async {
    await #expect(processExitsWith: .success) { [path] in
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice")
        try host.unlock("alice")
        let jail = try host.jail(following: "alpha")
        try setMode(path, 0o777)
        try Self.expectNaiveLogoutRefuses(host)
        let status = try host.run("cryptohome", "status")
        #expect(status.status == 0 && status.output.contains("unlocked"), "\(status)")
        try host.refuse(status: 3, [path, "0777"], "cryptohome", "unmount", "alice")
        #expect(try host.keyState(of: Host.alice) == "absent")
        try host.expectGone(Host.alice, from: ["alpha"])
        #expect(try mountTable(of: jail).naming(Host.alice).isEmpty)

        let doctor = try host.run("daemon-store", "doctor", "--json")
        let findings = try decode([Finding].self, doctor.output)
        let finding = try #require(findings.first { $0.subject == path }, "\(doctor)")
        let fixed = try host.script(finding.fix)
        #expect(fixed.status == 0, "\(fixed)")
        try host.unlock("alice")
        try host.logout("alice")
      }
    }
  }

  @Test func locksEveryVault() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice")
        try host.unlock("alice")
        try setOwner("/home", 1001, 1001)
        try Self.expectNaiveLogoutRefuses(host)
        try host.refuse(status: 3, ["/home", "1001"], "cryptohome", "unmount", "--all")
        #expect(try host.keyState(of: Host.alice) == "absent")
        try setMode("/run/daemon-store", 0o777)
        try host.refuse(
          status: 3, ["/run/daemon-store", "0777"], "daemon-store", "shutdown")
        #expect(try host.table().below("/run/daemon-store").isEmpty)
      }
    }
  }

  /// One call in the search for processes fails: the key goes all the same.
  @Test func removesTheKeyWhateverFails() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice")
        try host.unlock("alice")
        // The control: a script that ends at the first failure.
        let naive = try run(
          "strace",
          [
            "-f", "-o", "/dev/null", "-P", "/proc", "-e", "trace=openat", "-e",
            "inject=openat:error=ENOMEM:when=1", "sh", "-ec",
            "ls /proc; umount -R /home/user/\(Host.alice)",
          ])
        #expect(naive.status == 2 && naive.errors.contains("/proc"), "\(naive)")
        #expect(try host.keyState(of: Host.alice) == "present")
        for time in 1...12 {
          try host.unlock("alice")
          let outcome = try run(
            "strace",
            [
              "-o", "/dev/null", "-P", "/proc", "-e", "trace=openat2", "-e",
              "inject=openat2:error=ENOMEM:when=\(time)", "/mnt/programs/cryptohome", "unmount",
              "alice",
            ])
          #expect([0, 3].contains(outcome.status), "\(time): \(outcome)")
          #expect(try host.keyState(of: Host.alice) == "absent", "\(time): \(outcome)")
          try host.logout("alice")
        }
      }
    }
  }
}
