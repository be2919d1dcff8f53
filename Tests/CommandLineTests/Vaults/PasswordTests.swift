import Glibc
import TestSupport
import Testing

/// How passwords get in, and that they do not get out.
@Suite(.needsRoot) struct PasswordTests {
  @Test func whoHoldsAPasswordCannotBeLookedInto() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try host.create("alice")
        // It waits for the rest of the line.
        let outcome = try host.script(
          """
          mkfifo /mnt/pipe
          cryptohome mount alice --key-fd 7 7</mnt/pipe & exec 9>/mnt/pipe
          printf sec >&9
          tries=0
          until grep -q 'VmLck:.* [1-9]' /proc/$!/status || [ $((tries += 1)) = 500 ]; do sleep 0.02; done
          grep VmLck /proc/$!/status
          grep 'Max core file size' /proc/$!/limits
          tr '\\0' ' ' </proc/$!/cmdline; echo
          setpriv --reuid 1000 --clear-groups cat /proc/$!/mem 2>&1 | head -1
          echo ret >&9
          wait $!; echo status $?
          """)
        let lines = outcome.lines
        #expect(lines.count == 6 && lines.last == "status 0", "\(outcome)")
        #expect(lines[0].contains("kB") && !lines[0].contains(" 0 kB"), "\(outcome)")
        #expect(lines[1].split(separator: " ").suffix(3) == ["0", "0", "bytes"], "\(outcome)")
        #expect(lines[2] == "cryptohome mount alice --key-fd 7 ", "\(outcome)")
        try host.expectMounted(Host.alice, in: ["alpha"])
      }
    }
  }

  @Test func withoutTheRightToLockMemoryNoPasswordIsRead() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        let outcome = try host.script(
          "ulimit -l 0; echo secret | setpriv --bounding-set -ipc_lock cryptohome create alice")
        #expect(outcome.status == 1 && outcome.complaints.count == 1, "\(outcome)")
        #expect(outcome.complains(of: "mlockall", "CAP_IPC_LOCK"), "\(outcome)")
        #expect(try host.script("ls -A /home/.shadow").lines.isEmpty)
      }
    }
  }

  @Test func badPasswordsAreRefused() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        let long = String(repeating: "x", count: 4097)
        for (password, words) in [
          ("", ["empty"]), ("\0", ["zero byte"]), ("a\0b", ["zero byte"]),
          (long, ["longer than 4096"]),
        ] {
          let outcome = try host.run(lines: password, arguments: "create", "alice")
          #expect(outcome.status == 1 && outcome.complaints.count == 1, "\(outcome)")
          #expect(words.allSatisfy(outcome.errors.contains), "\(outcome)")
          #expect(!outcome.errors.contains("a\0b"))
        }
        #expect(try host.script("ls -A /home/.shadow 2>/dev/null").lines.isEmpty)
        for descriptor in ["99", "-1", "x", ""] {
          let outcome = try host.run(
            "cryptohome", "create", "alice", "--key-fd=\(descriptor)")
          #expect(outcome.status == 2 && outcome.complaints.count == 1, "\(outcome)")
        }
        let fits = String(long.dropLast())
        try host.create("alice", fits)
        try host.unlock("alice", fits)
      }
    }
  }

  /// A person at a terminal, played by Python on a pseudo-terminal.
  @Test func aTerminalIsAskedWithoutEcho() async {
    await #expect(processExitsWith: .success) {
      inEncryptedHost { host in
        try host.boot("alpha")
        try writeFile("/mnt/person", Self.person)
        let person = "python3 /mnt/person"
        let created = try host.script(
          "\(person) 'New password' secret 'same again' secret -- cryptohome create alice")
        #expect(created.status == 0 && !created.output.contains("secret"), "\(created)")
        let different = try host.script(
          "\(person) 'New password' one 'same again' other -- cryptohome create bob")
        #expect(different.status == 1 && different.output.contains("not the same"), "\(different)")
        #expect(try host.vaults() == [Host.alice])
        let mounted = try host.script(
          "\(person) 'Password for' secret -- cryptohome mount alice")
        #expect(mounted.status == 0 && mounted.output.contains("mounted alice"), "\(mounted)")
        #expect(!mounted.output.contains("secret"), "\(mounted)")
        try host.logout("alice")
        // Ctrl-C ends it, and the terminal shows again what is typed.
        let interrupted = try host.script(
          "\(person) 'Password for' '^C' -- cryptohome mount alice")
        #expect(interrupted.status == 130, "\(interrupted)")
        #expect(interrupted.output.contains("echo is on"), "\(interrupted)")
        #expect(try host.keyState(of: Host.alice) == "absent")
        let no = try host.script("\(person) 'Type yes' no -- cryptohome remove alice")
        #expect(no.status == 1, "\(no)")
        let yes = try host.script("\(person) 'Type yes' yes -- cryptohome remove alice")
        #expect(yes.status == 0, "\(yes)")
        #expect(try host.script("ls -A /home/.shadow").lines.isEmpty)
      }
    }
  }

  /// Waits for each prompt, types the answer, and prints what the terminal showed.
  private static let person = """
    import os, pty, signal, sys, termios, time
    split = sys.argv.index("--")
    talk, command = sys.argv[1:split], sys.argv[split + 1:]
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(command[0], command)
    shown = b""
    def read():
        global shown
        try:
            data = os.read(terminal, 4096)
        except OSError:
            return False
        shown += data
        return bool(data)
    for prompt, answer in zip(talk[::2], talk[1::2]):
        start = len(shown)
        while prompt.encode() not in shown[start:] and read():
            pass
        if prompt != "Type yes":
            while termios.tcgetattr(terminal)[3] & termios.ECHO:
                time.sleep(0.01)
        os.write(terminal, b"\\x03" if answer == "^C" else answer.encode() + b"\\n")
    _, status = os.waitpid(child, 0)
    on = termios.tcgetattr(terminal)[3] & termios.ECHO
    while read():
        pass
    sys.stdout.buffer.write(shown + b"\\n")
    print("echo is on" if on else "echo is off")
    sys.exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
    """
}
