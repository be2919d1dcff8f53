import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

private struct Change: Decodable, Equatable {
  let event: String
  let store: String
  let user: String
  let path: String
}

@Suite(.needsRoot) struct WatchTests {
  private static let program = "/mnt/programs/daemon-store"

  private static func expect(
    _ lines: [String], in file: String, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let wanted = lines.map { $0 + "\n" }.joined()
    let isSo = try eventually { try readFile(file) == wanted }
    let text = try readFile(file)
    #expect(isSo, "\(text)", sourceLocation: sourceLocation)
  }

  @Test(arguments: Machine.allCases)
  func aLineForEachArrivalAndDeparture(machine: Machine) async {
    await #expect(processExitsWith: .success) { [machine] in
      let schema = try Schema("watch")
      inHost(machine) { host in
        try host.boot("alpha", "bravo")
        try host.login("alice")
        let watch = try Launched(Self.program, ["watch"], output: "/mnt/out")
        let json = try Launched(Self.program, ["watch", "bravo", "--json"], output: "/mnt/json")
        let present = ["alpha", "bravo"].map { "present \($0) \(Host.alice)" }
        try Self.expect(present, in: "/mnt/out")
        // The stores are mounted one after another, and looked at as well.
        func next(after count: Int) throws -> Set<String> {
          func lines() throws -> [String] {
            try readFile("/mnt/out").split(separator: "\n").dropFirst(count).map(String.init)
          }
          _ = try eventually { try lines().count >= 2 }
          return Set(try lines())
        }
        #expect(eventually { json.isWaiting })
        try host.login("bob")
        #expect(
          try next(after: 2) == ["arrived alpha \(Host.bob)", "arrived bravo \(Host.bob)"])
        try host.logout("alice")
        #expect(
          try next(after: 4) == ["left alpha \(Host.alice)", "left bravo \(Host.alice)"])
        // A store that is made while somebody watches.
        try host.boot("charlie")
        try host.login("bob")
        #expect(
          try eventually { try readFile("/mnt/out").hasSuffix("arrived charlie \(Host.bob)\n") })

        for (watcher, signal) in [(watch, SIGINT), (json, SIGTERM)] {
          kill(watcher.process, signal)
          #expect(try watcher.finish() == 0)
        }
        let changes = try readFile("/mnt/json").split(separator: "\n").map {
          try schema.decode(Change.self, String($0))
        }
        #expect(
          changes.map { [$0.event, $0.store, $0.user] } == [
            ["present", "bravo", Host.alice], ["arrived", "bravo", Host.bob],
            ["left", "bravo", Host.alice],
          ])
        #expect(changes[1].path == "/run/daemon-store/bravo/\(Host.bob)")
      }
    }
  }

  /// Between two looks a folder may leave and come again: it is another mount then.
  @Test func aFolderThatComesAgainHasLeft() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        let watch = try Launched(Self.program, ["watch", "alpha"], output: "/mnt/out")
        try Self.expect(["present alpha \(Host.alice)"], in: "/mnt/out")
        #expect(eventually { watch.isWaiting })
        kill(watch.process, SIGSTOP)
        try host.logout("alice")
        try host.login("alice")
        kill(watch.process, SIGCONT)
        try Self.expect(
          ["present", "left", "arrived"].map { "\($0) alpha \(Host.alice)" }, in: "/mnt/out")
      }
    }
  }

  @Test func endsWhenNobodyReads() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        // `head` ends after the line that is there; nothing is mounted afterwards.
        let outcome = try host.script(
          "(daemon-store watch; echo $? >/mnt/status) | head -n 1; until test -s /mnt/status; "
            + "do sleep 0.01; done; cat /mnt/status")
        #expect(outcome.lines == ["present alpha \(Host.alice)", "0"], "\(outcome)")
        // No file of ours gets the number of an output that is closed.
        for place in [">/dev/full", ">&-", "<&- >&-"] {
          let lost = try host.script("daemon-store watch \(place)")
          #expect(lost.status == 1 && lost.complains(of: "standard output"), "\(place): \(lost)")
        }
      }
    }
  }

  @Test func inAJailAndForTheGroupAlone() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha", "bravo")  // of group 60
        let watch = try Launched(
          "/mnt/programs/minijail0",
          ["-u", "5", "-g", "60", "--daemon-store", "alpha", "--", Self.program, "watch"],
          output: "/mnt/out")
        usleep(100_000)
        try host.login("alice")
        #expect(
          try eventually { try readFile("/mnt/out").contains(" alpha \(Host.alice)\n") })
        try host.logout("alice")
        #expect(try eventually { try readFile("/mnt/out").contains("left alpha") })
        #expect(try !readFile("/mnt/out").contains("bravo"))
        #expect(watch.isRunning)
        let refused = try host.runAsNobody("daemon-store", "watch", "alpha")
        #expect(refused.status == 1 && refused.complains(of: "alpha", "group"), "\(refused)")
      }
    }
  }

  /// Whoever watches looks at what is just being taken away, and must not keep it.
  @Test func doesNotDisturbLogouts() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        let stores = (1...20).map { "store\($0)" }
        for store in stores { try host.template(store) }
        try host.succeed("daemon-store", "startup")
        let watches = try (1...3).map { _ in try Launched(Self.program, ["watch"]) }
        for _ in 1...10 {
          try host.login("alice", "bob")
          try host.logout("alice")
          try host.succeed("daemon-store", "shutdown")
          try host.logout("bob")
          try host.succeed("daemon-store", "startup")
        }
        #expect(watches.allSatisfy { $0.isRunning })
      }
    }
  }
}
