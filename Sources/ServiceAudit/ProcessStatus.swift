import DaemonStoreKernel

/// How the kernel filters the system calls of a process: the field `Seccomp` of its status.
package enum FilterMode: Int, Sendable {
  case none
  /// read, write, exit and sigreturn.
  case strict
  case filter

  package var name: String {
    switch self {
    case .none: "none"
    case .strict: "strict"
    case .filter: "filter"
    }
  }
}

/// What `/proc/PID/status` says of a process, as far as it concerns its confinement:
/// proc_pid_status(5).
package struct ProcessStatus: Equatable, Sendable {
  package let isZombie: Bool
  /// Who it acts as: the effective ids.
  package let user: UInt32
  package let group: UInt32
  package let permitted: CapabilitySet
  package let bounding: CapabilitySet
  package let noNewPrivileges: Bool
  package let filter: FilterMode

  /// nil when a field is missing or unreadable: a kernel that does not say it, or no such file.
  package init?(_ text: [UInt8]) {
    func value(_ field: StaticString, at index: Int = 0) -> ArraySlice<UInt8>? {
      text.field(field)?.words.dropFirst(index).first
    }
    guard let state = value("State"), let user: UInt32 = value("Uid", at: 1)?.number(),
      let group: UInt32 = value("Gid", at: 1)?.number(),
      let permitted: UInt64 = value("CapPrm")?.number(radix: 16),
      let bounding: UInt64 = value("CapBnd")?.number(radix: 16),
      let noNewPrivileges: UInt64 = value("NoNewPrivs")?.number(),
      let mode = value("Seccomp")?.number(as: Int.self).flatMap(FilterMode.init(rawValue:))
    else { return nil }
    isZombie = state.equals("Z") || state.equals("X")
    self.user = user
    self.group = group
    self.permitted = CapabilitySet(rawValue: permitted)
    self.bounding = CapabilitySet(rawValue: bounding)
    self.noNewPrivileges = noNewPrivileges == 1
    filter = mode
  }
}

/// Whose process it is, by `/proc/PID/cgroup`, where systemd keeps one cgroup for each unit.
package enum ServiceUnit: Equatable, Sendable {
  case service(String)
  /// A user's session, a container, or a part of systemd itself.
  case other
  /// systemd is not there, or has nothing to do with it.
  case none

  package init(_ text: [UInt8]) {
    // The hierarchy of systemd: its own by name, or the one and only (version 2).
    var paths: [ArraySlice<UInt8>] = []
    for line in text.lines {
      let parts = line.split(
        separator: UInt8(ascii: ":"), maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      if parts[1].equals("name=systemd") { paths.insert(parts[2], at: 0) }
      if parts[0].equals("0") && parts[1].isEmpty { paths.append(parts[2]) }
    }
    // On a host with both, either may be the one that systemd uses.
    for path in paths {
      let components = path.split(separator: UInt8(ascii: "/"))
      let slice = components.first { $0.ends(with: ".slice") || $0.equals("init.scope") }
      guard let slice else { continue }
      guard !slice.equals("user.slice"),
        let unit = components.first(where: { $0.ends(with: ".service") })
      else {
        self = .other
        return
      }
      self = .service(shownBytes(unit))
      return
    }
    self = .none
  }
}
