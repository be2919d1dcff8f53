import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// Gives a new user namespace its ids: user_namespaces(7), "User and group ID mappings".
struct IDMaps {
  let configuration: JailConfiguration
  /// What was blocked before the launcher blocked everything: for the helpers.
  let mask: SignalMask

  /// - Parameter process: the first process of the namespace, which waits for this.
  func write(for process: pid_t) throws(JailError) {
    if let map = configuration.userMap {
      try write(map, to: "uid_map", of: process, option: "-m", helper: "/usr/bin/newuidmap")
    }
    guard let map = configuration.groupMap else { return }
    if configuration.deniesGroupChange {
      try step("-M") { () throws(SystemError) in
        try Self.write("deny", to: "/proc/\(process)/setgroups")
      }
    }
    try write(map, to: "gid_map", of: process, option: "-M", helper: "/usr/bin/newgidmap")
  }

  private func write(
    _ map: [IDRange], to file: String, of process: pid_t, option: String, helper: String
  ) throws(JailError) {
    let text = map.map(\.description).joined(separator: "\n")
    let shown = map.map(\.description).joined(separator: ",")
    do throws(SystemError) {
      try Self.write(text, to: "/proc/\(process)/\(file)")
    } catch {
      // Only the caller's own id is its to give; a helper knows what else it was lent.
      guard error.code == EPERM else {
        let hint = error.code == EROFS ? "; the outer jail's /proc is read-only (-p, -r)" : ""
        throw JailError("\(option) '\(shown)': \(error)\(hint)")
      }
      try run(
        helper, ["\(process)"] + map.flatMap { ["\($0.inside)", "\($0.outside)", "\($0.count)"] })
    }
  }

  private static func write(_ text: String, to path: FilePath) throws(SystemError) {
    let file = Descriptor(
      owning: try check("open", path, open(path.cString, O_WRONLY | O_CLOEXEC)))
    try file.write(Array(text.utf8), shown: path)
  }

  private func run(_ helper: String, _ words: [String]) throws(JailError) {
    guard access(helper, X_OK) == 0 else {
      throw JailError(
        "the caller may map only its own id, and \(helper) (package uidmap) is missing")
    }
    let end = try step("run \(helper)") { () throws(SystemError) -> ProcessEnd in
      guard let process = try fork() else {
        if (try? mask.restore()) != nil {
          PreparedProgram(
            path: RawArgument(helper), words: ([helper] + words).map { RawArgument($0) },
            environment: currentEnvironment()
          ).execute()
        }
        _exit(ExitStatus.notFound)
      }
      return try wait(for: process).end
    }
    guard end == .exited(0) else {
      throw JailError("\(helper) \(words.joined(separator: " ")): it refused the map")
    }
  }
}
