import TestSupport
import Testing

/// The command lines that service files have, those of init/upstart and others, with stand-ins that print what they are.
@Suite(.needsRoot) struct MinijailServiceTests {
  /// Prints ids, capabilities and what is mounted.
  private static let standIn = """
    grep -E '^(Uid|Gid|Groups|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs):' /proc/self/status
    echo "pid $$"
    echo "arguments $*"
    sed 's/^/mount /' /proc/self/mountinfo
    """

  private func lines(_ outcome: Outcome, _ prefix: String) -> [String] {
    outcome.lines.filter { $0.hasPrefix(prefix) }
  }

  /// Mount point and options, in the kernel's order.
  private func mounts(_ outcome: Outcome) -> [String] {
    lines(outcome, "mount ").map { line in
      let fields = line.split(separator: " ")
      return "\(fields[5]) \(fields[6])"
    }
  }

  /// The daemon sees nothing of a user who was there before it, nor of one who comes later.
  @Test func permissionBroker() throws {
    let outcome = try SmallRoot.run(
      """
      mkdir /etc/daemon-store/notes; daemon-store startup > /dev/null
      cryptohome mount early --vault ephemeral --owner 5:5 > /dev/null 2>&1
      until test -p /run/udev/go; do sleep 0.01; done
      (\(UpstartJob.script("permission_broker"))) & broker=$!
      read line < /run/udev/up
      cryptohome mount late --vault ephemeral --owner 5:5 > /dev/null 2>&1
      echo go > /run/udev/go
      wait $broker; echo "status $?"
      ls /home/user | sed "s/^/host /"
      """,
      files: [
        "/usr/bin/permission_broker": """
        cat /proc/$$/status; touch /etc/x 2>&- && echo writes
        echo up > /run/udev/up; read line < /run/udev/go
        sed 's/^/mount /' /proc/self/mountinfo
        ls -d /run/* /home/* | sed 's/^/sees /'
        """
      ],
      services: ["mkfifo -m 666 $R/run/udev/up $R/run/udev/go"])
    #expect(outcome.lines.contains("status 0") && !outcome.lines.contains("writes"), "\(outcome)")
    #expect(lines(outcome, "sees /run/") == ["sees /run/dbus", "sees /run/udev"], "\(outcome)")
    let hashes = lines(outcome, "host ").map { $0.dropFirst(5) }
    #expect(hashes.count == 2, "\(outcome)")
    for hash in hashes {
      #expect(lines(outcome, "mount ").filter { $0.contains(hash) }.isEmpty, "\(outcome)")
    }
    for line in [
      "Uid:\t230\t230\t230\t230", "Gid:\t0\t0\t0\t0", "CapPrm:\t0000000000000009",
      "CapEff:\t0000000000000009", "CapInh:\t0000000000000009", "CapBnd:\t0000000000000009",
      "CapAmb:\t0000000000000000", "NoNewPrivs:\t1",
    ] {
      #expect(outcome.lines.contains(line), "\(line): \(outcome)")
    }
    #expect(outcome.complaints.count == 1 && outcome.complains(of: "keeps group 0"), "\(outcome)")
  }

