/// Each capability of capabilities(7) by its name there, up to Linux 5.9, and what it allows.
extension CapabilitySet {
  /// Change the user and the group of any file.
  public static let chown = Self(rawValue: 1 << 0)
  /// Read, write and execute files whatever their permissions and ACLs say.
  public static let dacOverride = Self(rawValue: 1 << 1)
  /// Read any file, list and search any directory; open_by_handle_at(2).
  public static let dacReadSearch = Self(rawValue: 1 << 2)
  /// Do what only the owner of a file may: chmod(2), utime(2), ACLs, sticky directories.
  public static let fowner = Self(rawValue: 1 << 3)
  /// Keep the set-user-ID and set-group-ID bits of a file that is changed.
  public static let fsetid = Self(rawValue: 1 << 4)
  /// Send signals to processes of any user.
  public static let kill = Self(rawValue: 1 << 5)
  /// Change the group and the supplementary groups, and write a map of groups.
  public static let setgid = Self(rawValue: 1 << 6)
  /// Change the user, and write a map of users.
  public static let setuid = Self(rawValue: 1 << 7)
  /// Drop capabilities from the bounding set, inherit any that is in it, change securebits.
  public static let setpcap = Self(rawValue: 1 << 8)
  /// Change the immutable and append-only flags of files.
  public static let linuxImmutable = Self(rawValue: 1 << 9)
  /// Bind to ports below 1024.
  public static let netBindService = Self(rawValue: 1 << 10)
  /// Unused by the kernel; meant for broadcasts and multicasts.
  public static let netBroadcast = Self(rawValue: 1 << 11)
  /// Change interfaces, addresses, routes, firewalls and options of sockets.
  public static let netAdmin = Self(rawValue: 1 << 12)
  /// Open raw and packet sockets, and bind to foreign addresses.
  public static let netRaw = Self(rawValue: 1 << 13)
  /// Lock memory without a limit, and allocate huge pages.
  public static let ipcLock = Self(rawValue: 1 << 14)
  /// Use System V IPC objects whatever their permissions say.
  public static let ipcOwner = Self(rawValue: 1 << 15)
  /// Load and unload kernel modules.
  public static let sysModule = Self(rawValue: 1 << 16)
  /// Use I/O ports, `/dev/mem` and the raw commands of devices.
  public static let sysRawIO = Self(rawValue: 1 << 17)
  /// chroot(2), and together with sysAdmin setns(2) into a mount namespace.
  public static let sysChroot = Self(rawValue: 1 << 18)
  /// Trace any process, and read and write its memory.
  public static let sysPtrace = Self(rawValue: 1 << 19)
  /// Switch process accounting on and off: acct(2).
  public static let sysPacct = Self(rawValue: 1 << 20)
  /// Mount, make and enter namespaces, set quotas, and much else: nearly root.
  public static let sysAdmin = Self(rawValue: 1 << 21)
  /// Restart the machine, and load another kernel.
  public static let sysBoot = Self(rawValue: 1 << 22)
  /// Raise priorities, set real-time scheduling and affinities of any process.
  public static let sysNice = Self(rawValue: 1 << 23)
  /// Exceed resource limits and quotas, and use the reserved space of file systems.
  public static let sysResource = Self(rawValue: 1 << 24)
  /// Set the system clock and the hardware clock.
  public static let sysTime = Self(rawValue: 1 << 25)
  /// vhangup(2), and privileged ioctls on virtual terminals.
  public static let sysTTYConfig = Self(rawValue: 1 << 26)
  /// Make device files.
  public static let mknod = Self(rawValue: 1 << 27)
  /// Set leases on files of any user: fcntl(2), F_SETLEASE.
  public static let lease = Self(rawValue: 1 << 28)
  /// Write records to the audit log.
  public static let auditWrite = Self(rawValue: 1 << 29)
  /// Switch auditing on and off, and change its rules.
  public static let auditControl = Self(rawValue: 1 << 30)
  /// Set capabilities of files, and map user 0 into a new user namespace (Linux 5.12).
  public static let setfcap = Self(rawValue: 1 << 31)
  /// Override mandatory access control, as of Smack.
  public static let macOverride = Self(rawValue: 1 << 32)
  /// Configure mandatory access control, as of Smack.
  public static let macAdmin = Self(rawValue: 1 << 33)
  /// Privileged operations of syslog(2), and kernel addresses in `/proc`. Linux 2.6.37.
  public static let syslog = Self(rawValue: 1 << 34)
  /// Set timers that wake up the system. Linux 3.0.
  public static let wakeAlarm = Self(rawValue: 1 << 35)
  /// Keep the system from suspending. Linux 3.5.
  public static let blockSuspend = Self(rawValue: 1 << 36)
  /// Read the audit log through a multicast socket. Linux 3.16.
  public static let auditRead = Self(rawValue: 1 << 37)
  /// Monitor performance: perf_event_open(2) and BPF for it. Linux 5.8.
  public static let perfmon = Self(rawValue: 1 << 38)
  /// Privileged operations of bpf(2). Linux 5.8.
  public static let bpf = Self(rawValue: 1 << 39)
  /// Checkpoint and restore processes, with the pids they had. Linux 5.9.
  public static let checkpointRestore = Self(rawValue: 1 << 40)
}
