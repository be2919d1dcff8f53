import Glibc
import TestSupport
import Testing

/// A session has the bus start cryptohomed; without a bus it goes without.
@Suite(.needsRoot) struct PamServiceTests {
  @Test func firstSessionStartsTheService() async {
    await #expect(processExitsWith: .success) {
      inPamMachine { machine in
        let name = "org.daemonstore.Manager1"
        let address = "unix:path=/run/dbus/system_bus_socket"
        try makeDirectory("/run/dbus")
        try writeFile(
          "/mnt/\(name).service", "[D-BUS Service]\nName=\(name)\nExec=/mnt/programs/cryptohomed\n")
        try writeFile(
          "/mnt/bus.conf",
          """
          <!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
           "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
          <busconfig>
            <listen>\(address)</listen>
            <servicedir>/mnt</servicedir>
            <policy context="default">
              <allow user="*"/>
              <allow own="*"/>
              <allow send_destination="*" eavesdrop="true"/>
              <allow eavesdrop="true"/>
            </policy>
          </busconfig>
          """)
        let bus = try machine.host.helpers.start(
          "nsenter",
          machine.words(["dbus-daemon", "--config-file=/mnt/bus.conf", "--nofork"])
            + ["--print-address"])
        func isRunning() throws -> Bool {
          let outcome = try machine.run(
            "dbus-send", "--bus=\(address)", "--print-reply", "--dest=org.freedesktop.DBus",
            "/org/freedesktop/DBus", "org.freedesktop.DBus.NameHasOwner", "string:\(name)")
          guard outcome.status == 0 else { throw Problem("\(outcome)") }
          return outcome.output.contains("boolean true")
        }
        let carol = try machine.login("carol")
        #expect(try !isRunning(), "for whom there is nothing to watch")
        let alice = try machine.login("alice")
        #expect(try eventually { try isRunning() })
        try alice.logout()
        try carol.logout()
        try machine.host.helpers.stop(bus)
      }
    }
  }
}
