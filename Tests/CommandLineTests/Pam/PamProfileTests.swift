import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// What Debian's pam-auth-update makes of the profile.
@Suite(.needsRoot) struct PamProfileTests {
  @Test func profileIsForLoginsOnly() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let profile = projectFile("init/pam/daemonstore")
        let outcome = try run(
          "sh",
          [
            "-euc",
            """
            mkdir /mnt/pam.d /mnt/configs /mnt/state
            cp -a /var/cache/debconf /mnt/debconf
            cp /usr/share/pam-configs/unix "$1" /mnt/configs/
            cat >/mnt/configs/systemd <<end
            Name: as libpam-systemd has it
            Default: yes
            Priority: 0
            Session-Interactive-Only: yes
            Session-Type: Additional
            Session:
            	optional	pam_systemd.so
            end
            mount --bind /mnt/configs /usr/share/pam-configs
            mount --bind /mnt/pam.d /etc/pam.d
            mount --bind /mnt/state /var/lib/pam
            mount --bind /mnt/debconf /var/cache/debconf
            pam-auth-update --force --package
            """, "sh", profile,
          ], environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"])
        #expect(outcome.status == 0, "\(outcome)")
        let line = "optional\tpam_daemonstore.so"
        for (file, before, isServed) in [
          ("common-auth", "pam_unix.so", true), ("common-session", "pam_unix.so", true),
          ("common-password", "pam_unix.so", true), ("common-session-noninteractive", "", false),
        ] {
          let lines = try readFile("/etc/pam.d/\(file)").split(separator: "\n")
          let place = lines.firstIndex { $0.contains(line) }
          #expect((place != nil) == isServed, "\(file): \(lines)")
          guard let place else { continue }
          let unix = try #require(lines.firstIndex { $0.contains(before) })
          let systemd = lines.firstIndex { $0.contains("pam_systemd.so") } ?? lines.endIndex
          #expect(unix < place && place < systemd, "\(file): \(lines)")
        }
      }
    }
  }
}
