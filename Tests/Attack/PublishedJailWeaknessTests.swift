import TestSupport
import Testing

/// Published weaknesses of runc, bubblewrap, firejail, snap-confine and others, tried on minijail0.
/// The scripts run on a machine of their own, with the programs in their path and a tmpfs on /mnt.
@Suite(.needsRoot, .tags(.attack)) struct PublishedJailWeaknessTests {
  /// Exchanges two names in a directory until it is killed: renameat2(2) with RENAME_EXCHANGE.
  private static let exchange = """
    cat > /mnt/exchange <<'END'
    import ctypes, sys
    libc = ctypes.CDLL(None)
    one, other = (word.encode() for word in sys.argv[1:3])
    print("ready", flush=True)
    while True:
        libc.renameat2(-100, one, -100, other, 2)
    END

    """

  private static let sleeper = """
    echo 'int pause(void); int main(void) { return pause(); }' > /mnt/pause.c
    cc -static -o /mnt/root/pause /mnt/pause.c

    """

  private func run(_ script: String) throws -> Outcome {
    try CommandLine.run(script).named("script")
  }

  /// CVE-2021-30465 (runc), CVE-2017-1002101 (Kubernetes), CVE-2021-44731 (snap-confine): the owner
  /// of a directory of the new root exchanges the directory above a mount point for a link.
  @Test func exchangedParentOfMountPointLeadsNowhere() throws {
    let outcome = try run(
      Self.exchange + """
        mkdir -p /mnt/root/app/data /mnt/outside /mnt/root/bin
        ln -s /mnt/outside /mnt/root/app/link
        chown -R nobody /mnt/root/app
        mkfifo /mnt/started
        setpriv --reuid 65534 --clear-groups python3 /mnt/exchange /mnt/root/app/data \
          /mnt/root/app/link > /mnt/started &
        attacker=$!
        read line < /mnt/started
        for start in $(seq 120); do
          minijail0 -P /mnt/root -b /mnt/bin,/bin -b /mnt/src/file,/app/data/mounted -T static \
            -- /bin/static > /mnt/said 2>&1
          grep -q '^static$' /mnt/said && ran=yes
          test -e /mnt/outside/mounted && echo "ours: escaped"
        done
        echo "ours: ran=$ran"
        for start in $(seq 3000); do
          (: > /mnt/root/app/data/mounted) 2>/dev/null
          test -e /mnt/outside/mounted && echo "control: escaped" && break
        done
        kill $attacker
        """)
    #expect(outcome.lines == ["ours: ran=yes", "control: escaped"], "\(outcome)")
  }

  /// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642 (runc): /proc of the new root is a link.
  /// CVE-2025-31133, CVE-2025-52565 (runc): so is its /dev.
  @Test(arguments: [("/proc", "-r"), ("/dev", "-d")], ["/mnt/outside", "../../mnt/outside"])
  func linkInPlaceOfKernelDirectoryStaysInside(
    mount: (place: String, option: String), target: String
  ) throws {
    let outcome = try run(
      Self.sleeper + """
        mkdir -p /mnt/outside /mnt/root/mnt/outside
        chown nobody /mnt/root
        setpriv --reuid 65534 --clear-groups ln -s \(target) /mnt/root\(mount.place)
        minijail0 -v -C /mnt/root \(mount.option) -T static -f /mnt/pid -- /pause &
        launcher=$!
        for try in $(seq 500); do
          test "$(readlink /proc/$(cat /mnt/pid 2>/dev/null)/exe)" = /mnt/root/pause && break
          kill -0 $launcher 2>/dev/null || break
          sleep 0.01
        done
        if test -s /mnt/pid && test -e /proc/$(cat /mnt/pid)/mountinfo; then
          # In the root of the namespace, which the program has left.
          nsenter -t $(cat /mnt/pid) -m awk '$5 == "/mnt/outside"' /proc/self/mountinfo
          echo "ours: looked"
        else
          echo "ours: refused"
        fi
        kill $launcher $(cat /mnt/pid) 2>/dev/null
        wait $launcher
        # The naive way, which follows the link to the host's directory.
        mount -t tmpfs none /mnt/root\(mount.place)
        grep -q ' /mnt/outside ' /proc/self/mountinfo && echo "control: outside"
        """)
    let expected =
      target.utf8.first == UInt8(ascii: "/")
      ? ["ours: looked", "control: outside"] : ["ours: looked"]
    #expect(
      outcome.lines.starts(with: expected) && outcome.lines.allSatisfy { !$0.isEmpty },
      "\(outcome)")
  }

  /// CVE-2022-29162 (runc), CVE-2022-24769 (containerd): inheritable capabilities.
  @Test(arguments: [("-c 0", "0000000000000000"), ("-c 0x400 --ambient", "0000000000000400")])
  func inheritableCapabilitiesAreThoseAskedFor(options: String, expected: String) throws {
    // From a caller that has some, as containers of that time did. The control: setpriv(1) leaves them.
    let outcome = try run(
      """
      minijail0 -u nobody -g nogroup -- /bin/grep CapInh /proc/self/status
      caller="setpriv --inh-caps=+chown,+net_raw"
      $caller minijail0 -u nobody -g nogroup \(options) -- /bin/grep CapInh /proc/self/status
      $caller setpriv --reuid 65534 --clear-groups grep CapInh /proc/self/status
      """)
    #expect(
      outcome.lines == [
        "CapInh:\t0000000000000000", "CapInh:\t\(expected)", "CapInh:\t0000000000002001",
      ], "\(outcome)")
  }

  /// CVE-2022-31214 (firejail): joining what belongs to another.
  @Test func userCannotEnterNamespaceOfAnother() throws {
    let outcome = try run(
      """
      unshare --mount sleep 60 &
      other=$!
      until test "$(readlink /proc/$other/ns/mnt)" != "$(readlink /proc/self/ns/mnt)"; do
        sleep 0.01
      done
      for options in "" "-U"; do
        setpriv --reuid 1000 --regid 1000 --clear-groups \
          minijail0 $options -V /proc/$other/ns/mnt -- /bin/echo entered 2>/dev/null
        echo "user: $?"
      done
      # The control: a set-uid program that enters for its caller, as firejail is one.
      cp $(command -v nsenter) /mnt/naive; chmod 4755 /mnt/naive
      setpriv --reuid 1000 --regid 1000 --clear-groups \
        /mnt/naive --mount=/proc/$other/ns/mnt /bin/echo "control: entered"
      kill $other
      """)
    #expect(!outcome.lines.contains("entered"), "\(outcome)")
    #expect(
      outcome.lines.filter { $0.utf8.elementsEqual("user: 0".utf8) }.isEmpty
        && outcome.lines.last == "control: entered", "\(outcome)")
  }

  /// CVE-2019-12439 (bubblewrap), CVE-2026-3888 (snap-confine), CVE-2011-1835 (eCryptfs),
  /// CVE-2008-5138 (pam_mount): names in /tmp that another user can take first.
  @Test func nothingIsMadeInTemporaryDirectories() throws {
    let outcome = try run(
      """
      for place in /tmp /var/tmp /dev/shm; do
        test -d $place || continue
        mount -t tmpfs -o ro none $place
      done
      export TMPDIR=/tmp/chosen-by-another
      minijail0 -v -p -d -t -n -c 0 --ambient -- /bin/true; echo "$?"
      minijail0 --profile minimalistic-mountns -p -- /bin/true 2>/dev/null; echo "$?"
      echo 'exit_group: 1' > /mnt/policy
      seccomp-policy check /mnt/policy > /dev/null 2>&1; echo "$?"
      (: > /tmp/x) 2>/dev/null || echo "control: /tmp is not writable"
      """)
    #expect(
      outcome.lines.count == 4 && outcome.lines.dropLast().allSatisfy { $0 == "0" }
        && outcome.lines.last == "control: /tmp is not writable", "\(outcome)")
  }

  /// CVE-2020-5291 (bubblewrap), CVE-2021-44730 (snap-confine), CVE-2017-5180 (firejail): a
  /// program that is set-id, or has capabilities of its file, started by its attacker.
  @Test func noProgramIsPrivilegedByItsFile() throws {
    let outcome = try run(
      """
      find /mnt/programs/ -maxdepth 1 -type f -perm /6000
      getcap /mnt/programs/* 2>/dev/null
      cp /bin/true /mnt/a/privileged; chmod u+s /mnt/a/privileged
      find /mnt/a -type f -perm /6000
      """)
    #expect(outcome.lines == ["/mnt/a/privileged"], "\(outcome)")
  }

  /// CVE-2021-44730 (snap-confine): a link to the launcher beside files of the attacker's.
  @Test func libraryBesideLinkedLauncherIsNotTrusted() throws {
    let outcome = try run(
      """
      as="setpriv --reuid 1000 --regid 1000 --clear-groups"
      $as mkdir -p -m 755 /mnt/user/bin /mnt/user/lib/daemon-store
      cat > /mnt/evil.c <<'END'
      #include <unistd.h>
      __attribute__((constructor)) static void run(void) { write(1, "evil __MINIJAIL_FD\\n", 19); }
      END
      $as cc -shared -fPIC -o /mnt/user/lib/daemon-store/libminijailpreload.so /mnt/evil.c
      $as ln -s /mnt/programs/minijail0 /mnt/user/bin/minijail0
      echo 'write: 1' > /mnt/policy
      /mnt/user/bin/minijail0 -u nobody -g nogroup -n -L -S /mnt/policy -- /bin/true
      LD_PRELOAD=/mnt/user/lib/daemon-store/libminijailpreload.so /bin/true
      """)
    #expect(outcome.lines == ["evil __MINIJAIL_FD"], "\(outcome)")
  }
}
