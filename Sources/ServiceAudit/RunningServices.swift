import DaemonStoreAccounts
import Glibc
import DaemonStoreKernel

/// The services that run on this system. A process is one of a service's
///
/// - where systemd runs it: when it is in the cgroup of a service that is not a user's own;
/// - elsewhere: when it has no terminal and nobody has logged in to start it (its loginuid is not
///   set), and is not the first process.
///
/// The kernel's threads, and what is in a container's cgroup or a user's session, are none.
package enum RunningServices {
  /// In the order of their numbers. Needs root, to see namespaces and roots of others.
  package static func all() throws -> [Service] {
    let first = try Reference()
    var services: [Service] = []
    for process in try Directory(opening: "/proc").names().compactMap({
      $0.bytes.number(as: pid_t.self)
    }).sorted()
    where process != 1 && process != getpid() {
      // One that has gone meanwhile is none.
      if let service = try service(process, first) { services.append(service) }
    }
    return services
  }

  /// What others are compared with: process 1, or where that is hidden even from root, as on some
  /// virtual machines, this process.
  private struct Reference {
    let namespaces: [String: FilePath]
    let root: FileIdentity
    let capabilities: CapabilitySet

    init() throws {
      let process = (try? linkTarget(of: "/proc/1/ns/mnt")) == nil ? getpid() : 1
      namespaces = namespaceLinks(process)
      guard let root = try Directory(opening: "/proc/\(process)").status(behind: "root"),
        let status = ProcessStatus(text("/proc/1/status"))
      else {
        throw SystemError(operation: "read", path: "/proc/1/status", code: EACCES)
      }
      self.root = root.identity
      capabilities = status.bounding
    }
  }

  private static func service(_ process: pid_t, _ first: Reference) throws -> Service? {
    let path: FilePath = "/proc/\(process)"
    guard let stat = ProcessStat(of: process), !stat.isKernelThread,
      let status = ProcessStatus(text("\(path)/status")), !status.isZombie
    else { return nil }
    let unit: String?
    switch ServiceUnit(text("\(path)/cgroup")) {
    case .service(let name): unit = name
    case .other: return nil
    case .none:
      guard !stat.hasTerminal, isNobodysSession(path) else { return nil }
      unit = nil
    }
    guard let executable = try? linkTarget(of: "\(path)/exe"),
      let directory = try? Directory(opening: path),
      let root = (try? directory.status(behind: "root")) ?? nil
    else { return nil }
    let links = namespaceLinks(process)
    return Service(
      pid: process, program: programName(path, executable), executable: executable,
      userName: Account.name(of: status.user), groupName: Group.name(of: status.group),
      status: status, unit: unit,
      ownNamespaces: Feature.namespaces.filter { kind in
        links[kind] != nil && links[kind] != first.namespaces[kind]
      }, hasOtherRoot: root.identity != first.root,
      hasAllCapabilities: status.permitted.isSuperset(of: first.capabilities))
  }

  /// Whether no login has led to it: `/proc/PID/loginuid` is what PAM wrote there.
  private static func isNobodysSession(_ path: FilePath) -> Bool {
    let text = text("\(path)/loginuid")
    return text.isEmpty || text.number(as: UInt32.self) == .max
  }

  /// The file name of the executable; of a script, that of the script, which the kernel took the
  /// process's name from and passed to the interpreter. Neither is what a process calls itself.
  private static func programName(_ path: FilePath, _ executable: FilePath) -> FilePath {
    let name = text("\(path)/comm").lines.first ?? []
    let file = executable.dropping(suffix: " (deleted)") ?? executable
    let program = file.components.last ?? ""
    guard !program.bytes.starts(with: name) else { return program }
    for argument in text("\(path)/cmdline").split(separator: 0).dropFirst().prefix(8) {
      guard !name.isEmpty, let argument = FilePath(argument), argument.isAbsolute,
        let script = argument.components.last, script.bytes.starts(with: name)
      else { continue }
      return script
    }
    return program
  }

  private static func namespaceLinks(_ process: pid_t) -> [String: FilePath] {
    var links: [String: FilePath] = [:]
    for kind in Feature.namespaces {
      links[kind] = try? linkTarget(of: "/proc/\(process)/ns/\(kind)")
    }
    return links
  }

  /// A file of the kernel's, without the line feed at its end; empty when it is gone or closed to us.
  private static func text(_ path: FilePath) -> [UInt8] {
    let bytes = (try? kernelFile(path)) ?? []
    return bytes.last == UInt8(ascii: "\n") ? bytes.dropLast() : bytes
  }
}
