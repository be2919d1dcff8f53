import Testing

@testable import Seccomp

@Suite struct TableTests {
  @Test(
    arguments: [
      (.x86_64, "mseal", 462), (.i386, "mseal", 462), (.aarch64, "listns", 470),
      (.arm, "listns", 470), (.riscv64, "listns", 470), (.x86_64, "read", 0), (.i386, "read", 3),
      (.arm, "read", 3), (.aarch64, "read", 63), (.riscv64, "read", 63), (.arm, "set_tls", 0xf0005),
      (.i386, "socketcall", 102), (.x86_64, "socketcall", nil), (.aarch64, "open", nil),
      (.x86_64, "_sysctl", 156), (.x86_64, "uselib", 134), (.riscv64, "riscv_flush_icache", 259),
      (.x86_64, "", nil), (.x86_64, "rea", nil), (.x86_64, "readx", nil), (.x86_64, "READ", nil),
      (.x86_64, "zzz", nil), (.x86_64, "read=0", nil), (.x86_64, " ", nil),
    ] as [(Architecture, String, UInt32?)])
  func numbers(_ architecture: Architecture, _ name: String, _ expected: UInt32?) {
    #expect(architecture.number(ofCall: name) == expected)
  }

  @Test(arguments: Architecture.allCases)
  func everyNameIsFound(_ architecture: Architecture) {
    let calls = architecture.systemCalls
    #expect(calls.count > 300)
    for call in calls {
      #expect(architecture.number(ofCall: call.name) == call.number)
      #expect(architecture.name(ofCall: call.number) != nil)
    }
    #expect(architecture.name(ofCall: 0x3fff_ffff) == nil)
    #expect(Architecture(auditNumber: architecture.auditNumber) == architecture)
    #expect(Architecture(name: architecture.name) == architecture)
    // AUDIT_ARCH_… of <linux/audit.h> on that machine.
    #expect(architecture.constant("MINIJAIL_ARCH_NR")?.bits == UInt64(architecture.auditNumber))
    #expect(architecture.constant("MINIJAIL_ARCH_BITS")?.bits == (architecture.is64Bit ? 64 : 32))
  }

  /// x86_64, i386, aarch64, arm, riscv64; nil where there is none.
  @Test(
    arguments: [
      ("O_DIRECTORY", [0x10000, 0x10000, 0x4000, 0x4000, 0x10000]),
      ("O_DIRECT", [0x4000, 0x4000, 0x10000, 0x10000, 0x4000]),
      ("O_LARGEFILE", [0x8000, 0x8000, 0x20000, 0x20000, 0x8000]),
      ("O_PATH", [0x20_0000, 0x20_0000, 0x20_0000, 0x20_0000, 0x20_0000]),
      ("O_TMPFILE", [0x41_0000, 0x41_0000, 0x40_4000, 0x40_4000, 0x41_0000]),
      ("F_GETLK64", [5, 12, 5, 12, 5]), ("MAP_32BIT", [64, 64, nil, nil, nil]),
      ("FS_IOC_GETFLAGS", [0x8008_6601, 0x8004_6601, 0x8008_6601, 0x8004_6601, 0x8008_6601]),
      ("MS_SLAVE", [0x80000, 0x80000, 0x80000, 0x80000, 0x80000]),
      ("FUTEX_WAIT_BITSET", [9, 9, 9, 9, 9]), ("EPOLLIN", [1, 1, 1, 1, 1]),
      ("EPOLL_CTL_ADD", [1, 1, 1, 1, 1]), ("CLOCK_BOOTTIME", [7, 7, 7, 7, 7]),
      ("KVM_RUN", [0xae80, 0xae80, 0xae80, nil, 0xae80]), ("IPPROTO_TCP", [6, 6, 6, 6, 6]),
      ("IPC_CREAT", [512, 512, 512, 512, 512]), ("BPF_PROG_LOAD", [5, 5, 5, 5, 5]),
      ("LANDLOCK_ACCESS_FS_EXECUTE", [1, 1, 1, 1, 1]),
      ("SECCOMP_FILTER_FLAG_NEW_LISTENER", [8, 8, 8, 8, 8]),
      ("PTRACE_ATTACH", [16, 16, 16, 16, 16]),
      ("AT_EMPTY_PATH", [0x1000, 0x1000, 0x1000, 0x1000, 0x1000]),
      ("CAP_SYS_ADMIN", [21, 21, 21, 21, 21]), ("NO_SUCH_NAME", [nil, nil, nil, nil, nil]),
    ] as [(String, [UInt64?])])
  func constants(_ name: String, _ expected: [UInt64?]) {
    #expect(Architecture.allCases.map { $0.constant(name)?.bits } == expected)
  }

  @Test func negativeNames() {
    let directory = Architecture.x86_64.constant("AT_FDCWD")
    #expect(directory == Constant(bits: 0xffff_ffff_ffff_ff9c, isNegativeInt: true))
    // The reference knows this one, and compares all 64 bits.
    let children = Architecture.x86_64.constant("RUSAGE_CHILDREN")
    #expect(children == Constant(bits: .max, isNegativeInt: false))
  }

  /// The parser reads a policy with every constant of the reference, one rule each.
  @Test func constantsOfTheReference() {
    for (name, value) in referenceConstants {
      #expect(
        Architecture.x86_64.constant(name) == Constant(bits: value, isNegativeInt: false), "\(name)"
      )
    }
    for (name, number) in referenceCalls {
      #expect(Architecture.x86_64.number(ofCall: name) == number, "\(name)")
    }
    #expect(referenceConstants.count == 1921 && referenceCalls.count == 362)
  }
}
