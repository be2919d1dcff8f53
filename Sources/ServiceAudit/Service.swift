import CDaemonStoreLibcap
import DaemonStoreKernel

/// A way in which a service is kept from the rest of the system, as a baseline names it.
package enum Feature: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// It has these capabilities at most.
  case capabilities(CapabilitySet)
  /// It is in another namespace than process 1: `mnt`, `net`, …
  case namespace(String)
  case noNewPrivileges
  /// Its root directory is another than that of process 1.
  case root
  /// Its system calls are filtered.
  case filter

  /// As in `/proc/PID/ns`.
  package static let namespaces = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"]

  package var description: String {
    switch self {
    case .capabilities(let set):
      "caps=" + (set.isEmpty ? "none" : set.names.joined(separator: ","))
    case .namespace(let kind): kind
    case .noNewPrivileges: "no-new-privs"
    case .root: "root"
    case .filter: "seccomp"
    }
  }

  /// Reads what ``description`` writes; nil for anything else.
  package init?(_ text: ArraySlice<UInt8>) {
    if text.equals("no-new-privs") {
      self = .noNewPrivileges
    } else if text.equals("root") {
      self = .root
    } else if text.equals("seccomp") {
      self = .filter
    } else if let kind = Self.namespaces.first(where: { text.elementsEqual($0.utf8) }) {
      self = .namespace(kind)
    } else if text.begins(with: "caps="), let set = CapabilitySet(names: text.dropFirst(5)) {
      self = .capabilities(set)
    } else {
      return nil
    }
  }

  package static func < (left: Self, right: Self) -> Bool {
    left.description < right.description
  }
}

/// One running process of a service, as the kernel shows it.
package struct Service: Equatable, Sendable {
  package let pid: Int32
  /// The file name of its executable, or of the script that an interpreter runs.
  package let program: FilePath
  /// The path of its executable, as it is called in its own root directory.
  package let executable: FilePath
  package let userName: FilePath
  package let groupName: FilePath
  package let status: ProcessStatus
  /// The systemd unit; nil where there is none.
  package let unit: String?
  /// The namespaces that are not process 1's, sorted.
  package let ownNamespaces: [String]
  package let hasOtherRoot: Bool
  /// Whether it has all capabilities that process 1 can give.
  package let hasAllCapabilities: Bool

  package init(
    pid: Int32, program: FilePath, executable: FilePath, userName: FilePath, groupName: FilePath,
    status: ProcessStatus, unit: String?, ownNamespaces: [String], hasOtherRoot: Bool,
    hasAllCapabilities: Bool
  ) {
    self.pid = pid
    self.program = program
    self.executable = executable
    self.userName = userName
    self.groupName = groupName
    self.status = status
    self.unit = unit
    self.ownNamespaces = ownNamespaces
    self.hasOtherRoot = hasOtherRoot
    self.hasAllCapabilities = hasAllCapabilities
  }

  /// How it is kept from the rest of the system.
  package var features: Set<Feature> {
    var features = Set(ownNamespaces.map { Feature.namespace($0) })
    if !hasAllCapabilities { features.insert(.capabilities(status.permitted)) }
    if status.noNewPrivileges { features.insert(.noNewPrivileges) }
    if status.filter != .none { features.insert(.filter) }
    if hasOtherRoot { features.insert(.root) }
    return features
  }

  /// Whether it is at least as confined in this respect.
  func holds(_ feature: Feature) -> Bool {
    switch feature {
    case .capabilities(let most): status.permitted.isSubset(of: most)
    default: features.contains(feature)
    }
  }
}

extension CapabilitySet {
  /// As capabilities(7) calls them, without the prefix that all have: `chown`. Others are numbers.
  package var names: [String] {
    (0..<64).filter { rawValue & (1 << UInt64($0)) != 0 }.map { number in
      guard let name = cap_to_name(cap_value_t(number)) else { return "\(number)" }
      defer { cap_free(name) }
      let text = String(cString: name)
      return text.utf8.starts(with: "cap_".utf8) ? String(text.utf8.dropFirst(4)) ?? text : text
    }
  }

  /// Reads what ``names`` has, with commas between; `none` is the empty set.
  init?(names text: ArraySlice<UInt8>) {
    self = []
    guard !text.equals("none") else { return }
    for name in text.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false) {
      var number: cap_value_t = -1
      if let value: UInt8 = name.number(), value < 64 {
        number = cap_value_t(value)
      } else {
        guard let name = FilePath("cap_".utf8 + name), cap_from_name(name.cString, &number) == 0
        else { return nil }
      }
      guard (0..<64).contains(number) else { return nil }
      insert(CapabilitySet(rawValue: 1 << UInt64(number)))
    }
  }
}
