import TestSupport
import Testing

@Suite(.needsRoot) struct SeccompPolicyTests {
  private static let policy = """
    # A terminal.
    ioctl: arg1 == TCGETS
    read: 1
    write: arg0 == 1; return EBADF

    """

  @Test func compilesWhatItDisassembles() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        let raw = try host.script(
          "cat >/mnt/p <<'END'\n\(Self.policy)END\nseccomp-policy compile /mnt/p -o /mnt/p.bpf "
            + "&& seccomp-policy disassemble /mnt/p.bpf && ls -l /mnt/p.bpf | cut -c1-10")
        #expect(raw.status == 0 && raw.errors.isEmpty, "\(raw)")
        #expect(raw.output.contains("; ioctl") && raw.output.contains("; errno 9"), "\(raw)")
        #expect(raw.lines.last == "-rw-r--r--", "\(raw)")
        let piped = try host.script(
          "seccomp-policy compile - -o - </mnt/p | cmp - /mnt/p.bpf && "
            + "seccomp-policy compile /mnt/p -o /mnt/f.h --format c-header && cat /mnt/f.h")
        #expect(piped.status == 0 && piped.output.contains("struct sock_fprog f = {"), "\(piped)")
        let startup = try host.script(
          "seccomp-policy compile /mnt/p --startup -o - | seccomp-policy disassemble -")
        #expect(startup.status == 0 && startup.output.contains("; execve"), "\(startup)")
      }
    }
  }

  @Test func failuresLeaveNothingBehind() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        let outcome = try host.script(
          """
          cd /mnt && mkdir w && cd w && echo 'read: 1' >good && echo 'x: 1' >bad
          seccomp-policy compile bad -o out; echo $?
          seccomp-policy compile . -o out; echo $?
          seccomp-policy compile good -o /mnt/none/out; echo $?
          seccomp-policy compile good -o /dev/full; echo $?
          seccomp-policy compile good -o /dev/null; echo $?
          ln good other; seccomp-policy compile good -o other; echo $?; cmp good other; rm other
          seccomp-policy disassemble good; echo $?
          seccomp-policy syscalls >/dev/full; echo $?
          ls; test -c /dev/full && test -c /dev/null && echo devices
          """)
        #expect(
          outcome.lines == ["1", "1", "1", "1", "0", "2", "1", "1", "bad", "good", "devices"],
          "\(outcome)")
        #expect(
          outcome.complains(of: "compile_file: bad(1): nonexistent syscall 'x'"), "\(outcome)")
        #expect(outcome.complains(of: "seccomp-policy: compile: bad: 1 mistake"), "\(outcome)")
        #expect(outcome.complains(of: "Is a directory"), "\(outcome)")
        #expect(outcome.complains(of: "open /mnt/none/out: No such file"), "\(outcome)")
        #expect(outcome.complains(of: "8 bytes", "return") == false, "\(outcome)")
      }
    }
  }

  @Test func checksAndExplains() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        let outcome = try host.script(
          """
          cat >/mnt/p <<'END'
          \(Self.policy)END
          cd /mnt && seccomp-policy check p; echo $?
          sed 1d p | seccomp-policy check -; echo $?
          seccomp-policy explain p ioctl 0 TCGETS
          seccomp-policy explain p 1 2
          seccomp-policy explain p ptrace
          seccomp-policy explain p write 2 --json
          """)
        #expect(outcome.errors.isEmpty, "\(outcome)")
        let head = [
          "0", "-(1): ioctl: dangerous: add a comment before it that says why it is needed", "1",
        ]
        #expect(Array(outcome.lines.prefix(3)) == head, "\(outcome)")
        for text in [
          "ioctl(0, 0x5401): allow, by p(2), in ", "write(2): errno 9, by p(4), in ",
          "ptrace(): kill-thread (default), no rule names it, in ", "\"action\" : \"return 9\"",
          "\"line\" : 4",
        ] { #expect(outcome.output.contains(text), "\(outcome)") }
      }
    }
  }

  @Test func generatesWhatPasses() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        let outcome = try host.script(
          """
          cd /mnt && cat >t <<'END'
          [pid 12] 10:00:00 ioctl(0, TCGETS, 0x1) = 0
          read(0, "", 1) = 0
          read(0, "", 1) = 0
          END
          seccomp-policy generate t --frequency f >p && cat p f
          seccomp-policy compile p -o - | seccomp-policy disassemble - | wc -l
          echo 'type=SECCOMP comm="x" arch=c000003e syscall=0' >a
          seccomp-policy generate a; echo $?
          seccomp-policy generate a --audit-comm x --arch x86_64 | grep read:
          """)
        let lines = outcome.lines.filter { !$0.hasPrefix("#") }
        #expect(
          Array(lines.prefix(8)) == [
            "exit: 1", "exit_group: 1", "ioctl: arg1 == TCGETS", "read: 1", "restart_syscall: 1",
            "rt_sigreturn: 1", "ioctl: 1", "read: 2",
          ], "\(outcome)")
        #expect(Array(lines.suffix(2)) == ["2", "read: 1"], "\(outcome)")
        #expect(outcome.complains(of: "--audit-comm"), "\(outcome)")
      }
    }
  }

  /// A policy from what shows no call would kill each program that gets it.
  @Test(arguments: ["", "hello world\n", "% time     seconds  usecs/call     calls\n"])
  func generatesNothingFromWhatShowsNoCall(_ trace: String) async {
    await #expect(processExitsWith: .success) { [trace] in
      inHost(.isolated) { host in
        try writeFile("/mnt/trace", trace)
        let outcome = try host.script("seccomp-policy generate /mnt/trace")
        #expect(outcome.status == 1 && outcome.output.isEmpty, "\(outcome)")
        #expect(outcome.complains(of: "/mnt/trace: no system call is recorded there"))
        try writeFile(
          "/mnt/trace",
          "type=SECCOMP msg=audit(1.0:1): comm=\"cat\" arch=c000003e syscall=0 code=0x7ffc0000\n")
        let other = try host.script("seccomp-policy generate /mnt/trace --audit-comm cta")
        #expect(other.status == 1 && other.output.isEmpty, "\(other)")
        #expect(other.complains(of: "no system call of a process 'cta'"), "\(other)")
        #expect(try host.script("seccomp-policy generate /mnt/trace --audit-comm cat").status == 0)
      }
    }
  }

  @Test func mistakesAreStatusTwo() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        for words in [
          "", "frobnicate", "compile", "compile p", "check", "explain p", "generate",
          "syscalls --arch vax", "compile p -o x --dialect basic", "explain p nosuch",
          "explain p read X", "explain p read 1 2 3 4 5 6 7", "compile p -o x --default-action y",
        ] {
          let outcome = try host.script("seccomp-policy \(words)")
          #expect(outcome.status == 2 && outcome.output.isEmpty, "\(outcome)")
          #expect(outcome.complaints.count == 1, "\(outcome)")
        }
        let calls = try host.script("seccomp-policy syscalls --arch riscv64 | grep -w listns")
        #expect(calls.output == "470\tlistns\n", "\(calls)")
      }
    }
  }
}
