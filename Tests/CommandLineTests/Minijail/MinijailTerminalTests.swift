import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// `--pty`, and what becomes of the caller's terminal: on real terminals.
@Suite(.needsRoot) struct MinijailTerminalTests {
  /// A shell at a terminal, in a machine of its own.
  private final class Session {
    private var controller: CInt
    private let process: pid_t
    private var hasEnded = false
    private(set) var text = ""
    private var seen = 0

    init(_ command: String) throws {
      var numbers: (CInt, CInt) = (-1, -1)
      var size = winsize(ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0)
      try check("openpty", nil, openpty(&numbers.0, &numbers.1, nil, nil, &size))
      controller = numbers.0
      let terminal = Descriptor(owning: numbers.1)
      let set = "mount -t tmpfs none /mnt; mkdir /mnt/p; mount --bind \(try builtPrograms()) /mnt/p"
      process = try spawn(
        "unshare",
        [
          "--mount", "--propagation", "private", "setsid", "--ctty", "sh", "-c",
          "\(set); cd /mnt; PATH=/mnt/p:$PATH; stty -echo noflsh; \(command)",
        ].map { Array($0.utf8CString) }, environment: nil, stdin: terminal.number,
        stdout: terminal.number, stderr: terminal.number)
    }

    deinit {
      close(controller)
      if !hasEnded {
        kill(process, SIGKILL)
        _ = waitpid(process, nil, 0)
      }
    }

    func type(_ keys: String) throws {
      let bytes = Array(keys.utf8)
      try check("write", "terminal", write(controller, bytes, bytes.count))
    }

    /// Closes the terminal, and waits for the end of what runs on it; the exit status.
    func hangUp() throws -> CInt {
      close(controller)
      controller = -1
      var status: CInt = 0
      guard eventually({ waitpid(process, &status, WNOHANG) == process }) else {
        throw Problem("it goes on without its terminal")
      }
      hasEnded = true
      return linux_wait_exited(status)
    }

    func resize(_ rows: UInt16, _ columns: UInt16) {
      var size = winsize(ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
      _ = ioctl(controller, UInt(TIOCSWINSZ), &size)
    }

    /// Reads until it has said `words`, after what was there when it was last waited for.
    func wait(for words: String) throws {
      let end = ContinuousClock.now + .seconds(30)
      while true {
        let rest = String(text.utf8.dropFirst(seen)) ?? ""
        if let range = rest.firstRange(of: words) {
          seen += rest[..<range.upperBound].utf8.count
          return
        }
        var entry = pollfd(fd: controller, events: Int16(POLLIN), revents: 0)
        var buffer = [UInt8](repeating: 0, count: 4096)
        guard ContinuousClock.now < end, poll(&entry, 1, 30_000) == 1 else {
          throw Problem("no '\(words)' in:\n\(text.suffix(2000))")
        }
        let count = read(controller, &buffer, buffer.count)
        guard count > 0 else { throw Problem("ended without '\(words)':\n\(text)") }
        text += String(decoding: buffer[..<count].filter { $0 != 13 }, as: UTF8.self)
      }
    }
  }

  @Test(arguments: ["", "-p", "-v -d", "-v -p -d -u nobody -g nogroup", "-U -m -M"])
  func shellHasJobControl(_ options: String) throws {
    let session = try Session("minijail0 --pty \(options) -- /bin/sh -i; echo status $?; stty -a")
    try session.type("PS1=; stty -echo noflsh; tty < /dev/tty >/dev/null && echo has-\"tty\"\n")
    try session.wait(for: "has-tty")
    // The interrupt key ends the foreground job, and the shell goes on. The job itself says that it
    // runs: a key pressed before it starts would reach the shell alone.
    try session.type("sh -c 'echo first-\"job\"; exec sleep 1000'\n")
    try session.wait(for: "first-job")
    try session.type("\u{3}")
    try session.type("echo second-\"job\"; sh -c 'echo in-\"front\"; exec sleep 1000'\n")
    try session.wait(for: "in-front")
    // The stop key stops it.
    try session.type("\u{1a}")
    try session.wait(for: "Stopped")
    try session.type("kill -KILL %1; wait %1; echo third-\"job\"\n")
    try session.wait(for: "third-job")
    session.resize(33, 99)
    try session.type("until test \"$(stty size)\" = '33 99'; do :; done; echo re\"sized\"\n")
    try session.wait(for: "resized")
    // The second one is for a shell that has not noticed yet that its job is gone.
    try session.type("exit 7\nexit 7\n")
    try session.wait(for: "status 7")
    // The caller's terminal is as it was.
    try session.wait(for: " icanon ")
  }

