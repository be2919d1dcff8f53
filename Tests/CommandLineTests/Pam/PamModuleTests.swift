import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// What the module does with a password, and what it leaves alone.
@Suite(.needsRoot) struct PamModuleTests {
  @Test func userWithoutAVaultNoticesNothing() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        let login = try machine.login("carol")
        #expect(!exists("/run/cryptohome/sessions"))
        try login.logout()
        #expect(!login.text.contains("daemon-store"), "\(login.text)")
        // Nor does anybody on a system that has no salt, and so no vault.
        try remove("/var/lib/system_salt")
        _ = try machine.host.script("rm -r /home/.shadow")
        try machine.login("carol").logout()
        #expect(!exists("/var/lib/system_salt") && !exists("/home/.shadow"))
      }
    }
  }

  @Test func sudoIsNoLoginUnlessAsked() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        try machine.login("alice", service: "sudo").logout()
        #expect(machine.records(of: Host.alice).isEmpty)
        let login = try machine.login("alice", service: "sudo")
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        try login.logout()
        try PamMachine.write(service: "sudo", with: "all-services")
        let asked = try machine.login("alice", service: "sudo")
        #expect(try machine.mounts(of: Host.alice).count == 4)
        try asked.logout()
        #expect(try machine.mounts(of: Host.alice).isEmpty)
      }
    }
  }

  @Test func vaultThatCannotBeOpenedIsAMessage() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        try writeFile("/home/.shadow/\(Host.alice)/vault.json", "{}")
        let login = try machine.login("alice")
        #expect(login.text.contains("your daemon-store vault stays locked: "), "\(login.text)")
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        try login.logout()
      }
    }
  }

  @Test(arguments: ["/mnt/programs/missing", "/bin/false", "/etc/passwd"])
  func programThatDoesNotRunIsAMessage(program: String) async {
    await #expect(processExitsWith: .success) { [program] in
      inPamMachine { machine in
        let module = "/mnt/programs/pam_daemonstore.so cryptohome=\(program)"
        try writeFile(
          "/etc/pam.d/login",
          "auth required pam_unix.so\nauth optional \(module)\nsession required \(module)\n")
        let login = try machine.login("alice")
        try login.logout()
        let isTold = login.text.contains("your daemon-store vault: cryptohome could not be run")
        #expect(isTold == (program != "/bin/false"), "\(login.text)")
      }
    }
  }

  /// The child stops at the user's lock, and is looked at there.
  @Test func passwordIsNowhereToBeSeen() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        let lock = try check(
          "open", "lock",
          open("/run/cryptohome/\(Host.alice).lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600))
        try check("flock", nil, flock(lock, LOCK_EX))
        let login = try Dialogue(
          "nsenter",
          machine.words(
            [
              "env", "SECRET=\(PamMachine.password)", "sh", "-c",
              "exec 7</etc/passwd; trap '' HUP TERM; ulimit -t 60 -n 64; exec nice -n 9 pamtester \"$@\"",
              "sh",
              "login", "alice", "authenticate", "open_session",
            ]))
        try login.tell(PamMachine.password)
        let isWaiting = try eventually {
          guard let child = try children(of: login.process).first else { return false }
          let files = (try? names(in: "/proc/\(child)/fd")) ?? []
          return files.contains {
            (try? linkTarget(of: "/proc/\(child)/fd/\($0)"))?.description.hasSuffix(
              "/\(Host.alice).lock")
              == true
          }
        }
        #expect(isWaiting)
        let child = try #require(try children(of: login.process).first)
        let place = "/proc/\(child)"
        let commandLine = try readFile("\(place)/cmdline").split(separator: "\0")
        #expect(
          commandLine.prefix(6) == ["cryptohome", "pam", "open", "--leader-fd", "3", "--session"]
            && commandLine.dropFirst(7) == ["--stay", "--", "alice"], "\(commandLine)")
        // In a session of its own, with the limits and the scheduling of a system service.
        let session = try readFile("\(place)/stat").split(separator: ")").last?
          .split(separator: " ")[3]
        #expect(session.map(String.init) == "\(child)", "\(session ?? "")")
        #expect(getpriority(CInt(PRIO_PROCESS.rawValue), id_t(child)) == 0)
        #expect(try readFile("\(place)/oom_score_adj") == "0\n")
        #expect(try readFile("\(place)/environ").isEmpty)
        let files = try names(in: "\(place)/fd").map { try linkTarget(of: "\(place)/fd/\($0)") }
        #expect(!files.contains("/etc/passwd"), "\(files)")
        let limits = try readFile("\(place)/limits").split(separator: "\n")
        let core = limits.first { $0.hasPrefix("Max core file size") }?.split(separator: " ")
        #expect(core?[4...5] == ["0", "0"], "\(limits)")
        let time = limits.first { $0.hasPrefix("Max cpu time") }?.split(separator: " ")
        #expect(time?[3...4] == ["unlimited", "unlimited"], "\(limits)")
        let status = try readFile("\(place)/status").split(separator: "\n")
        // Nothing but SIGPIPE and SIGXFSZ, which the program ignores, and two of libc.
        let ignored = status.first { $0.hasPrefix("SigIgn:\t") }?.dropFirst(8)
        let signals = ignored.flatMap { UInt64($0, radix: 16) }
        let expected: UInt64 = 1 << (SIGPIPE - 1) | 1 << (SIGXFSZ - 1)
        #expect(signals.map { $0 & ~(3 << 31) } == expected, "\(status)")
        #expect(status.contains("SigBlk:\t0000000000000000"), "\(status)")
        #expect(status.contains("Uid:\t0\t0\t0\t0") && status.contains("Umask:\t0077"))
        #expect(try linkTarget(of: "\(place)/cwd") == "/")
        close(lock)
        let end = try login.end()
        #expect(end == 0, "\(login.text)")
      }
    }
  }
}
