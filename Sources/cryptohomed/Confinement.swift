import DaemonStoreKernel
import DaemonStoreProgram
import Seccomp

/// What this service, and each cryptohome that it starts, may do: the same with systemd and without.
enum Confinement {
  /// Owners and modes; mounts, keys and namespaces; the open files of all processes, and the end of
  /// those that the administrator lets a logout end; passwords that stay out of the swap.
  private static let capabilities = CapabilitySet(numbers: [
    0, 1, 2, 3, 4,  // CAP_CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID
    5,  // CAP_KILL
    14,  // CAP_IPC_LOCK
    18, 19, 21,  // CAP_SYS_CHROOT SYS_PTRACE SYS_ADMIN
  ])

  /// Gives up everything else, for good. What cannot be given up is an error.
  static func enter() throws {
    try forbidNewPrivileges()
    try forbidDumps()
    let last = try CapabilitySet.lastKnown()
    let state = try CapabilityState.current(last: last)
    if !state.bounding.isSubset(of: capabilities) {
      try capabilities.limitBoundingSet(last: last)
    }
    try state.permitted.intersection(capabilities).apply()
    try SystemCallFilters.load(filter().bytes)
  }

  private static func filter() throws -> FilterProgram {
    guard let architecture = Architecture.current else {
      throw Failure("this machine's system calls are not in the tables")
    }
    // Some architectures do not have all of the calls.
    let parser = PolicyParser(architecture: architecture, toleratesUnknownCalls: true) {
      _ throws(ReadFailure) in throw ReadFailure(isMissing: true, reason: "no file")
    }
    let policy = try parser.parse(
      PackageResources.cryptohomed_policy, name: "the policy of cryptohomed")
    return try Compiler().compile(policy)
  }
}
