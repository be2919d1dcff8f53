@testable import DaemonStore
@testable import Jail
@testable import DaemonStoreKernel
@testable import ServiceAudit

/// The mount table of another namespace.
func fuzzMountInfo(_ bytes: [UInt8]) {
  guard let table = try? MountTable(parsing: bytes, from: "mountinfo") else { return }
  for mount in table.mounts {
    precondition(mount.target.isAtOrBelow("/") && !mount.root.isEmpty)
    precondition(mount.layers.isEmpty || mount.fileSystem == "overlay")
    let options = Array(mount.attributes.options.utf8)
    precondition(MountAttributes(options: options[...]) == mount.attributes)
  }
  let data = UserDataMounts(table.mounts)
  precondition(data.mounts(in: table.mounts, keeping: []).count <= table.mounts.count)
  let groups = PeerGroups([table])
  for mount in table.mounts.prefix(8) { _ = groups.sources(of: mount) }
}

/// Files of `/proc/PID`.
func fuzzProcessFiles(_ bytes: [UInt8]) {
  _ = ProcessStat(parsing: bytes)
  _ = ProcessStatus(bytes)
  if let unit = ProcessName.unit(in: bytes) {
    precondition(!unit.unicodeScalars.contains { $0.value < 0x20 || $0 == "/" })
  }
  if case .service(let unit) = ServiceUnit(bytes) {
    precondition(!unit.unicodeScalars.contains { $0.value < 0x20 || $0 == "/" })
  }
  if let link = FilePath(bytes) { _ = NamespaceLink.id(in: link) }
}

/// `/etc/daemon-store.conf`: whatever is in it, each error is one short line, and each setting has a value
/// that its key can have.
func fuzzSettings(_ bytes: [UInt8]) {
  var configuration = DaemonStore.Configuration()
  configuration.read(bytes, from: "/etc/daemon-store.conf")
  for error in configuration.errors {
    precondition(error.utf8.count < 1000 && !error.unicodeScalars.contains { $0.value < 0x20 })
  }
  for section in configuration.sections {
    for key in DaemonStore.Configuration.Key.allCases {
      let value = configuration.setting(key, in: section).value
      precondition(key.values.contains { $0.utf8.elementsEqual(value.utf8) })
    }
    _ = configuration.holderPolicy(in: section)
  }
}

/// The baseline of sandboxed-services: what is written means the same.
func fuzzBaseline(_ bytes: [UInt8]) {
  guard let baseline = try? Baseline(parsing: bytes, named: "b") else { return }
  precondition((try? Baseline(parsing: Array(baseline.text.utf8), named: "w")) == baseline)
}
