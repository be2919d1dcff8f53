import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// S16: a process that works for one user is stopped, frozen or killed. The logins of other users, and
/// the boot, go on.
@Suite(.needsRoot) struct BlockedLoginTests {
  enum Attack: String, Codable, CaseIterable, Sendable {
    case stop, freeze, kill
  }

  @Test(.tags(.attack), arguments: Attack.allCases)
  func loginsGoOnBesideAHelperThatDoesNot(attack: Attack) async {
    await #expect(processExitsWith: .success) { [attack] in
      inEncryptedPamMachine { machine in
        let outcome = try machine.run(
          "/mnt/programs/cryptohome", "create", "carol", stdin: PamMachine.password)
        #expect(outcome.status == 0, "\(outcome)")
        let (bob, helper) = try machine.beginLogin("bob")
        let group = try Self.strike(helper, attack)
        defer { Self.release(helper, group) }
        let start = ContinuousClock.now
        for user in ["alice", "carol"] {
          let login = try machine.login(user)
          #expect(!login.text.contains("daemon-store"), "\(login.text)")
          try login.logout()
        }
        let startup = try machine.run("/mnt/programs/daemon-store", "startup")
        #expect(startup.status == 0, "\(startup)")
        print("beside a helper that does not go on: \(ContinuousClock.now - start)")
        #expect(try machine.mounts(of: Host.alice).isEmpty)
        #expect(try machine.mounts(of: Host.carol).isEmpty)
        bob.kill()
      }
    }
  }

  /// Returns the control group that is frozen.
  private static func strike(_ process: pid_t, _ attack: Attack) throws -> String? {
    switch attack {
    case .stop: try check("kill", nil, Glibc.kill(process, SIGSTOP))
    case .kill: try check("kill", nil, Glibc.kill(process, SIGKILL))
    case .freeze:
      try makeDirectory("/mnt/cgroup")
      try mountFilesystem("cgroup", "/mnt/cgroup", "cgroup2")
      let group = "/mnt/cgroup/frozen-\(process)"
      try makeDirectory(group)
      try writeFile("\(group)/cgroup.procs", "\(process)")
      try writeFile("\(group)/cgroup.freeze", "1")
      return group
    }
    return nil
  }

  private static func release(_ process: pid_t, _ group: String?) {
    kill(process, SIGCONT)
    guard let group else { return }
    try? writeFile("\(group)/cgroup.freeze", "0")
    kill(process, SIGKILL)
    _ = eventually { rmdir(group) == 0 }
  }

  /// A lock that is held for good delays its own user for 30 seconds, and the error names the holder.
  @Test(.tags(.attack)) func errorNamesTheHolderOfALock() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        let path = "/run/cryptohome/\(Host.alice).lock"
        let holder = try machine.host.helpers.start(
          "nsenter", machine.words(["flock", path, "sh", "-c", "echo held; sleep 1000"]))
        kill(holder, SIGSTOP)
        let login = try Dialogue(
          "nsenter", machine.words(["pamtester", "login", "alice", "authenticate", "open_session"]))
        try login.tell(PamMachine.password)
        let bob = try machine.login("bob")
        try bob.logout()
        let status = try login.end()
        #expect(status == 0, "a login is never refused: \(login.text)")
        #expect(
          login.text.contains("\(path): is held by flock (pid ")
            && login.text.contains(") of root, which is still logging this user in or out"),
          "\(login.text)")
      }
    }
  }

  /// Ctrl-Z on a terminal, at any moment of a change of password.
  @Test(.tags(.attack)) func terminalStopsNothing() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        try PamMachine.write(service: "passwd")
        try writeFile("/etc/attack.py", Self.attack)
        let attacker = try machine.run("python3", "/etc/attack.py", PamMachine.password)
        #expect(attacker.status == 0, "\(attacker)")
        for user in ["alice", "carol"] {
          let login = try machine.login(user)
          try login.logout()
        }
        let stopped = try machine.processes(with: ["pam"]).filter {
          try readFile("/proc/\($0)/stat").contains(") T ")
        }
        #expect(stopped.isEmpty)
        let startup = try machine.run("/mnt/programs/daemon-store", "startup")
        #expect(startup.status == 0, "\(startup)")
      }
    }
  }

  /// bob runs pamtester, set-uid root, as passwd would be, on a terminal, and types ^Z when the helper
  /// is there; several times, with a growing delay.
  private static let attack = """
    import os, pty, select, shutil, signal, sys, time
    passwords = [sys.argv[1]] + ["zebra tango %d1" % n for n in range(9)]
    shutil.copy(shutil.which("pamtester"), "/run/passwd")
    os.chmod("/run/passwd", 0o4755)
    def helper():
        for name in os.listdir("/proc"):
            try:
                words = open("/proc/%s/cmdline" % name, "rb").read().split(b"\\0")
            except OSError:
                continue
            if b"pam" in words and b"change" in words:
                return int(name)
    for attempt in range(4):
        child, terminal = pty.fork()
        if child == 0:
            os.setgroups([]); os.setresgid(1001, 1001, 1001); os.setresuid(1001, 1001, 1001)
            # From a shell, whose child passwd is: the process group is not an orphan.
            job = os.fork()
            if job == 0:
                os.setpgid(0, 0)
                signal.signal(signal.SIGTTOU, signal.SIG_IGN)
                os.tcsetpgrp(0, os.getpid())
                signal.signal(signal.SIGTTOU, signal.SIG_DFL)
                os.execv("/run/passwd", ["passwd", "passwd", "bob", "chauthtok"])
            os.waitpid(job, os.WUNTRACED)
            signal.pause()
        said, answers, end = b"", 0, time.monotonic() + 30
        while time.monotonic() < end:
            ready, _, _ = select.select([terminal], [], [], 0.001)
            if ready:
                try:
                    said += os.read(terminal, 4096)
                except OSError:
                    break
            if said.lower().count(b"password:") > answers:
                answers += 1
                password = passwords[attempt + (answers > 1)]
                os.write(terminal, (password + "\\n").encode())
            if helper():
                time.sleep(0.02 * attempt)
                os.write(terminal, b"\\x1a")
                break
        else:
            sys.exit("no helper was seen: " + repr(said))
        # What stops is passwd itself, and not the helper.
        while (process := helper()) and time.monotonic() < end:
            try:
                if ") T " in open("/proc/%d/stat" % process).read():
                    sys.exit("the helper is stopped")
            except OSError:
                pass
        os.close(terminal)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    """
}