  @Test(arguments: ["", "-p"])
  func inputEndsAndStatusIsKept(_ options: String) throws {
    let outcome = try CommandLine.run(
      "printf 'one\\ntwo' | minijail0 --pty \(options) -- /bin/sh -c "
        + "'stty -echo; cat; test -t 0 && test -t 1 && test -t 2 && exit 5' | tr -d '\\r'; "
        + "minijail0 --pty \(options) -- /bin/sh -c 'exit 5' < /dev/null; echo $?; "
        + "minijail0 --pty \(options) -- /bin/echo all < /dev/null")
    // "two" ends without a line feed. The terminal makes two bytes of each line feed.
    let end = Array("two5\nall\r\n".utf8)
    #expect(Array(outcome.output.utf8).suffix(end.count).elementsEqual(end), "\(outcome)")
    #expect(outcome.errors.isEmpty, "\(outcome)")
  }

  /// All that a program wrote before its end is shown.
  @Test func outputIsComplete() throws {
    let outcome = try CommandLine.run(
      "minijail0 --pty -p -- /usr/bin/seq 20000 < /dev/null | tr -d '\\r' | cksum; seq 20000 | cksum"
    )
    #expect(outcome.lines.count == 2 && Set(outcome.lines).count == 1, "\(outcome)")
  }

  @Test(arguments: ["TERM", "HUP", "INT"])
  func signalReachesProgramAndTerminalIsRestored(_ signal: String) throws {
    let outcome = try CommandLine.run(
      """
      cat > program <<'E'
      trap 'exit 9' \(signal)
      echo > /mnt/go
      while :; do sleep 0.01; done
      E
      cat > session <<'E'
      sh -c 'echo $$ > /mnt/launcher; exec minijail0 --pty -- /bin/sh /mnt/program'
      echo status $?; stty -a
      E
      mkfifo go
      # A shell starts what is in the background with INT ignored.
      env --default-signal=INT,QUIT script -qec 'sh /mnt/session' /dev/null < /dev/null > log & read _ < go
      kill -\(signal) $(cat launcher); wait; cat log
      """)
    #expect(outcome.output.contains("status 9"), "\(outcome)")
    #expect(outcome.output.contains(" icanon "), "\(outcome)")
  }

  @Test(arguments: ["", "-p"])
  func closedTerminalHangsUp(_ options: String) throws {
    let session = try Session(
      "exec minijail0 --pty \(options) -- /bin/sh -c 'trap \"exit 9\" HUP; echo rea\"dy\"; "
        + "while :; do sleep 0.01; done'")
    try session.wait(for: "ready")
    #expect(try session.hangUp() == 9)
  }

  /// Without --pty: the stop key stops the program's group and the launcher, and `fg` continues both.
  @Test(arguments: ["", "-p"])
  func stopKeyStopsLauncherAndProgram(_ options: String) throws {
    let session = try Session("PS1= exec sh -i")
    // The process id keeps apart two runs of this test at one time. The program starts no other: one
    // that waits for the child it made by vfork(2) does not stop before that has called execve(2).
    let tag = "tag\(options)-\(getpid())"
    try session.type("stty -echo noflsh; PS1=; PATH=/mnt/p:$PATH; : > ticks; echo be\"gin\"\n")
    try session.wait(for: "begin")
    try session.type(
      "minijail0 \(options) -- /bin/sh -c ': \(tag);echo in-\"jail\"; while :; do echo tick >> /mnt/ticks; "
        + "done'\n")
    try session.wait(for: "in-jail")
    let shell = try #require(
      try names(in: "/proc").first {
        (try? readFile("/proc/\($0)/cmdline"))?.hasPrefix("/bin/sh\u{0}-c\u{0}: \(tag);") == true
      })
    try session.type("\u{1a}")
    try session.wait(for: "Stopped")
    try session.type(
      "until grep -q '^State:.T' /proc/\(shell)/status; do :; done; echo is-\"stopped\"\n")
    try session.wait(for: "is-stopped")
    try session.type(
      "b=$(wc -c < ticks); bg; until test $(wc -c < ticks) -gt $b; do :; done; echo goes-\"on\"\n")
    try session.wait(for: "goes-on")
    try session.type("kill %1; wait; echo o\"ver\"\n")
    try session.wait(for: "over")
  }
}
