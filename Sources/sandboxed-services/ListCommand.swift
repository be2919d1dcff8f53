import ArgumentParser
import DaemonStoreKernel
import DaemonStoreProgram
import ServiceAudit

struct ListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "Print each process of a service, and how it is kept from the rest of the system.",
    discussion: """
      Namespaces are listed that are not those of process 1, and capabilities where it has not all. \
      A dash is a process that nothing confines.
      """)

  @Flag(help: "Print the result as JSON.")
  var json = false

  func run() throws {
    try Program.requireRoot()
    let services = try RunningServices.all()
    if json {
      try printJSON(services.map { ServiceOutput($0) })
      return
    }
    let rows =
      [["PID", "USER:GROUP", "PROGRAM", "UNIT", "FEATURES"]]
      + services.map { service in
        let features = service.features.sorted().map(\.description).joined(separator: " ")
        return [
          "\(service.pid)", "\(service.userName):\(service.groupName)", service.program.description,
          service.unit ?? "-", features.isEmpty ? "-" : features,
        ]
      }
    let widths = (0..<4).map { column in rows.map { $0[column].count }.max() ?? 0 }
    for row in rows {
      let cells = zip(row, widths).map { text, width in
        text + String(repeating: " ", count: width - text.count)
      }
      Program.say((cells + row.suffix(1)).joined(separator: "  "))
    }
  }
}

/// `sandboxed-services list --json`: one for each process.
struct ServiceOutput: Encodable {
  let pid: Int32
  let program: String
  let executable: String
  let user: String
  let uid: UInt32
  let group: String
  let gid: UInt32
  let unit: String?
  /// The permitted ones, without the prefix.
  let capabilities: [String]
  let allCapabilities: Bool
  let ownNamespaces: [String]
  let noNewPrivileges: Bool
  let seccomp: String
  let otherRoot: Bool

  init(_ service: Service) {
    pid = service.pid
    program = service.program.description
    executable = service.executable.jsonText
    user = service.userName.description
    uid = service.status.user
    group = service.groupName.description
    gid = service.status.group
    unit = service.unit
    capabilities = service.status.permitted.names
    allCapabilities = service.hasAllCapabilities
    ownNamespaces = service.ownNamespaces
    noNewPrivileges = service.status.noNewPrivileges
    seccomp = service.status.filter.name
    otherRoot = service.hasOtherRoot
  }
}
