import Glibc
import TestSupport
import Testing

/// A name where the salt cannot be read, and a service that can.
@Suite(.needsRoot) struct WaitBusTests {
  private static let bus = """
    <busconfig>
      <type>system</type><listen>unix:path=/run/bus</listen><auth>EXTERNAL</auth>
      <policy context="default">
        <allow user="*"/><allow own="*"/><allow send_type="method_call"/>
        <allow send_requested_reply="true"/><allow receive_requested_reply="true"/>
        <allow send_type="signal"/><allow receive_type="signal"/>
      </policy>
    </busconfig>
    """

  @Test func aNameIsAskedOfTheBus() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("alpha")
        try host.login("alice")
        try setMode("/var/lib/system_salt", 0o600)
        try writeFile("/etc/bus.conf", Self.bus)
        // With a process 1 of their own, whose namespace the service can enter.
        let outcome = try host.script(
          "exec unshare --pid --fork --kill-child sh -c 'mount -t proc proc /proc; "
            + "export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bus; "
            + "dbus-daemon --config-file=/etc/bus.conf --nofork & bus=$!; "
            + "until test -S /run/bus; do sleep 0.01; done; "
            + "cryptohomed & service=$!; "
            + "until dbus-send --system --print-reply --dest=org.freedesktop.DBus / "
            + "org.freedesktop.DBus.GetNameOwner string:org.daemonstore.Manager1 >/dev/null 2>&1; "
            + "do sleep 0.01; done; "
            + "setpriv --reuid 65534 --regid 65534 --clear-groups /mnt/programs/daemon-store "
            + "wait alpha alice; status=$?; kill $service $bus; umount -l /proc; exit $status'")
        #expect(
          outcome.status == 0 && outcome.lines == ["/run/daemon-store/alpha/\(Host.alice)"],
          "\(outcome)")
      }
    }
  }
}
