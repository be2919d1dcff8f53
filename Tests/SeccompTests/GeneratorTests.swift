import Seccomp
import Testing

@Suite struct GeneratorTests {
  private func call(_ line: String) -> TracedCall? { StraceReader.call(in: Array(line.utf8)[...]) }

  @Test(arguments: [
    ("close(3)                = 0", "close", ["3"]),
    ("brk(NULL) = 0x55", "brk", ["NULL"]), ("getpid() = 7", "getpid", []),
    (
      "[pid  1234] openat(AT_FDCWD, \"/a,(b)\\\"\", O_RDONLY|O_CLOEXEC) = 3", "openat",
      ["AT_FDCWD", "\"/a,(b)\\\"\"", "O_RDONLY|O_CLOEXEC"]
    ),
    (
      "1234  12:30:01.5 ioctl(1, TCGETS, {B38400 opost, ...}) = 0", "ioctl",
      ["1", "TCGETS", "{B38400 opost, ...}"]
    ),
    ("12:30:01 prctl(PR_SET_NAME, \"x\") = 0", "prctl", ["PR_SET_NAME", "\"x\""]),
    ("1700000000.123456 close(3) = 0", "close", ["3"]), ("0.000012 close(3) = 0", "close", ["3"]),
    ("5 read(0,  <unfinished ...>", "read", ["0"]),
    ("mprotect(0x1, 4096, PROT_READ <unfinished ...>", "mprotect", ["0x1", "4096", "PROT_READ"]),
    (
      "mmap(NULL, 8, 0x1 /* PROT_READ */, 2, 3, 0) = 0", "mmap",
      ["NULL", "8", "0x1 /* PROT_READ */", "2", "3", "0"]
    ),
  ])
  func straceLines(_ line: String, _ name: String, _ arguments: [String]) {
    #expect(call(line) == TracedCall(name: name, arguments: arguments))
  }

  @Test(arguments: [
    "", "--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---", "+++ exited with 0 +++",
    "[pid 7] <... read resumed>\"x\", 1) = 1", "[pid 7] +++ killed by SIGSYS +++", "read(0, \"",
    "strace: Process 7 attached", "[pid", "12", "0(1)", "(1)", "read(0",
  ])
  func otherLines(_ line: String) { #expect(call(line) == nil) }

  private let trace = """
    execve("/bin/x", ["x"], 0x7 /* 3 vars */) = 0
    mmap(NULL, 8, PROT_READ|PROT_WRITE, MAP_PRIVATE, -1, 0) = 0x7
    mmap(NULL, 8, PROT_READ|PROT_EXEC, MAP_PRIVATE, 3, 0) = 0x7
    socket(AF_UNIX, SOCK_STREAM, 0) = 3
    socket(AF_NETLINK, SOCK_RAW, 0) = 4
    socket(0x1, SOCK_STREAM, 0) = 3
    ioctl(1, TCGETS, 0x7) = 0
    ioctl(1, _IOC(_IOC_READ, 0x54, 1, 2), 0x7) = 0
    read(3, "", 1) = 0
    read(3, "", 1) = 0
    prctl(PR_SET_NAME, "x") = 0
    prctl(PR_CAPBSET_READ, 1) = 0
    no_such_call(1) = 0
    """

  @Test func policyOfTrace() throws {
    var generator = PolicyGenerator(architecture: .x86_64)
    generator.add(trace: Array(trace.utf8), command: nil)
    let text = generator.text()
    #expect(
      text == """
        # Made from traces: read it before use.
        socket: arg0 == AF_UNIX || arg0 == AF_NETLINK
        ioctl: 1
        mmap: arg2 in ~PROT_EXEC || arg2 in ~PROT_WRITE
        prctl: arg0 == PR_SET_NAME || arg0 == PR_CAPBSET_READ
        read: 1
        execve: 1
        exit: 1
        exit_group: 1
        restart_syscall: 1
        rt_sigreturn: 1

        """)
    #expect(generator.unknownCalls == ["no_such_call"])
    #expect(try policy(text).rules.count == 10)
    #expect(
      generator.text(byName: true).hasPrefix("# Made from traces: read it before use.\nexecve: 1\n")
    )
    #expect(
      generator.frequencyText()
        == "# Made from traces.\nexecve: 1\nioctl: 2\nmmap: 2\nprctl: 2\nread: 2\nsocket: 3\n")
  }

  @Test func writableAndExecutableMemoryIsNamed() {
    var generator = PolicyGenerator(architecture: .x86_64)
    generator.add(
      TracedCall(name: "mprotect", arguments: ["1", "2", "PROT_READ|PROT_WRITE|PROT_EXEC"]))
    generator.add(TracedCall(name: "mprotect", arguments: ["1", "2", "PROT_READ"]))
    #expect(
      generator.text().contains(
        "mprotect: arg2 == PROT_READ || arg2 == PROT_READ|PROT_WRITE|PROT_EXEC\n"))
  }

  @Test func socketCallsOfI386() {
    var generator = PolicyGenerator(architecture: .i386)
    generator.add(TracedCall(name: "connect", arguments: ["3"]))
    #expect(generator.text().contains("socketcall: 1\n"))
  }

  @Test func auditLogs() {
    let log = """
      type=SECCOMP msg=audit(1.1:1): auid=0 comm="true" exe="/x" sig=0 arch=c000003e syscall=157 code=0x7ffc0000
      type=SECCOMP msg=audit(1.1:1): auid=0 comm="true" exe="/x" sig=0 arch=c000003e syscall=231 code=0x7ffc0000
      type=SYSCALL msg=audit(1.1:1): arch=c000003e syscall=157 success=yes exit=0 a0=f a1=7 a2=0 a3=0 comm="true"
      type=SECCOMP msg=audit(1.1:1): comm="other" arch=c000003e syscall=2
      type=SECCOMP msg=audit(1.1:1): comm="true" arch=40000003 syscall=2
      Jul 19 10:54:26 audit[5231]: SECCOMP auid=0 pid=5231 comm="true" arch=c000003e syscall=3 compat=0
      audit: type=1326 audit(1.1:6): comm="true" sig=31 arch=c000003e syscall=0 compat=0
      type=SYSCALL msg=audit(1.1:1): arch=c000003e syscall=16 comm="true"
      type=SECCOMP comm="true" arch=c000003e syscall=99999999999999
      """
    var generator = PolicyGenerator(architecture: .x86_64)
    generator.add(trace: Array(log.utf8), command: "true")
    #expect(
      generator.text(byName: true) == """
        # Made from traces: read it before use.
        close: 1
        exit: 1
        exit_group: 1
        ioctl: 1
        prctl: arg0 == 0xf
        read: 1
        restart_syscall: 1
        rt_sigreturn: 1

        """)
  }
}
