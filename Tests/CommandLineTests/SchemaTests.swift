import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// What the older verbs print as JSON, in their good and their bad moments.
@Suite(.needsRoot) struct SchemaTests {
  @Test func startupAndShutdownKeepToTheirs() async {
    await #expect(processExitsWith: .success) {
      let startup = try Schema("startup")
      let shutdown = try Schema("shutdown")
      inHost(.shared) { host in
        func expect(_ schema: Schema, _ status: CInt, _ arguments: String...) throws {
          let outcome = try run("/mnt/programs/daemon-store", arguments + ["--json"])
          #expect(outcome.status == status, "\(outcome)")
          #expect(try schema.violations(in: outcome.output).isEmpty, "\(outcome)")
        }
        try remove("/etc/daemon-store")
        try expect(startup, 0, "startup")
        try host.template("alpha")
        try expect(startup, 0, "startup", "--dry-run")
        try writeFile("/etc/daemon-store/file", "")
        try expect(startup, 3, "startup")
        try host.login("alice")
        try remove("/etc/daemon-store/alpha")
        try expect(startup, 3, "startup")
        let jail = try host.jail(following: "alpha")
        try expect(shutdown, 1, "shutdown")
        try host.helpers.stop(jail)
        _ = try host.holder {
          let folder = "/run/daemon-store/alpha/\(Host.alice)"
          try check("chdir", folder, chdir(folder))
        }
        try expect(shutdown, 3, "shutdown")
      }
    }
  }
}
