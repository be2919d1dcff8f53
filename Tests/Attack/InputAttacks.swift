import TestSupport
import Testing

/// Files that minijail0 reads: pipes that come late, and so much of it that quadratic work shows.
@Suite(.needsRoot, .tags(.attack)) struct InputAttacks {
  /// What /bin/true needs.
  private static let policy =
    "for call in execve brk arch_prctl mmap munmap mprotect access faccessat openat newfstatat fstat "
    + "close read pread64 set_tid_address set_robust_list rseq prlimit64 getrandom exit_group; "
    + "do echo \"$call: 1\"; done > p; "

  /// The writer comes when the reader waits for it: what it is asleep in, the kernel tells.
  private static let late = """
    waits() {  # until process $1 sleeps in read(2), poll(2) or openat(2)
      until case $(cut -d' ' -f1 /proc/$1/syscall 2>/dev/null) in 0|7|257|271) true;; *) false;; esac
      do test -e /proc/$1 || return 1; done
    }

    """

  /// 30 runs each, with a named pipe that is opened, and then written to, only when it is waited for.
  @Test(arguments: [
    "-n -S fifo2", "--no-default-runtime-environment --config fifo2",
    "-n --seccomp-bpf-binary fifo2",
  ])
  func namedPipeWithLateWriterIsRead(_ options: String) throws {
    let content =
      options.contains("-S")
      ? "p" : options.contains("config") ? "c" : "b"
    let outcome = try CommandLine.run(
      Self.policy + Self.late
        + """
        printf '%% minijail-config-file v0\\nl\\n' > c
        seccomp-policy compile p --output b
        mkfifo fifo2
        for run in $(seq 30); do
          minijail0 \(options) -- /bin/true & reader=$!
          waits $reader
          exec 3> fifo2
          head -c 9 \(content) >&3
          waits $reader
          tail -c +10 \(content) >&3
          exec 3>&-
          wait $reader; echo $?
        done | sort | uniq -c | tr -s ' '
        """)
    #expect(outcome.output == " 30 0\n" && outcome.errors.isEmpty, "\(outcome)")
  }

  @Test func policyFromPipeOnStandardInputIsRead() throws {
    let outcome = try CommandLine.run(
      Self.policy + Self.late
        + """
        mkfifo fifo2
        for run in $(seq 30); do
          exec 3<> fifo2
          minijail0 -n -S /dev/stdin -- /bin/true < fifo2 3>&- & reader=$!
          exec 4> fifo2 3>&-
          waits $reader
          cat p >&4
          exec 4>&-
          wait $reader; echo $?
        done | sort | uniq -c | tr -s ' '
        """)
    #expect(outcome.output == " 30 0\n" && outcome.errors.isEmpty, "\(outcome)")
  }

  @Test(arguments: [
    "minijail0 -n -S q -- /bin/true", "seccomp-policy compile q --output compiled",
  ])
  func includedPipeWithLateWriterIsRead(_ command: String) throws {
    let outcome = try CommandLine.run(
      Self.policy + Self.late
        + """
        mkfifo included; printf '@include ./included\\nuname: 1\\n' > q
        for run in $(seq 30); do
          \(command) > /dev/null & reader=$!
          waits $reader
          cat p > included
          wait $reader; echo $?
        done | sort | uniq -c | tr -s ' '
        """)
    #expect(outcome.output == " 30 0\n" && outcome.errors.isEmpty, "\(outcome)")
  }

  /// The control, for all pipes here: a reader that does not wait takes the pipe for empty before the writer
  /// has come, and fails before it has written.
  @Test func naiveReaderFailsBeforeLateWriter() throws {
    let outcome = try CommandLine.run(
      """
      cat > naive.py <<'END'
      import os
      print(os.read(os.open("fifo2", os.O_RDONLY | os.O_NONBLOCK), 100))
      END
      mkfifo fifo2; python3 naive.py
      exec 3<> fifo2; python3 naive.py 2>&1 | tail -n 1
      """)
    #expect(
      outcome.output == "b''\nBlockingIOError: [Errno 11] Resource temporarily unavailable\n",
      "\(outcome)")
  }

  @Test func pipeLongerThanLimitIsRefused() throws {
    let outcome = try CommandLine.run(
      "mkfifo fifo2; yes '# x' > fifo2 & minijail0 --config fifo2 -- /bin/true; echo $?; "
        // The control: a reader without a limit.
        + "yes '# x' > fifo2 & timeout 2 cat fifo2 > /dev/null; echo $?")
    #expect(outcome.output == "1\n124\n", "\(outcome)")
    #expect(outcome.errors.contains("longer than"), "\(outcome)")
  }

  // MARK: Growth

  /// The ratio of the user's CPU time for eight times the input: 8 where the work is linear, 64
  /// where it is quadratic. Both sizes are large enough that starting the program does not count.
  private func growth(_ setUp: String, _ command: String) throws -> Double {
    let outcome = try CommandLine.run(
      """
      make() { \(setUp); }
      cost() {  # of the command with input of size $1, in clock ticks of all its processes
        make $1
        for run in 1 2 3; do
          sh -c '\(command)
            read -r line < /proc/$$/stat; set -- ${line##*) }; echo $((${14} + ${15}))' 2> /dev/null \\
            | tail -1
        done | sort -n | head -1
      }
      cost 1; cost 8
      """)
    let costs = outcome.lines.compactMap(Double.init)
    guard costs.count == 2 else { throw Problem("\(outcome)") }
    return costs[1] / max(costs[0], 1)
  }

  private static let header = "echo '% minijail-config-file v0'"

  @Test(arguments: [
    ("{ \(header); head -c $(($1 * 131000)) /dev/zero | tr '\\0' '\\n'; } > c", "--config c -h"),
    ("{ \(header); yes 'l\\' | head -$(($1 * 30000)); echo; } > c", "--config c -h"),
    (
      "{ \(header); seq -f 'env-add = V%g=x' $(($1 * 5000)); } > c",
      "--config c --no-default-runtime-environment -- /bin/true"
    ),
    (
      "{ \(header); seq -f 'bind-mount = /x%g,/y%g' 0 0; yes 'b = /a,/b' | head -$(($1 * 12500)); } > c",
      "--config c -v"
    ),
    ("{ \(header); seq -f 'daemon-store = s%g' $(($1 * 5000)); } > c", "--config c -v"),
    ("{ \(header); yes 'add-suppl-group = 5' | head -$(($1 * 5000)); } > c", "--config c -v"),
    ("seq -f 'a%g' $(($1 * 3000)) > c", "-u 5 $(cat c)"),
  ])
  func workGrowsWithInput(_ setUp: String, _ options: String) throws {
    let ratio = try growth(setUp, "minijail0 \(options) > /dev/null")
    #expect(ratio < 24, "\(options): eight times the input takes \(ratio) times as long")
  }

  /// The control: a program that takes byte after byte from the front of its input.
  @Test func workOfNaiveProgramGrowsWithItsSquare() throws {
    let ratio = try growth(
      "head -c $(($1 * 40000)) /dev/zero > c; printf 'text = open(\"c\", \"rb\").read()\\n"
        + "while text: text = text[1:]\\n' > naive.py",
      "python3 -IS naive.py")
    #expect(ratio > 24, "eight times the input takes \(ratio) times as long")
  }
}
