import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// What an attacker gets who takes cryptohomed over, or a cryptohome that it has started.
@Suite(.needsRoot) struct LeastPrivilegeTests {
  /// CAP_CHOWN to CAP_KILL, IPC_LOCK, SYS_CHROOT, SYS_PTRACE and SYS_ADMIN.
  private static let capabilities = "00000000002c403f"

  @Test(.tags(.attack)) func serviceAndItsHelpersKeepWhatTheyNeed() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        let service = try machine.startService()
        // The helper stops at the user's lock, and is looked at there.
        let lock = try check(
          "open", "lock",
          open("/run/cryptohome/\(Host.alice).lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600))
        try check("flock", nil, flock(lock, LOCK_EX))
        let (login, helper) = try machine.beginLogin("alice")
        for process in [service.process, helper] {
          let lines = try readFile("/proc/\(process)/status").split(separator: "\n")
          for line in [
            "CapEff:\t\(Self.capabilities)", "CapPrm:\t\(Self.capabilities)",
            "CapBnd:\t\(Self.capabilities)", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1",
            "Seccomp:\t2",
          ] {
            #expect(lines.contains { $0 == line }, "\(line): \(lines)")
          }
          let limits = try readFile("/proc/\(process)/limits").split(separator: "\n")
          let core = limits.first { $0.hasPrefix("Max core file size") }?.split(separator: " ")
          #expect(core?[4...5] == ["0", "0"], "\(limits)")
        }
        // Not a child of the login, and not in its session.
        let fields = try readFile("/proc/\(helper)/stat").split(separator: ")").last?
          .split(separator: " ")
        let number = try PamMachine.leaderName(of: service.process).split(separator: ".")[0]
        #expect(fields?[1] == "\(service.process)" || fields?[1] == number, "\(fields ?? [])")
        close(lock)
        let status = try login.end()
        #expect(status == 0 && !login.text.contains("daemon-store"), "\(login.text)")
        service.kill()
      }
    }
  }

  @Test(.tags(.attack)) func nothingIsSetID() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { _ in
        // Programs, libraries and the PAM module, each as it is installed.
        let files = try names(in: "/mnt/programs")
        #expect(Set(files).isSuperset(of: ["daemon-store", "minijail0", "pam_daemonstore.so"]))
        for name in files {
          var file = stat()
          try check("stat", "\(name)", stat("/mnt/programs/\(name)", &file))
          #expect(file.st_mode & 0o6000 == 0, "\(name)")
        }
        let capabilities = try run(
          "getfattr", ["-R", "-m", "security.capability", "--absolute-names", "/mnt/programs"])
        #expect(capabilities.status == 0 && capabilities.output.isEmpty, "\(capabilities)")
        let makefile = try readFile(projectFile("Makefile"))
        #expect(!makefile.contains("setcap") && !makefile.contains("-m 4"), "what is installed")
      }
    }
  }

  /// Modules of the name service are code of others: what only asks them keeps no capability.
  @Test(.tags(.attack), arguments: ["account --group=cryptohome 0", "names \(Host.alice)"])
  func nameServiceIsAskedWithoutCapabilities(_ words: String) async {
    await #expect(processExitsWith: .success) { [words] in
      inBusMachine { machine in
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        let outcome = try machine.run([
          "sh", "-c",
          """
          strace -f -e trace=capset,openat -o /mnt/trace /mnt/programs/cryptohome pam \(words) || exit
          grep -nE 'capset.*permitted=0|openat.*nsswitch.conf' /mnt/trace
          """,
        ])
        let calls = outcome.lines.filter { $0.contains("capset") || $0.contains("nsswitch") }
        #expect(calls.first?.contains("capset") == true, "\(outcome)")
        #expect(calls.contains { $0.contains("nsswitch") }, "\(outcome)")
      }
    }
  }
}
