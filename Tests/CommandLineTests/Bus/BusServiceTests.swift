import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// Who may do what, what is no call, and how the service is as a process.
@Suite(.needsRoot) struct BusServiceTests {
  /// The socket of a bus appears before the bus listens there.
  @Test func findsABusThatListensLater() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        machine.bus.kill()
        _ = try machine.host.script("rm -f /run/dbus/system_bus_socket")
        let service = try Launched(
          "nsenter", BusMachine.words(machine.first, ["/mnt/programs/cryptohomed"]))
        #expect(eventually { exists("/run/cryptohome/control") })
        let bus = try run(
          "python3",
          [
            "-c",
            """
            import os, socket, time
            def socket_of_bus():
              server = socket.socket(socket.AF_UNIX)
              server.bind('/run/dbus/system_bus_socket')
              time.sleep(0.05)
              return server
            for attempt in range(8):
              socket_of_bus().close()
              os.unlink('/run/dbus/system_bus_socket')
            server = socket_of_bus()
            server.listen(5)
            server.settimeout(20)
            server.accept()
            """,
          ])
        #expect(bus.status == 0, "\(bus)")
        service.kill()
      }
    }
  }

  @Test func onlyWhoMayMounts() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        try machine.succeed("cryptohome", "mount", "bob", "--vault", "plain")
        let service = try machine.startService()
        func refuse(_ words: String, _ method: String, _ arguments: [String], _ user: String)
          throws
        {
          let outcome =
            switch arguments.count {
            case 1: try machine.call(method, arguments[0], as: user)
            case 2: try machine.call(method, arguments[0], arguments[1], as: user)
            default: try machine.call(method, arguments[0], arguments[1], arguments[2], as: user)
            }
          #expect(
            outcome.status != 0 && outcome.errors.contains("AccessDenied")
              && outcome.errors.contains(words), "\(outcome)")
        }
        let both = try machine.mounts(of: Host.alice) + machine.mounts(of: Host.bob)
        // bob is in no group, alice in the one.
        try refuse("the members of the group cryptohome", "Manager1.Unmount", ["bob", "{}"], "bob")
        try refuse(
          "the members of the group cryptohome", "Manager1.Mount", ["bob", "0", "{}"], "bob")
        try refuse("only itself", "Manager1.Unmount", ["bob", "{}"], "alice")
        try refuse("only itself", "Manager1.Mount", ["bob", "0", "{}"], "alice")
        try refuse("only root", "UserDataAuthInterface.Unmount", ["@ay []"], "alice")
        try refuse("may delay it", "Manager1.Delay", ["alpha", "why not"], "alice")
        #expect(try machine.mounts(of: Host.alice) + machine.mounts(of: Host.bob) == both)
        let options = try machine.call(
          "Manager1.Mount", "alice", "0", "{'owner': <'0:0'>}", as: "alice")
        #expect(
          options.status != 0 && options.errors.contains("there is no option owner"), "\(options)")

        // Itself, by name and by hash.
        try machine.expect("(true, @as [])", from: "Manager1.Unmount", "alice", "{}", as: "alice")
        try machine.expect(
          "('\(Host.alice)', @as [])", from: "Manager1.Mount", Host.alice, "0", "{}", as: "alice")
        service.kill()
        #expect(machine.log == "")
      }
    }
  }

  @Test func callsThatAreNone() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        func busctl(_ interface: String, _ arguments: [String]) throws -> Outcome {
          try machine.run(
            [
              "busctl", "--system", "--", "call", BusMachine.manager, "/org/daemonstore/Manager1",
              interface,
            ] + arguments)
        }
        let manager = BusMachine.manager
        for (words, arguments) in [
          ("expecting 'ss'", ["GetStore", "s", "alpha"]),
          ("expecting 'ss'", ["GetStore", "su", "alpha", "1"]),
          ("expecting 'ss'", ["GetStore"]),
          ("Invalid arguments", ["List", "s", "x"]),
          ("expecting 'sa{sv}'", ["Unmount", "sa{ss}", "alice", "0"]),
          ("Unknown method", ["Nonsense"]),
          ("there is no store ../..", ["GetStore", "ss", "../..", "alice"]),
          ("there is no store", ["GetStore", "ss", "", "alice"]),
          ("there is no store x\\u{0a}y", ["GetStore", "ss", "x\ny", "alice"]),
          ("is empty", ["GetStore", "ss", "alpha", ""]),
          ("upper-case", ["GetStore", "ss", "alpha", Host.alice.uppercased()]),
          ("there is no store", ["Delay", "ss", "nowhere", "x"]),
          ("at most 256 bytes", ["Delay", "ss", "alpha", String(repeating: "x", count: 257)]),
          ("there is no option now", ["Unmount", "sa{sv}", "alice", "1", "now", "b", "true"]),
          ("the option force is", ["Unmount", "sa{sv}", "alice", "1", "force", "s", "yes"]),
          ("the option wait is", ["Unmount", "sa{sv}", "alice", "1", "wait", "as", "0"]),
          ("--wait", ["Unmount", "sa{sv}", "alice", "1", "wait", "s", "soon"]),
        ] {
          let outcome = try busctl(manager, arguments)
          #expect(outcome.status != 0 && outcome.errors.contains(words), "\(words): \(outcome)")
        }
        // An option of cryptohome is no name of a user.
        let option = try busctl(manager, ["Unmount", "sa{sv}", "--all", "0"])
        #expect(option.lines == ["bas true 0"], "\(option)")
        let nothing = try busctl("org.daemonstore.Nothing1", ["List"])
        #expect(nothing.status != 0, "\(nothing)")
        for bytes in ["[byte 0xff]", "[byte 10, byte 255, byte 1]", "[byte 10, byte 1, byte 0xff]"]
        {
          let outcome = try machine.call("UserDataAuthInterface.IsMounted", bytes)
          #expect(
            outcome.status != 0 && outcome.errors.contains("InvalidArgs")
              && outcome.errors.contains("bytes are no user_data_auth.IsMountedRequest"),
            "\(outcome)")
        }
        // A name of a million bytes is refused before anything is done with it.
        let long = try machine.client("long")
        try long.wait(for: "InvalidArgs an argument is longer than 4096 bytes")
        try machine.expect("(@a(sbas) [],)", from: "Manager1.List")
        #expect(service.isRunning && machine.log == "", "\(machine.log)")
        service.kill()
      }
    }
  }

  @Test func aThousandAtOnce() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        let crowd = try machine.client("crowd", "1000")
        try crowd.wait(for: "asked {''} 1000")
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        try crowd.tell("listen")
        try crowd.wait(for: "heard 1000")
        crowd.kill()
        // Their delays went with them.
        try machine.succeed("cryptohome", "unmount", "alice")
        #expect(service.isRunning && machine.log == "", "\(machine.log)")
        service.kill()
      }
    }
  }

  @Test func serviceIsSmallAndSleeps() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        try machine.expect("(true,)", from: "CryptohomeInterface.IsMounted")
        try machine.succeed("cryptohome", "unmount", "alice")
        try machine.expect("('stopped',)", from: "SessionManagerInterface.RetrieveSessionState")
        func status(_ name: String) throws -> Int {
          let lines = try readFile("/proc/\(service.process)/status").split(separator: "\n")
          guard let line = lines.first(where: { $0.hasPrefix("\(name):") }),
            let number = Int(line.dropFirst(name.count + 1).filter(\.isNumber))
          else { throw Problem("no \(name)") }
          return number
        }
        #expect(try status("Threads") == 1)
        let memory = try status("VmRSS")
        #expect(memory < 12 * 1024, "\(memory) KiB")
        // Asleep: nothing wakes it by itself.
        let isAsleep = try eventually {
          let before = try status("voluntary_ctxt_switches")
          usleep(500_000)
          return try status("voluntary_ctxt_switches") == before
        }
        #expect(isAsleep)
        service.kill()
      }
    }
  }

  /// The files that are installed: the bus starts it for whoever calls any of its names.
  @Test(arguments: ["Manager1.List", "SessionManagerInterface.RetrieveSessionState"])
  func busStartsIt(method: String) async {
    await #expect(processExitsWith: .success) { [method] in
      inBusMachine { machine in
        let outcome = try machine.call(method)
        #expect(outcome.status == 0, "\(outcome)")
        let owner = try machine.run([
          "gdbus", "call", "--system", "--dest", "org.freedesktop.DBus", "--object-path", "/",
          "--method", "org.freedesktop.DBus.GetConnectionUnixUser", BusMachine.manager,
        ])
        #expect(owner.lines == ["(uint32 0,)"], "\(owner)")
        // Nobody else may be it.
        let other = try machine.run(
          [
            "gdbus", "call", "--system", "--dest", "org.freedesktop.DBus", "--object-path", "/",
            "--method", "org.freedesktop.DBus.RequestName", "org.chromium.SessionManager",
            "uint32 0",
          ], as: "alice")
        #expect(other.status != 0 && other.errors.contains("AccessDenied"), "\(other)")
        let second = try machine.run(["/mnt/programs/cryptohomed"])
        #expect(
          second.status == 1 && second.complaints.count == 1
            && second.complains(of: "another cryptohomed runs"), "\(second)")
      }
    }
  }

  /// Nobody is systemd here: the calls are seen on the bus, by a monitor.
  @Test func systemdIsTold() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        try makeDirectory("/run/systemd/system")
        let monitor = try Launched(
          "nsenter",
          BusMachine.words(
            machine.first,
            [
              "sh", "-c",
              "exec dbus-monitor --system destination=org.freedesktop.systemd1 >/run/monitor",
            ]))
        func hears(_ words: [String]) -> Bool {
          eventually {
            let text = (try? readFile("/run/monitor")) ?? ""
            return words.allSatisfy { text.contains($0) }
          }
        }
        #expect(hears(["NameLost"]))
        let service = try machine.startService()
        let unit = "daemon-store-user@\(Host.alice).target"
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        #expect(hears(["member=StartUnit\n   string \"\(unit)\"\n   string \"replace\""]))
        try machine.succeed("cryptohome", "unmount", "alice")
        #expect(hears(["member=StopUnit\n   string \"\(unit)\"\n   string \"replace\""]))
        service.kill()
        monitor.kill()
      }
    }
  }

  @Test func signalEndsIt() async {
    await #expect(processExitsWith: .success) {
      inBusMachine { machine in
        let service = try machine.startService()
        try machine.succeed("cryptohome", "mount", "alice", "--vault", "plain")
        let mounts = try machine.mounts(of: Host.alice)
        kill(service.process, SIGTERM)
        #expect(eventually { !service.isRunning })
        #expect(try machine.mounts(of: Host.alice) == mounts)
        #expect(machine.log == "")
        let outcome = try machine.run(["/mnt/programs/cryptohomed", "--delay", "1m"])
        #expect(outcome.status == 2 && outcome.complains(of: "20s at most"), "\(outcome)")
      }
    }
  }
}