  @Test func mtpd() throws {
    // A stand-in makes more calls than the daemon: processes, to begin with.
    let policy =
      try readFile(projectFile("Benchmarks/policies/broad.policy"))
      .replacing("clone: arg0 & CLONE_THREAD", with: "clone: 1")
      .replacing("execve: return EPERM", with: "execve: 1")
      + "pread64: 1\ngetgid: 1\nrt_sigsuspend: 1\nsplice: 1\ngetxattr: 1\n"
    let outcome = try SmallRoot.run(
      "echo x > /run/dbus/socket; \(UpstartJob.script("mtpd")); sleep 1",
      files: [
        "/usr/sbin/mtpd": Self.standIn
          + "\nls /run /run/dbus\ntouch /run/x 2>&- && echo writes",
        "/usr/share/policy/mtpd-seccomp.policy": policy,
      ])
    #expect(outcome.status == 0 && outcome.complaints.isEmpty, "\(outcome)")
    for text in [
      "Uid:\t226\t226\t226\t226", "Gid:\t226\t226\t226\t226", "Groups:\t46 226 ",
      "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "pid 1", "arguments -minloglevel=0", "socket",
    ] {
      #expect(outcome.lines.contains(text), "\(text): \(outcome)")
    }
    #expect(
      Set(mounts(outcome)).isSuperset(of: [
        "/ ro,relatime", "/sys ro,relatime", "/dev ro,relatime",
        "/run rw,nosuid,nodev,noexec,relatime", "/run/dbus ro,relatime", "/run/udev ro,relatime",
        "/tmp rw,nosuid,nodev,noexec,relatime", "/proc ro,nosuid,nodev,noexec,relatime",
      ]), "\(outcome)")
    // The /run of the jail belongs to root, and its own /proc shows nobody else.
    #expect(!outcome.lines.contains("writes"), "\(outcome)")
  }

  @Test func storeDaemonInAProfile() throws {
    let line =
      "minijail0 -v -Kslave --profile=minimalistic-mountns "
      + "-k 'tmpfs,/run,tmpfs,MS_NOSUID|MS_NODEV|MS_NOEXEC' "
      + "-k '/run/daemon-store/biod,/run/daemon-store/biod,none,MS_BIND|MS_REC' "
      + "-u biod -g biod -- /usr/bin/biod"
    let outcome = try SmallRoot.run(
      """
      mkdir -m 0700 /etc/daemon-store/biod; chown 282:282 /etc/daemon-store/biod
      daemon-store startup
      cryptohome mount early --vault ephemeral --owner 5:5 > /dev/null 2>&1
      \(line) &
      jail=$!
      sleep 0.5
      cryptohome mount late --vault ephemeral --owner 5:5 > /dev/null 2>&1
      wait $jail
      echo "status $?"
      """,
      files: [
        "/usr/bin/biod": "ls /run/daemon-store/biod; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.2; "
          + "done; echo later; ls /run/daemon-store/biod; cd /run/daemon-store/biod; "
          + "for user in *; do touch $user/file && echo wrote; done; "
          + Self.standIn
      ])
    let hashes = outcome.lines.filter { $0.utf8.count == 40 }
    #expect(hashes.count == 3 && Set(hashes).count == 2, "\(outcome)")
    #expect(outcome.lines.filter { $0 == "wrote" }.count == 2, "\(outcome)")
    #expect(outcome.lines.contains("status 0"), "\(outcome)")
    #expect(mounts(outcome).contains("/dev rw,nosuid,noexec,relatime"), "\(outcome)")
    #expect(
      outcome.complaints == ["minijail0: warning: /dev/log is missing: the jail has no /dev/log"],
      "\(outcome)")
  }

  // MARK: Common resources

  /// Listens where journald does, and prints what comes.
  private static let journal = """
    exec python3 -c '
    import socket, os
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(os.environ["R"] + "/run/systemd/journal/dev-log")
    os.chmod(os.environ["R"] + "/run/systemd/journal/dev-log", 0o666)
    s.settimeout(20)
    print("journal:", s.recv(4096).decode(), flush=True)'
    """

  private static let bus = """
    cat > /mnt/bus.conf <<END
    <busconfig><type>system</type><listen>unix:path=$R/run/dbus/system_bus_socket</listen>
    <auth>EXTERNAL</auth><policy context="default"><allow user="*"/><allow send_destination="*"/><allow own="*"/>
    <allow receive_sender="*"/></policy></busconfig>
    END
    exec dbus-daemon --config-file=/mnt/bus.conf --nofork --nopidfile
    """

  private static let ping =
    "dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetId"

  /// The link is followed to the socket: a bind of `/dev/log` in a minimal `/dev`, of the journal's
  /// directory in a whole one. Both work in a network namespace of their own, and as another user.
  @Test(arguments: [
    "--profile=minimalistic-mountns -b /run/dbus",
    "-v -P /mnt/empty -b / -b /proc -d -b /dev/log -k tmpfs,/run,tmpfs -b /run/dbus",
    "-v -P /mnt/empty -b / -b /proc -b /dev -k tmpfs,/run,tmpfs -b /run/systemd/journal -b /run/dbus",
  ])
  func syslogAndDBus(_ options: String) throws {
    let outcome = try SmallRoot.run(
      """
      for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29; do
        test -S /run/systemd/journal/dev-log && test -S /run/dbus/system_bus_socket && break
        sleep 0.1
      done
      minijail0 -e -p -u nobody -g nogroup \(options) -- /bin/sh -c '
        logger -t jailed hello from inside
        \(Self.ping)'
      echo "status $?"; sleep 0.3
      """,
      services: [
        "ln -s /run/systemd/journal/dev-log $R/dev/log; " + Self.journal,
        Self.bus,
      ])
    #expect(outcome.lines.contains("status 0"), "\(outcome)")
    #expect(
      outcome.lines.contains { $0.hasPrefix("journal: ") && $0.hasSuffix("hello from inside") },
      "\(outcome)")
    #expect(outcome.lines.contains { $0.contains("method return") }, "\(outcome)")
  }
}
