import DaemonStoreKernel
import TestSupport
import Testing

/// Strings of the bus that text gets wrong.
@Suite(.needsRoot) struct BusNameTests {
  /// Two users whose names are equal as text have two folders, and a store has an ASCII name.
  @Test func namesAreComparedByBytes() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        func folder(of user: String, in store: String) throws -> Outcome {
          try machine.run([
            "busctl", "--system", "call", BusMachine.manager, "/org/daemonstore/Manager1",
            BusMachine.manager, "GetStore", "ss", store, user,
          ])
        }
        var answers: Set<String> = []
        let names = HostileNames.paths.compactMap(\.text)
        for name in names {
          let outcome = try folder(of: name, in: "alpha")
          #expect(outcome.status == 0, "\(outcome)")
          #expect(answers.insert(outcome.output).inserted, "\(name)")
          // No store has such a name, and none like it.
          #expect(try folder(of: "alice", in: name).status != 0, "\(name)")
          #expect(try folder(of: "alice", in: "alpha\(name)").status != 0, "\(name)")
        }
        #expect(answers.count == names.count && names.count > 10)
        try machine.expect("(@a(sbas) [],)", from: "Manager1.List")
        service.kill()
      }
    }
  }
}
