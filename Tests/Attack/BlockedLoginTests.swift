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

  /// The control: a service of PAM's that takes one lock for all users, run by pam_exec(8). A process
  /// that stands still with it stops every login.
  @Test(.tags(.attack), arguments: Attack.allCases)
  func oneLockForAllStopsEveryLogin(attack: Attack) async {
    await #expect(processExitsWith: .success) { [attack] in
      inPamMachine { machine in
        try writeFile("/etc/naive", "#!/bin/sh\nexec flock /run/naive.lock true\n", mode: 0o755)
        try writeFile("/etc/pam.d/naive", "session required pam_exec.so /etc/naive\n")
        func login() throws -> Outcome {
          try machine.run("timeout", "3", "pamtester", "naive", "alice", "open_session")
        }
        let alone = try login()
        #expect(alone.status == 0, "\(alone)")
        let holder = try machine.host.helpers.start(
          "nsenter",
          machine.words(["flock", "/run/naive.lock", "sh", "-c", "echo held; exec sleep 1000"]))
        let group = try Self.strike(holder, attack)
        defer { Self.release(holder, group) }
        let blocked = try login()
        #expect(blocked.status == 124, "\(blocked)")
      }
    }
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
        // The control: flock(1) waits for it in vain, and names no process.
        let naive = try machine.run("flock", "--timeout", "1", path, "true")
        #expect(naive.status == 1 && naive.errors.isEmpty, "\(naive)")
        let status = try login.end()
        #expect(status == 0, "a login is never refused: \(login.text)")
        #expect(
          login.text.contains("\(path): is held by flock (pid ")
            && login.text.contains(") of root, which is still logging this user in or out"),
          "\(login.text)")
      }
    }
  }

  /// How often bob tries, with each of five delays twice. On the first version 10 of 10 tries stopped the
  /// helper, so one try shows it.
  private static let tries = 10

  /// Ctrl-Z on a terminal, at any moment of a change of password.
  @Test(.tags(.attack)) func terminalStopsNothing() async {
    await #expect(processExitsWith: .success) {
      inEncryptedPamMachine { machine in
        try PamMachine.write(service: "passwd")
        let installed = try machine.host.script(
          "cp $(command -v pamtester) /run/passwd && chmod 4755 /run/passwd")
        #expect(installed.status == 0, "\(installed)")
        try writeFile("/etc/attack.py", Self.attack)
        var password = PamMachine.password
        for time in 0..<Self.tries {
          let next = "zebra tango \(time)1"
          let attacker = try machine.run(
            "python3", "/etc/attack.py", "\(20 * (time % 5))", password, next, "/run/passwd",
            "passwd", "bob", "chauthtok")
          #expect(attacker.status == 0, "\(time): \(attacker)")
          password = next
        }
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

  /// The control: a set-uid program whose helper stays on the caller's terminal.
  @Test(.tags(.attack)) func terminalStopsHelperOfNaiveProgram() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        try writeFile("/etc/naive.c", Self.naive)
        let made = try machine.host.script(
          "gcc -w -o /run/naive /etc/naive.c && chmod 4755 /run/naive")
        #expect(made.status == 0, "\(made)")
        try writeFile("/etc/attack.py", Self.attack)
        let attacker = try machine.run(
          "python3", "/etc/attack.py", "20", "one", "two", "/run/naive")
        #expect(attacker.errors == "the helper is stopped\n", "\(attacker)")
      }
    }
  }

  private static let naive = """
    #include <sys/wait.h>
    #include <unistd.h>
    int main(int count, char **words) {
      char text[100];
      if (count > 1) return sleep(30);
      write(1, "Password: ", 10);
      read(0, text, sizeof text);
      if (fork() == 0) execl("/proc/self/exe", "naive", "pam", "change", (char *)0);
      wait(0);
    }
    """

  /// bob runs a program that is set-uid root, as passwd(1) is, on a terminal, and types ^Z when its helper
  /// is there, after a delay in milliseconds.
  private static let attack = """
    import os, pty, select, signal, sys, time
    delay, *passwords = sys.argv[1:4]
    program = sys.argv[4:]
    def helper():
        for name in os.listdir("/proc"):
            try:
                words = open("/proc/%s/cmdline" % name, "rb").read().split(b"\\0")
            except OSError:
                continue
            if b"pam" in words and b"change" in words:
                return int(name)
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
            os.execv(program[0], program)
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
            os.write(terminal, (passwords[answers > 1] + "\\n").encode())
        if helper():
            time.sleep(int(delay) / 1000)
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
