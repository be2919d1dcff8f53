import DaemonStoreKernel
import TestSupport
import Testing

/// Names that are no text, or that Swift's characters would misread, at every place where minijail0
/// takes one: it works byte for byte, or says one line.
@Suite(.needsRoot, .tags(.attack)) struct NameAttacks {
  /// As printf(1) takes them: combining mark after a slash and after a letter, overlong slash and
  /// NUL, a lone continuation byte, a surrogate, a truncated sequence, line feed, carriage return and
  /// line feed, escape sequence, backslash at the end.
  static let names = [
    "\\314\\201x", "e\\314\\201", "\\300\\257x", "\\300\\200", "\\200", "\\355\\240\\200",
    "\\342\\202", "a\\nb", "a\\r\\nb", "\\033[31m", "b\\\\",
  ]

  private static let setUp = """
    n=$(printf 'NAME.'); n=${n%.}
    one() {
      "$@" > out 2> err; status=$?
      lines=$(wc -l < err)
      # An error of a policy has the lines of the compiler.
      { { test $lines -le 1 || grep -q compile_filter: err; } && { test $status -lt 129 || test $status -ge 250; } } || {
        echo "bad: $* | status $status, $lines lines:"; cat -v err; }
    }
    mkdir "d$n"; echo text > "d$n/f$n"; cp src/file "d$n/p$n"; mkdir "t$n"
    printf '#!/bin/sh\\necho "$0" "$1" "$NAME"\\n' > "d$n/s$n"; chmod 755 "d$n/s$n"

    """

  private func run(_ name: String, _ script: String) throws -> Outcome {
    try CommandLine.run(Self.setUp.replacing("NAME.", with: "\(name).") + script)
  }

  @Test(arguments: names)
  func pathsWorkByteForByte(_ name: String) throws {
    let outcome = try run(
      name,
      """
      j=minijail0
      mkdir -p "root$n/bin"; cp bin/static "root$n/bin/st$n"; mount --bind "root$n" "root$n"
      $j -v -b "/mnt/d$n,/mnt/t$n/new$n" -- /bin/cat "/mnt/t$n/new$n/f$n"
      $j -k "/mnt/d$n,/mnt/t$n,none,MS_BIND" -- /bin/cat "/mnt/t$n/f$n"
      $j -P "/mnt/root$n" -T static -- "/bin/st$n"
      $j -v -C "/mnt/root$n" -T static -- "/bin/st$n"
      NAME=x $j --env-add "NAME=$n" -- "/mnt/d$n/s$n" "$n" > out; printf '%s %s %s\\n' \\
        "/mnt/d$n/s$n" "$n" "$n" | cmp - out && echo argv
      $j -f "/mnt/t$n/pid$n" -- /bin/true; test -s "/mnt/t$n/pid$n" && echo pid
      $j --fs-path-rx / --fs-path-rw "/mnt/t$n" -- /bin/touch "/mnt/t$n/made$n"
      test -e "/mnt/t$n/made$n" && echo rule
      for call in execve brk arch_prctl mmap munmap mprotect access faccessat openat newfstatat fstat \\
        close read pread64 set_tid_address set_robust_list rseq prlimit64 getrandom exit_group
      do echo "$call: 1"; done > "d$n/policy$n"
      $j -n -S "/mnt/d$n/policy$n" -- /bin/true && echo policy
      """)
    #expect(
      outcome.lines == [
        "text", "text", "static", "static", "argv", "pid", "rule", "policy",
      ], "\(outcome)")
    #expect(outcome.errors.isEmpty, "\(outcome)")
  }

  /// The control: what treats names as text. It repairs them, or splits or joins them elsewhere than bytes do,
  /// takes two for one, or writes them to a terminal or the next line as they are.
  @Test(arguments: names)
  func textIsNotTheName(_ name: String) throws {
    let printed = try CommandLine.run("printf '\(name).'").output
    let bytes = try CommandLine.run("printf '\(name)' | od -An -v -tu1").output
      .split(whereSeparator: \.isWhitespace).compactMap { UInt8($0) }
    let text = String(decoding: bytes, as: UTF8.self)
    let path = "/d\(text)/\(text)"
    let raw = Array("/d".utf8) + bytes + Array("/".utf8) + bytes
    let isRepaired = Array(path.utf8) != raw
    let isSplitElsewhere =
      path.split(separator: "/").map { Array($0.utf8) }
      != raw.split(separator: UInt8(ascii: "/")).map { Array($0) }
    let isJoined =
      path.split(separator: "\n").count != raw.split(separator: UInt8(ascii: "\n")).count
    let isTakenForOther = path == "/d\u{e9}/\u{e9}"
    // As a shell reads and shows it.
    let shell = try CommandLine.run(
      "printf '\(name)\\n' | while read line; do echo \"$line\"; done")
    let isReadOtherwise = shell.lines.count != 1 || Array(shell.output.utf8) != bytes + [10]
    let isShownRaw = printed.utf8.contains(27)
    #expect(
      isRepaired || isSplitElsewhere || isJoined || isTakenForOther || isReadOtherwise
        || isShownRaw)
  }

  /// A configuration file has lines, so that two of the names cannot be in one.
  @Test(arguments: names.filter { !$0.contains("\\n") && !$0.hasSuffix("\\\\") })
  func configurationFilesWorkByteForByte(_ name: String) throws {
    let outcome = try run(
      name,
      """
      printf '%% minijail-config-file v0\\nns-mount\\nbind-mount = %s\\n' "/mnt/d$n,/mnt/t$n" > "c$n"
      minijail0 --config "c$n" -- /bin/cat "/mnt/t$n/f$n"
      minijail0 --gen-config "g$n" -v -b "/mnt/d$n,/mnt/t$n" -- /bin/true
      minijail0 --config "g$n" -- /bin/cat "/mnt/t$n/f$n"
      """)
    #expect(outcome.lines == ["text", "text"] && outcome.errors.isEmpty, "\(outcome)")
  }

  @Test(arguments: names)
  func refusalsAreOneLine(_ name: String) throws {
    let outcome = try run(
      name,
      """
      for option in -u -g --add-suppl-group -b -k -K -V -C -P --profile --daemon-store -e --uts= -m -M \\
        --seccomp-bpf-binary --learn -a -c -B --fs-path-ro --landlock-abi -f -R -T --env-add \\
        --preserve-fd --preload-library --logging --config --gen-config --explain= -t; do
        for value in "$n" "/mnt/$n" "$n,$n" "/mnt/$n/x,/$n,$n" "$n=$n" "1$n"; do
          case $option in
          --uts=|--explain=|-K|-t|-e|-m|-M) one minijail0 -v "$option$value" -- /bin/true;;
          *) one minijail0 -v "$option" "$value" -- /bin/true;;
          esac
          rm -f "$n" "1$n" "$n,$n" "$n=$n"
        done
      done
      one minijail0 "--$n"; one minijail0 -- "$n"; one minijail0 -v -- "/mnt/$n"
      printf '%% minijail-config-file v0\\n%s\\n' "$n" > c; one minijail0 --config c -- /bin/true
      printf '%% minijail-config-file v0\\n%s = x\\n' "$n" > c; one minijail0 --config c -- /bin/true
      printf '@include /mnt/%s\\n' "$n" > p
      minijail0 -n -S p -- /bin/true 2> err; test $? = 1 || echo "policy: $?"
      """)
    #expect(outcome.output.isEmpty, "\(outcome)")
  }

  /// The control: the message of a shell about a name with a line feed is two lines, and one with an escape
  /// sequence reaches the terminal.
  @Test func messagesOfShellAreNotOneLine() throws {
    let outcome = try CommandLine.run(
      """
      for n in 'a\\nb' '\\033[31m'; do
        sh -c '. "$0"' "/mnt/$(printf "$n")" 2>&1
      done | cat -v
      """)
    #expect(outcome.lines.count > 2 && outcome.output.contains("^[[31m"), "\(outcome)")
  }

  @Test func zeroByteInConfigurationIsRefused() throws {
    let outcome = try CommandLine.run(
      "printf '%% minijail-config-file v0\\nbind-mount = /etc\\0x\\n' > c; "
        + "minijail0 -v --config c -- /bin/true")
    #expect(outcome.status == 1, "\(outcome)")
    #expect(outcome.errors == "minijail0: c: there is a zero byte in it\n", "\(outcome)")
    // The control: a program that reads lines as C has them takes the rest for the end.
    let naive = try CommandLine.run(
      """
      printf 'bind-mount = /etc\\0x\\n' > c
      printf '#include <stdio.h>\\nint main(void) { char t[99]; fgets(t, 99, stdin); puts(t); }' > n.c
      cc -w -o n n.c && ./n < c
      """)
    #expect(naive.output == "bind-mount = /etc\n", "\(naive)")
  }
}
