import Kernel

/// How the kernel filters the system calls of a process: the field `Seccomp` of its status.
public enum FilterMode: Int, Sendable {
  case none
  /// read, write, exit and sigreturn.
  case strict
  case filter

  public var name: String {
    switch self {
    case .none: "none"
    case .strict: "strict"
    case .filter: "filter"
    }
  }
}

/// What `/proc/PID/status` says of a process, as far as it concerns its confinement:
/// proc_pid_status(5).
public struct ProcessStatus: Equatable, Sendable {
  public let isZombie: Bool
  /// Who it acts as: the effective ids.
  public let user: UInt32
  public let group: UInt32
  public let permitted: CapabilitySet
  public let bounding: CapabilitySet
  public let noNewPrivileges: Bool
  public let filter: FilterMode

  /// nil when a field is missing or unreadable: a kernel that does not say it, or no such file.
  public init?(_ text: some StringProtocol) {
    var fields: [Substring: [Substring]] = [:]
    for line in Substring(text).split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      let values = line[line.index(after: colon)...].split { $0 == "\t" || $0 == " " }
      // A name may hold a line feed, but the kernel escapes it; the first of a field counts.
      if fields[line[..<colon]] == nil { fields[line[..<colon]] = values }
    }
    func number(_ field: Substring, at index: Int = 0, radix: Int = 10) -> UInt64? {
      guard let values = fields[field], values.indices.contains(index) else { return nil }
      return UInt64(values[index], radix: radix)
    }
    guard let state = fields["State"]?.first,
      let user = number("Uid", at: 1).flatMap({ UInt32(exactly: $0) }),
      let group = number("Gid", at: 1).flatMap({ UInt32(exactly: $0) }),
      let permitted = number("CapPrm", radix: 16), let bounding = number("CapBnd", radix: 16),
      let noNewPrivileges = number("NoNewPrivs"),
      let mode = number("Seccomp").flatMap({ FilterMode(rawValue: Int(clamping: $0)) })
    else { return nil }
    isZombie = state == "Z" || state == "X"
    self.user = user
    self.group = group
    self.permitted = CapabilitySet(rawValue: permitted)
    self.bounding = CapabilitySet(rawValue: bounding)
    self.noNewPrivileges = noNewPrivileges == 1
    filter = mode
  }
}

/// What `/proc/PID/stat` says of where a process belongs: proc_pid_stat(5).
public struct ProcessKind: Equatable, Sendable {
  public let isKernelThread: Bool
  public let hasTerminal: Bool

  /// nil for what is no such line.
  public init?(_ text: some StringProtocol) {
    // The name before may hold anything, parentheses too.
    let line = Substring(text)
    guard let end = line.lastIndex(of: ")") else { return nil }
    // state ppid pgrp session tty_nr tpgid flags
    let fields = line[line.index(after: end)...].split(separator: " ")
    guard fields.count > 6, let terminal = Int(fields[4]), let flags = UInt64(fields[6]) else {
      return nil
    }
    hasTerminal = terminal != 0
    isKernelThread = flags & 0x0020_0000 != 0  // PF_KTHREAD
  }
}

/// Whose process it is, by `/proc/PID/cgroup`, where systemd keeps one cgroup for each unit.
public enum ServiceUnit: Equatable, Sendable {
  case service(String)
  /// A user's session, a container, or a part of systemd itself.
  case other
  /// systemd is not there, or has nothing to do with it.
  case none

  public init(_ text: some StringProtocol) {
    // The hierarchy of systemd: its own by name, or the one and only (version 2).
    var paths: [Substring] = []
    for line in Substring(text).split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      if parts[1] == "name=systemd" { paths.insert(parts[2], at: 0) }
      if parts[0] == "0" && parts[1].isEmpty { paths.append(parts[2]) }
    }
    // On a host with both, either may be the one that systemd uses.
    for path in paths {
      let components = path.split(separator: "/")
      guard let slice = components.first(where: { $0.hasSuffix(".slice") || $0 == "init.scope" })
      else {
        continue
      }
      let unit = components.first { $0.hasSuffix(".service") }
      guard slice != "user.slice", let unit else {
        self = .other
        return
      }
      self = .service(String(unit))
      return
    }
    self = .none
  }
}
