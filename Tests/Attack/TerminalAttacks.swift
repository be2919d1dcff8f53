import TestSupport
import Testing

/// A program in a jail that was started from a terminal wants to type into it: what it types would
/// be read by the caller's shell.
@Suite(.needsRoot, .tags(.attack)) struct TerminalAttacks {
  /// Opens /dev/tty, types a line there, and says what came of it.
  private static let injector = """
    mkdir tools
    cat > inject.c <<'E'
    #include <errno.h>
    #include <fcntl.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/ioctl.h>
    #include <termios.h>
    int main(int count, char **words) {
      int tty = open("/dev/tty", O_RDWR);
      if (tty < 0) { printf("open %s\\n", strerror(errno)); return 1; }
      char *text = "injected\\n";
      for (char *byte = text; *byte; byte++)
        if (ioctl(tty, TIOCSTI, byte)) { printf("TIOCSTI %s\\n", strerror(errno)); break; }
      char code = 6;
      if (ioctl(tty, TIOCLINUX, &code)) printf("TIOCLINUX %s\\n", strerror(errno));
      // Only the lower half of a request counts.
      if (ioctl(tty, 0xf00000000UL | TIOCSTI, "x")) printf("upper %s\\n", strerror(errno));
    }
    E
    cc -static -o tools/inject inject.c 2>/dev/null
    mkfifo ended

    """

  /// What the caller reads from its terminal after `command` has ended: script(1) makes the
  /// terminal, and closes it then.
  private func whatCallerReads(_ command: String) throws -> Outcome {
    try CommandLine.run(
      Self.injector
        + """
        cat > session <<'E'
        stty -echo
        \(command) < /dev/null > /mnt/log 2>&1
        echo over > /mnt/ended
        line=; read -r line
        echo "read:$line"
        E
        { read _ < ended; } | script -qec 'sh /mnt/session' /dev/null | tr -d '\\r'
        cat log
        """)
  }

  @Test(arguments: [
    "minijail0 -u nobody -g nogroup -n -c 0 --ambient -- /mnt/tools/inject",
    "minijail0 -u nobody -g nogroup -p -v -d -P /var/empty -b /,/ -b /mnt/tools,/mnt -- /mnt/inject",
    "minijail0 -u nobody -g nogroup --profile=minimalistic-mountns-nodev -b /mnt/tools,/mnt -b /dev -- /mnt/inject",
    "minijail0 -U -m -M -- /mnt/tools/inject",
  ])
  func typesNothingForCaller(_ command: String) throws {
    let outcome = try whatCallerReads(command)
    #expect(outcome.lines == ["read:", "open No such device or address"], "\(outcome)")
  }

  @Test(arguments: [
    "setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs /mnt/tools/inject",
    "setpriv --reuid 65534 --regid 65534 --clear-groups unshare -Ur --mount --pid --fork /mnt/tools/inject",
  ])
  func otherProgramsLetItType(_ command: String) throws {
    let outcome = try whatCallerReads(command)
    #expect(outcome.lines.first == "read:injected", "\(outcome)")
  }

  @Test(arguments: ["", "--no-default-runtime-environment"])
  func sharedSessionDeniesTyping(_ options: String) throws {
    let outcome = try whatCallerReads(
      "minijail0 -u nobody -g nogroup --no-new-sessions \(options) -- /mnt/tools/inject")
    #expect(
      outcome.lines.filter { !$0.contains("warning") } == [
        "read:", "TIOCSTI Operation not permitted", "TIOCLINUX Operation not permitted",
        "upper Operation not permitted",
      ], "\(outcome)")
    #expect(outcome.output.contains("--no-new-sessions: the program keeps"), "\(outcome)")
  }

  @Test func strictRefusesSharedSession() throws {
    let outcome = try CommandLine.run("minijail0 --strict --no-new-sessions -- /bin/echo ran")
    #expect(outcome.status == 1 && outcome.output.isEmpty, "\(outcome)")
  }

  /// With a terminal of its own, a program types into that alone.
  @Test func ownTerminalIsNotCallers() throws {
    let outcome = try CommandLine.run(
      Self.injector
        + """
        cat > session <<'E'
        stty -echo
        minijail0 -u nobody -g nogroup --pty -p -v -- /mnt/tools/inject > /mnt/log
        echo "opened its own:$?"
        echo over > /mnt/ended
        line=; read -r line
        echo "read:$line"
        E
        { read _ < ended; } | script -qec 'sh /mnt/session' /dev/null | tr -d '\\r'
        """)
    #expect(outcome.lines.suffix(2) == ["opened its own:0", "read:"], "\(outcome)")
  }
}
