import TestSupport
import Testing

/// Namespaces, files, limits, environment, descriptors, configuration files.
@Suite(.needsRoot) struct MinijailRunningTests {
  /// Which namespaces the program shares with its caller, by the links in `/proc`.
  @Test(
    arguments: [
      ("", []), ("-v", ["mnt"]), ("-l", ["ipc"]), ("-N", ["cgroup"]), ("-e", ["net"]),
      ("--uts", ["uts"]), ("-p", ["mnt", "pid"]), ("-I", ["mnt", "pid"]),
      ("-U", ["mnt", "pid", "user"]), ("-m", ["mnt", "pid", "user"]),
      ("-M", ["mnt", "pid", "user"]), ("-r", ["mnt"]), ("-t", ["mnt"]), ("-d", ["mnt"]),
      ("-k x,/mnt/s,tmpfs", ["mnt"]), ("-P /mnt/empty -b / -b /proc", ["mnt"]), ("-C /", []),
      ("-vlNpe --uts -U", ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]),
    ] as [(String, [String])])
  func namespaces(_ options: String, _ new: [String]) throws {
    let list = "for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done"
    let outcome = try CommandLine.run(
      "\(list); minijail0 \(options) -- /bin/sh -c '\(list)'")
    #expect(outcome.status == 0 && outcome.lines.count == 14, "\(outcome)")
    guard outcome.lines.count == 14 else { return }
    let names = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]
    let changed = names.indices.filter { outcome.lines[$0] != outcome.lines[$0 + 7] }
    #expect(changed.map { names[$0] } == new, "\(outcome)")
  }

  /// What is closed stays closed, and no file of the launcher gets its number.
  @Test(arguments: ["", "-p", "-m -M", "-p -t -n -v", "-p -T static", "--logging=stderr"])
  func closedDescriptors(options: String) throws {
    let list = "for n in 0 1 2; do test -e /proc/self/fd/$n || echo $n >>list; done"
    for (closing, closed) in [
      ("<&-", ["0"]), (">&-", ["1"]), ("<&- >&- 2>&-", ["0", "1", "2"]), ("", []),
    ] {
      let outcome = try CommandLine.run(
        "touch list; minijail0 \(options) -- /bin/sh -c '\(list)' \(closing) && cat list")
      #expect(outcome.status == 0 && outcome.lines == closed, "\(closing): \(outcome)")
    }
  }

  @Test(arguments: [
    CommandLine("--uts=aaa --uts=bbb /bin/uname -n", 0, "aaa\n"),
    CommandLine("--uts /bin/uname -n | grep -c .", 0, "1\n"),
    CommandLine(
      "--uts=\(String(repeating: "x", count: 65)) /bin/true", 1, says: "at most 64 bytes"),
    CommandLine("-e -- /bin/cat /sys/class/net/lo/flags; ls /sys/class/net | grep -c lo", 0, "1\n"),
    CommandLine("-e -- /bin/sh -c 'grep -c : /proc/net/dev'", 0, "1\n"),
    CommandLine("-e/etc/passwd /bin/true", 1, says: "setns /etc/passwd: Invalid argument"),
    CommandLine("-e/proc/self/ns/net /bin/true"),
    CommandLine("-p -- /bin/sh -c 'echo $$'", 0, "2\n"),
    CommandLine("-I -- /bin/sh -c 'echo $$'", 0, "1\n"),
    CommandLine("-pI -- /bin/sh -c 'echo $$'", 0, "1\n"),
    CommandLine("-I -- /bin/sh -c 'kill -9 $$; echo alive'", 0, "alive"),
    CommandLine("-p --no-new-sessions /bin/true", 1, says: "cannot skip setsid()"),
    CommandLine("--no-new-sessions /bin/true", says: "--no-new-sessions: the program keeps"),
    CommandLine("--strict --no-new-sessions /bin/true", 1, says: "--strict: --no-new-sessions"),
    CommandLine("--pty -i /bin/true", 1, says: "--pty and -i"),
    CommandLine("--pty -z /bin/true", 1, says: "--pty and -z"),
    CommandLine("--pty --no-new-sessions /bin/true", 1, says: "--pty and --no-new-sessions"),
    CommandLine(
      "-p -- /bin/cat /proc/1/status | grep -E 'Name|CapEff|NoNew' | tr '\\t\\n' '  '", 0,
      "minijail-init"),
    CommandLine(
      "-p -u 5 -g 6 -- /bin/grep -E 'Uid|CapEff' /proc/1/status", 0,
      "Uid:\t5\t5\t5\t5\nCapEff:\t0000000000000000\n"),
    // User namespaces.
    CommandLine("-U -- /usr/bin/id -u", 0, "65534\n"), CommandLine("-U -l -- /bin/true"),
    CommandLine("-m -M /usr/bin/id", 0, "uid=0(root) gid=0(root) groups=0(root)\n"),
    CommandLine("-m -M -u 5 -g 6 /usr/bin/id -u", 0, "5\n"),
    CommandLine("-m -M -u nobody /usr/bin/id -g", 0, "65534\n"),
    CommandLine(
      "'-m0 1000 1,1 100000 10' '-M0 0 1' -- /bin/cat /proc/self/uid_map | tr -s ' '", 0,
      " 0 1000 1\n 1 100000 10\n"),
    CommandLine("'-m0 1000' /bin/true", 1, says: "Bad id map: '0 1000'"),
    CommandLine("-m 0 1000 1 /bin/true", 1, says: "Target program '0' is not accessible"),
    CommandLine("'-m0 0 1,0 5 1' /bin/true", 1, says: "-m '0 0 1"),
    CommandLine("-U -u 5 -g 6 /bin/true", 1, says: "-u in a user namespace without users: add -m"),
  ])
  func insideNamespaces(_ line: CommandLine) throws { try line.expect() }

  @Test(arguments: [
    CommandLine("--fs-default-paths -- /bin/cat /etc/hostname", 1, says: "Permission denied"),
    CommandLine("--fs-default-paths -- /bin/cat /etc/passwd | grep -c root:", 0, "1\n"),
    CommandLine("--fs-path-ro /mnt/src -- /bin/cat /mnt/src/file", 0, "text"),
    CommandLine("--fs-path-ro /mnt/src/file -- /bin/cat /mnt/src/file", 0, "text"),
    CommandLine("--fs-path-ro /mnt/src -- /bin/touch /mnt/src/x", 1, says: "Permission denied"),
    CommandLine("--fs-path-rw /mnt/src -- /bin/touch /mnt/src/x"),
    CommandLine("--fs-path-rw /mnt/src -- /bin/ln -s x /mnt/src/l", 1, says: "Permission denied"),
    CommandLine("--fs-path-advanced-rw /mnt/src -- /bin/ln -s x /mnt/src/l"),
    CommandLine("--fs-path-rx /mnt/src -- /bin/cat /mnt/src/file", 0, "text"),
    CommandLine("--fs-path-rx /mnt/bin -T static -- /mnt/bin/static", 7, "static"),
    CommandLine(
      "--fs-path-ro /mnt/src -T static -- /mnt/bin/static", 126, says: "Permission denied"),
    CommandLine("--fs-path-ro /mnt/src -- /mnt/bin/static", 126, says: "Permission denied"),
    CommandLine("--fs-path-ro /none -- /bin/cat /mnt/src/file", 1, says: "Permission"),
    CommandLine(
      "--landlock-abi 0 --fs-path-ro /none -- /bin/cat /mnt/src/file", 0, "text",
      says: "--landlock-abi 0"),
    CommandLine("--landlock-abi x /bin/true", 1, says: "Bad Landlock ABI: 'x'"),
    CommandLine("--landlock-abi -1 /bin/true", 1, says: "Bad Landlock ABI: '-1'"),
    CommandLine(
      "--landlock-abi 3 --fs-path-ro /mnt/src --fs-path-ro /usr -- /usr/bin/truncate -s 0 /mnt/src/file",
      1, says: "Permission"),
    CommandLine("--fs-path-ro mnt /bin/true", 1, says: "it must be an absolute path"),
    CommandLine("--fs-path-ro /mnt/src -u 5 -g 6 -c 1 -p -- /bin/cat /mnt/src/file", 0, "text"),
    CommandLine(
      "-v -P /mnt/a -b / -b /mnt/src,/mnt --fs-path-ro /mnt -- /bin/cat /mnt/file", 0, "text"),
    CommandLine(
      "--no-default-runtime-environment --fs-path-ro /mnt/src -- /bin/cat /mnt/src/file", 0, "text"),
  ])
  func files(_ line: CommandLine) throws {
    if line.text.hasPrefix("--fs-path-ro /none") {
      let outcome = try CommandLine.run("minijail0 \(line.text)")
      #expect(outcome.errors.contains("the program will be denied all of it"), "\(outcome)")
      return #expect(outcome.status == 1)
    }
    try line.expect()
  }

  @Test(arguments: [
    CommandLine("-R RLIMIT_NOFILE,20,30 -- /bin/sh -c 'ulimit -n; ulimit -Hn'", 0, "20\n30\n"),
    CommandLine("-R 7,20,30 -- /bin/sh -c 'ulimit -n; ulimit -Hn'", 0, "20\n30\n"),
    CommandLine("-R RLIMIT_OFILE,0x10,020 -- /bin/sh -c 'ulimit -n; ulimit -Hn'", 0, "16\n16\n"),
    CommandLine(
      "-R RLIMIT_CORE,0,unlimited -- /bin/sh -c 'ulimit -c; ulimit -Hc'", 0, "0\nunlimited\n"),
    CommandLine(
      "-p -u 5 -g 6 -R RLIMIT_NOFILE,9,9 -R RLIMIT_CPU,5,6 -- /bin/sh -c 'ulimit -n; ulimit -t'", 0,
      "9\n5\n"),
    CommandLine(
      "-R RLIMIT_CPU,unlimited,2 /bin/true", 1,
      says: "-R RLIMIT_CPU: prlimit RLIMIT_CPU: Invalid argument"),
    CommandLine("-R RLIMIT_FOO,1,2 /bin/true", 1, says: "Bad rlimit: 'RLIMIT_FOO'"),
    CommandLine("-R RLIMIT_CPU,1 /bin/true", 1, says: "-R takes type,soft,hard"),
    CommandLine("-R RLIMIT_CPU,1,2 -R RLIMIT_CPU,1,2 /bin/true", 1, says: "limited twice"),
    CommandLine("-R RLIMIT_FSIZE,0,0 -- /bin/true"),
    CommandLine(
      "--env-reset --env-add A=1 --env-add B= --env-add A=2=3 /usr/bin/env", 0, "A=2=3\nB=\n"),
    CommandLine("--env-reset --env-add A=1 /mnt/bin/static env", 7, "static\nA=1\n"),
    CommandLine("--env-add A=1 --env-reset /usr/bin/env | wc -l", 0, "0\n"),
    CommandLine("--env-add A=1 /usr/bin/env | grep -cE '^(A=1|PATH=.*)$'", 0, "2\n"),
    CommandLine("--env-add A /bin/true", 1, says: "Bad environment variable: 'A'"),
    CommandLine("--env-add =1 /bin/true", 1, says: "Bad environment variable: '=1'"),
    CommandLine(
      "--jail-by=preload -c 1 --env-add LD_PRELOAD=libm.so.6 -- /usr/bin/env | grep -E 'LD_PRE|MINIJAIL'",
      0,
      "LD_PRELOAD=libm.so.6\n"),
    CommandLine("-c 1 -- /usr/bin/env | grep -cE 'LD_PRE|MINIJAIL|SECCOMP'", 1, "0\n"),
    CommandLine(
      "--jail-by=preload -c 1 -- /usr/bin/env | grep -cE 'LD_PRE|MINIJAIL|SECCOMP'", 1, "0\n"),
    CommandLine("--jail-by x /bin/true", 1, says: "--jail-by is 'trace' or 'preload', not 'x'"),
    CommandLine("--start-timeout -1 /bin/true", 1, says: "--start-timeout '-1'"),
    CommandLine("--start-timeout 0 -c 1 /bin/true"),
    CommandLine("--strict -c 1 /bin/true"),
    CommandLine("--strict --jail-by=preload /bin/true"),
    CommandLine(
      "--strict --jail-by=preload -c 1 /bin/true", 1, says: "--jail-by=preload trusts the program"),
    CommandLine("--preserve-fd x /bin/true", 1, says: "Bad descriptor: 'x'"),
    CommandLine("--preserve-fd -3 /bin/true"), CommandLine("--preserve-fd 99 /bin/true"),
    CommandLine("--preserve-fd 2 --preserve-fd 2 --logging=stderr /bin/true"),
    CommandLine("-f /mnt/fifo /bin/true", 1, says: "-f /mnt/fifo: open /mnt/fifo: No such device"),
    CommandLine("-h > /dev/full", 1, says: "write standard output: No space left on device"),
    CommandLine("--explain=json /bin/true > /dev/full", 1, says: "No space left on device"),
    CommandLine("-f /none/pid /bin/true", 1, says: "-f /none/pid: open /none/pid"),
    CommandLine("-f /mnt/pid -- /bin/sh -c 'test $$ = $(cat /mnt/pid)'"),
    CommandLine("-p -f /mnt/pid -- /bin/true; test -s /mnt/pid"),
    CommandLine("--config /none /bin/true", 1, says: "--config /none: open /none"),
    CommandLine("--config / /bin/true", 1, says: "--config /: read /: Is a directory"),
    CommandLine(
      "--config /mnt/src/file /bin/true", 1, says: "/mnt/src/file(1): the first line must be"),
    CommandLine("--config /dev/zero /bin/true", 1, says: "--config /dev/zero: it is longer than"),
    CommandLine("--gen-config=/ -n", 1, says: "'/' exists. Specify a new filename."),
    CommandLine("--gen-config=/none/x -n", 1, says: "--gen-config: create /none/x: No such file"),
    CommandLine(
      "--gen-config=/mnt/c -u nobody-here -b x -n; cat /mnt/c", 0,
      "% minijail-config-file v0\n\nu = nobody-here\nbind-mount = x\nn\n"),
    CommandLine("-u nobody-here --gen-config=/mnt/c", 1, says: "Bad user 'nobody-here'"),
    CommandLine("--gen-config=/mnt/c -h", 0, "Usage:"),
    CommandLine(
      "--gen-config=/mnt/c -l -u 5 -g 6 && minijail0 --config /mnt/c /usr/bin/id", 0,
      "uid=5(games) gid=6(disk)"),
  ])
  func running(_ line: CommandLine) throws { try line.expect() }

  /// What of ours is open in the program: nothing; what the caller left open: as it was.
  @Test(arguments: [
    "", "-p", "-c 1", "-v -c 1 -u 5 -g 5", "--fs-path-ro /", "--jail-by=preload -v -c 1 -u 5 -g 5",
    "-f /mnt/pid -R 7,99,99", "-U",
    "-e/proc/self/ns/net -V /proc/self/ns/mnt",
  ])
  func noDescriptorLeaks(_ options: String) throws {
    let outcome = try CommandLine.run(
      "exec 9</etc/passwd; minijail0 \(options) -- /bin/ls /proc/self/fd")
    #expect(outcome.output == "0\n1\n2\n3\n9\n", "\(outcome)")
  }

  /// Also at a number that one of ours would have got.
  @Test func aPreservedDescriptorStaysOpen() throws {
    for options in ["", "-p", "-c 1", "-v -p -c 1 -u 5 -g 6", "--logging=stderr"] {
      let outcome = try CommandLine.run(
        "exec 3</etc/passwd 5</etc/group; minijail0 \(options) --preserve-fd 3 --preserve-fd=5 -- "
          + "/bin/ls -l /proc/self/fd | sed -n 's/.* \\([0-9]* -> .*\\)/\\1/p'")
      #expect(
        outcome.lines.contains("3 -> /etc/passwd") && outcome.lines.contains("5 -> /etc/group"),
        "\(outcome)")
    }
  }

  /// Set-up that needs more than the limit allows is done before.
  @Test func aLimitDoesNotHinderTheSetUp() throws {
    let outcome = try CommandLine.run(
      "minijail0 -R RLIMIT_NOFILE,4,4 -p -d -t -v -P /mnt/empty -b / -b /usr -c 1 -u 5 -g 5 -- "
        + "/bin/sh -c 'ulimit -n'")
    #expect(outcome.status == 0 && outcome.output == "4\n", "\(outcome)")
  }

  @Test func aProgramThatFollowsTheLibraryInBackgroundIsJailedWhenTheLauncherReturns() throws {
    let outcome = try CommandLine.run(
      "minijail0 -i -f /mnt/pid -c 1 -u 5 -g 5 -- /bin/sleep 60; "
        + "grep -E 'CapEff|CapAmb|Uid' /proc/$(cat /mnt/pid)/status; "
        + "cat /proc/$(cat /mnt/pid)/comm; kill $(cat /mnt/pid)")
    #expect(
      outcome.output
        == "Uid:\t5\t5\t5\t5\nCapEff:\t0000000000000001\nCapAmb:\t0000000000000000\nsleep\n",
      "\(outcome)")
  }

  /// Also when nobody waits for it any more.
  @Test(arguments: ["-i", "-i -p", "-i -I", "-i -c 1", "-i -p -c 1", "-i -T static"])
  func aProgramInTheBackgroundRuns(_ options: String) throws {
    let outcome = try CommandLine.run(
      "for i in 1 2 3 4 5; do minijail0 \(options) -- /bin/sh -c 'echo x >> /mnt/ran'; done; "
        + "sleep 0.3; wc -l < /mnt/ran")
    #expect(outcome.output == "5\n", "\(outcome)")
  }

  /// A signal that comes before the library has reported ends the program, and that is said.
  @Test(arguments: ["-c 1", "-p -c 1"])
  func anEarlySignalIsNoIncompleteJail(_ options: String) throws {
    let outcome = try CommandLine.run(
      "for pause in 0.001 0.002 0.003 0.004 0.006 0.008; do "
        + "minijail0 \(options) -- /bin/sleep 5 & sleep $pause; kill $!; wait $!; echo $?; done")
    let expected = options.hasPrefix("-p") ? "254" : "143"
    #expect(outcome.lines.allSatisfy { $0 == expected || $0 == "143" }, "\(outcome)")
    #expect(!outcome.errors.contains("never complete"), "\(outcome)")
  }

  @Test(arguments: ["TERM", "HUP", "USR1", "WINCH"])
  func signalsGoToTheProgram(_ signal: String) throws {
    for options in ["", "-p", "-c 1", "-p -c 1 -u 5 -g 5"] {
      let outcome = try CommandLine.run(
        "minijail0 \(options) -- /bin/sh -c 'trap \"echo caught; exit 9\" \(signal); echo ready; "
          + "while :; do sleep 0.02; done' > /mnt/out & "
          + "until grep -q ready /mnt/out 2>/dev/null; do sleep 0.01; done; "
          + "kill -\(signal) $!; wait $!; status=$?; cat /mnt/out; exit $status")
      #expect(outcome.status == 9 && outcome.output == "ready\ncaught\n", "\(options): \(outcome)")
    }
  }

  /// On a terminal, which script(1) makes: nobody in the jail can push input into it.
  @Test(arguments: [("", true), ("-p", true), ("--no-new-sessions", false)])
  func aTerminalMeansANewSession(_ options: String, _ isNew: Bool) throws {
    let outcome = try CommandLine.run(
      "cat > /mnt/session <<'E'\n#!/bin/sh\ncut -d' ' -f6 /proc/$1/stat\nE\nchmod 755 /mnt/session; "
        + "script -qec '/mnt/session self; minijail0 -f /mnt/pid \(options) -- /bin/sleep 0.3 & "
        + "sleep 0.15; /mnt/session $(cat /mnt/pid); wait' /dev/null < /dev/null | tr -d '\\r' "
        + "| grep -v -- '--no-new-sessions: the program keeps'")
    #expect(outcome.lines.count == 2, "\(outcome)")
    #expect((Set(outcome.lines).count == 2) == isNew, "\(outcome)")
  }

  @Test func withoutForwardingTheProgramStays() throws {
    let outcome = try CommandLine.run(
      "minijail0 -z -f /mnt/pid -- /bin/sleep 60 & "
        + "until grep -qs sleep /proc/$(cat /mnt/pid 2>&-)/comm; do sleep 0.01; done; "
        + "kill $!; wait $!; status=$?; kill -0 $(cat /mnt/pid) && echo alive; "
        + "kill $(cat /mnt/pid); exit $status")
    #expect(outcome.status == 143 && outcome.output == "alive\n", "\(outcome)")
  }
}
