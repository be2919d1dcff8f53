import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// A home directory below an encrypted one: nothing must land there in clear.
@Suite(.needsRoot, .tags(.attack)) struct HomeBelowVaultTests {
  private static func prepare(_ host: Host) throws {
    try host.boot("alpha")
    try host.makePasswdHome()
    try writeFile("/home/alice/thesis", "in clear")
    try makeDirectory("/home/alice/src")
    try writeFile("/home/alice/src/main.c", "int x;")
    let note = try host.script(
      "python3 -c \"import os; os.setxattr('/home/alice', 'user.note', b'kept')\"")
    #expect(note.status == 0, "\(note)")
  }

  /// Runs a shell line as alice, who has given no password.
  private static func asAlice(_ line: String) throws -> Outcome {
    try run(
      "setpriv", ["--reuid", "1000", "--regid", "1000", "--clear-groups", "sh", "-c", line])
  }

  @Test func nothingCanBeWrittenWhileVaultIsLocked() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try Self.prepare(host)
        let control = try Self.asAlice("echo diary > /home/alice/control")
        #expect(control.status == 0, "\(control)")
        let made = try host.createWithKeyFile("alice", "--home")
        #expect(made.output.contains("moved 3 files"), "\(made)")
        let before = "/home/.shadow/\(Host.alice)/before"
        #expect(attributes(before) == "0:0 700")
        #expect(try readFile("\(before)/thesis") == "in clear")
        #expect(attributes("/home/alice") == "0:1000 550")
        let note = try host.script(
          "python3 -c \"import os; print(os.getxattr('/home/alice', 'user.note').decode())\"")
        #expect(note.lines == ["kept"], "\(note)")

        for line in [
          "echo diary > /home/alice/diary", "mkdir /home/alice/new", "ln -s /tmp /home/alice/link",
          "chmod u+w /home/alice", "rmdir /home/alice", "ls \(before)",
        ] {
          let outcome = try Self.asAlice(line)
          #expect(outcome.status != 0, "\(line): \(outcome)")
        }
        let entered = try Self.asAlice("cd /home/alice && ls -A")
        #expect(entered.status == 0 && entered.output.isEmpty, "\(entered)")
        #expect(try host.run("daemon-store", "doctor", "--json").status == 0)

        try host.unlockWithKeyFile("alice")
        #expect(attributes("/home/alice") == "1000:1000 700")
        let written = try Self.asAlice("echo diary > /home/alice/diary")
        #expect(written.status == 0, "\(written)")
        try host.logout("alice")
        #expect(attributes("/home/alice") == "0:1000 550")
        #expect(try names(in: "/home/alice").isEmpty)

        // The end of the vault gives the home back as it was.
        let removed = try host.succeed("cryptohome", "remove", "alice", "--yes")
        #expect(removed.output.contains("restored /home/alice"), "\(removed)")
        #expect(attributes("/home/alice") == "1000:1000 750")
        #expect(try readFile("/home/alice/thesis") == "in clear")
        #expect(try names(in: "/home/.shadow").isEmpty)
      }
    }
  }

  @Test func newHomeBeginsWithTheSkeleton() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try Self.prepare(host)
        try makeDirectory("/etc/skel/.config")
        try writeFile("/etc/skel/.profile", "umask 077", mode: 0o644)
        try writeFile("/etc/skel/.config/app", "x", mode: 0o600)
        try makeLink("/etc/skel/link", to: ".profile")
        _ = try host.createWithKeyFile("alice", "--home")
        try host.unlockWithKeyFile("alice")
        #expect(attributes("/home/alice/.profile") == "file 1000:1000 644")
        #expect(attributes("/home/alice/.config/app") == "file 1000:1000 600")
        #expect(try readFile("/home/alice/link") == "umask 077")
        try remove("/home/alice/.profile")
        try host.logout("alice")
        try host.unlockWithKeyFile("alice")
        #expect(!exists("/home/alice/.profile"), "only a new home")
      }
    }
  }

  @Test func existingInstallationIsFoundAndRepaired() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try Self.prepare(host)
        _ = try host.createWithKeyFile("alice", "--home")
        // As an earlier version has left it: the user's own directory, with files.
        _ = try host.script(
          "chown alice:1000 /home/alice; chmod 755 /home/alice; echo x > /home/alice/new")
        let doctor = try host.run("daemon-store", "doctor", "--json")
        #expect(doctor.output.contains("home-in-clear"), "\(doctor)")
        #expect(doctor.output.contains("cryptohome repair-home \(Host.alice)"), "\(doctor)")
        let repaired = try host.succeed("cryptohome", "repair-home", "alice")
        #expect(repaired.output.contains("moved 1 file "), "\(repaired)")
        #expect(attributes("/home/alice") == "0:1000 550")
        #expect(try readFile("/home/.shadow/\(Host.alice)/before-2/new") == "x\n")
        #expect(try host.run("daemon-store", "doctor", "--json").status == 0)
        let again = try host.succeed("cryptohome", "repair-home", "alice")
        #expect(again.output.contains("nothing lies in clear"), "\(again)")
        let removed = try host.succeed("cryptohome", "remove", "alice", "--yes")
        #expect(removed.output.contains("before-2-\(Host.alice)"), "\(removed)")
        #expect(try readFile("/home/.shadow/before-2-\(Host.alice)/new") == "x\n")
        #expect(try readFile("/home/alice/thesis") == "in clear")
      }
    }
  }

  @Test func homeOnOtherFileSystemIsRefused() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try Self.prepare(host)
        try makeDirectory("/home/alice/x")
        try mountFilesystem("other", "/home/alice", "tmpfs")
        let refused = try host.run(lines: "secret", arguments: "create", "alice", "--home")
        #expect(refused.status == 1 && refused.complains(of: "/home/alice", "mount point"))
        #expect(try names(in: "/home/.shadow").isEmpty)
        try unmountFilesystem("/home/alice")
        try writeFile(
          "/etc/passwd", "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/mnt/alice:/bin/sh\n")
        try makeDirectory("/mnt/alice", owner: 1000, group: 1000, mode: 0o700)
        let far = try host.run(lines: "secret", arguments: "create", "alice", "--home")
        #expect(far.status == 1 && far.complains(of: "/mnt/alice", "another file system"), "\(far)")
        #expect(try names(in: "/home/.shadow").isEmpty)
      }
    }
  }

  /// A process that is there already would go on writing in clear, from its working directory.
  @Test func refusesHomeThatProcessUses() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try Self.prepare(host)
        let writer = try host.holder { try check("chdir", "src", chdir("/home/alice/src")) }
        _ = try host.script("head -c 32 /dev/urandom > /mnt/key")
        try host.refuse(
          ["/home/alice", "\(writer)", "in clear"], "cryptohome", "create", "alice", "--key-file",
          "/mnt/key", "--home")
        #expect(try names(in: "/home/.shadow").isEmpty && exists("/home/alice/src/main.c"))
        try host.helpers.stop(writer)
        _ = try host.createWithKeyFile("alice", "--home")
        #expect(try host.run("daemon-store", "doctor", "--json").status == 0)
        let late = try host.holder {
          let place = "/home/.shadow/\(Host.alice)/before/src"
          try check("chdir", place, chdir(place))
        }
        let doctor = try host.run("daemon-store", "doctor")
        #expect(
          doctor.output.contains("in clear beside the vault") && doctor.output.contains("\(late)"),
          "\(doctor)")
      }
    }
  }

  /// As after a kill between the vault and its home: both commands finish it.
  @Test(arguments: ["create", "mount"])
  func finishesHomeOfInterruptedCreate(command: String) async {
    await #expect(processExitsWith: .success) { [command] in
      inEncryptedHost { host in
        try Self.prepare(host)
        _ = try host.script("head -c 32 /dev/urandom > /mnt/key")
        // The exchange of the home is the last rename.
        var isMade = false
        for count in 1...99 where !isMade {
          let killed = try run(
            "/usr/bin/strace",
            [
              "-qq", "-o", "/dev/null", "-e", "trace=renameat,renameat2", "-e",
              "inject=renameat,renameat2:signal=KILL:when=\(count)", "/mnt/programs/cryptohome",
              "create", "alice", "--home", "--key-file", "/mnt/key",
            ])
          if killed.status == 0 { throw Problem("not one kill left a vault: \(killed)") }
          isMade =
            exists("/home/.shadow/\(Host.alice)/vault.json")
            && attributes("/home/alice") == "1000:1000 750"
          if !isMade {
            _ = try host.script("rm -rf /home/.shadow /var/lib/daemon-store")
          }
        }
        #expect(isMade && exists("/home/alice/thesis"))
        if command == "create" {
          let again = try host.createWithKeyFile("alice", "--home")
          #expect(again.output.contains("moved 2 files"), "\(again)")
        }
        try host.unlockWithKeyFile("alice")
        #expect(attributes("/home/alice") == "1000:1000 700")
        try host.logout("alice")
        #expect(attributes("/home/alice") == "0:1000 550")
        #expect(try names(in: "/home/alice").isEmpty)
        #expect(exists("/home/.shadow/\(Host.alice)/before/thesis"))
        let removed = try host.succeed("cryptohome", "remove", "alice", "--yes")
        #expect(removed.output.contains("restored /home/alice"), "\(removed)")
        #expect(attributes("/home/alice") == "1000:1000 750")
      }
    }
  }
}
