struct Risky {
  var number: UInt32 = 0
  var risk = 0
  var target = 0
}

struct RiskiestPair {
  var first = Risky()
  var second = Risky()

  mutating func add(_ other: Risky) {
    if other.risk > first.risk {
      second = first
      first = other
    } else if other.risk > second.risk {
      second = other
    }
  }

  mutating func add(_ other: RiskiestPair) {
    add(other.first)
    add(other.second)
  }

  /// What the first, or both, are worth; 0 where there are not so many, or none worth a comparison.
  func risk(of count: Int) -> Int {
    switch count {
    case 1: first.risk >= Risk.threshold ? first.risk : 0
    case 2: second.risk >= Risk.threshold ? first.risk + second.risk : 0
    default: 0
    }
  }
}

/// How bad it is to allow a call for the short time that a loader takes, or for as long as a program
/// without its library lives.
struct Risk {
  private let weights: [UInt32: Int]
  /// From here on a call is worth a comparison of its own.
  static let threshold = 100

  init(_ architecture: Architecture) {
    var weights: [UInt32: Int] = [:]
    for (names, weight) in [(Self.privileged, 2000), (Self.outward, 100)] {
      for name in names {
        if let number = architecture.number(ofCall: name) { weights[number] = weight }
      }
    }
    self.weights = weights
  }

  func of(_ number: UInt32) -> Int { weights[number] ?? 1 }

  private static let privileged = [
    "acct", "add_key", "bpf", "capset", "chroot", "clock_settime", "delete_module", "execveat",
    "finit_module", "fsconfig", "fsmount", "fsopen", "init_module", "io_uring_enter",
    "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kexec_file_load", "kexec_load",
    "keyctl", "modify_ldt", "mount", "mount_setattr", "move_mount", "open_by_handle_at",
    "open_tree", "perf_event_open", "pidfd_getfd", "pivot_root", "process_vm_readv",
    "process_vm_writev", "ptrace", "quotactl", "reboot", "request_key", "setns", "settimeofday",
    "swapoff", "swapon", "syslog", "umount2", "unshare", "userfaultfd",
  ]
  private static let outward = [
    "bind", "chmod", "chown", "clone", "clone3", "connect", "creat", "fchmod", "fchmodat",
    "fchown", "fchownat", "fork", "ioctl", "kill", "link", "linkat", "mknod", "mknodat", "rename",
    "renameat", "renameat2", "sendmsg", "sendto", "setgid", "setgroups", "setregid", "setresgid",
    "setresuid", "setreuid", "setuid", "socket", "socketcall", "symlink", "symlinkat", "tgkill",
    "tkill", "truncate", "unlink", "unlinkat", "vfork",
  ]
}
