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

  /// Bytes that no string of the bus may have: not UTF-8, and a zero byte. The bus ends the connection of the
  /// sender, the service gets nothing, and others are answered.
  @Test func invalidStringEndsItsSenderAlone() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        let valid = try machine.client("invalid", "616c696365", as: "bob")
        try valid.wait(for: "done /run/daemon-store/alpha/")
        let calls = HostileNames.invalid + [[0], [0x61, 0, 0x62]]
        for bytes in calls {
          let digits = bytes.map { String(0x100 + Int($0), radix: 16).dropFirst() }.joined()
          let sender = try machine.client("invalid", digits, as: "bob")
          #expect(try sender.end() == 0 && sender.text == "hung up\n", "\(digits): \(sender.text)")
        }
        #expect(calls.count > 8 && service.isRunning && machine.log == "", "\(machine.log)")
        try machine.expect("(@a(sbas) [],)", from: "Manager1.List", as: "carol")
        service.kill()
      }
    }
  }
}
