import TestSupport
import Testing

/// What an ordinary user can do: user 1000, without any capability.
@Suite(.needsRoot) struct MinijailOrdinaryUserTests {
  @Test(arguments: [
    CommandLine("/usr/bin/id -u", 0, "1000\n"), CommandLine("-n -- /bin/true"),
    CommandLine("-p /bin/true", 1, says: "(needs CAP_SYS_ADMIN, or a user namespace: -U)"),
    CommandLine("-v /bin/true", 1, says: "-v: new mnt namespace: unshare: Operation not permitted"),
    CommandLine("-u nobody -g nogroup /bin/true", 1, says: "setgroups: Operation not permitted"),
    CommandLine("-u nobody -g nogroup -y /bin/true", 1, says: "-g nogroup: setresgid"),
    CommandLine("-c 0 /bin/true", 1, says: "PR_SET_SECUREBITS: Operation not permitted"),
    CommandLine("-C / /bin/true", 1, says: "-C /: chroot /: Operation not permitted"),
    CommandLine("-R RLIMIT_NOFILE,9,9 -- /bin/sh -c 'ulimit -n'", 0, "9\n"),
    CommandLine("-R RLIMIT_NOFILE,9,unlimited /bin/true", 1, says: "prlimit RLIMIT_NOFILE"),
    CommandLine("--fs-path-ro /mnt/src -- /bin/cat /mnt/src/file", 0, "text"),
    CommandLine("--fs-path-ro /mnt/src -- /bin/cat /etc/passwd", 1, says: "Permission denied"),
    CommandLine("-U /usr/bin/id -u", 0, "65534\n"),
    CommandLine("-m -M /usr/bin/id", 0, "uid=0(root) gid=0(root) groups=0(root)\n"),
    CommandLine("-m -M -u 5 -g 6 /usr/bin/id", 0, "uid=5(games) gid=6(disk) groups=6(disk)\n"),
    CommandLine("-m -M -u nobody /usr/bin/id", 0, "uid=65534(nobody) gid=65534(nogroup)"),
    CommandLine("-m -M -u 5 -g 6 -- /bin/grep CapEff /proc/self/status", 0, "0000000000000000\n"),
    CommandLine("-m -M -c 1 -- /bin/grep CapEff /proc/self/status", 0, "0000000000000001\n"),
    CommandLine("-m -M -u 5 -g 6 -c 1 -- /bin/cat /proc/self/status | grep CapEff", 0, "001\n"),
    CommandLine("-m -M --add-suppl-group 5 /bin/true", 1, says: "setgroups"),
    CommandLine("-m -M -lNe --uts=inside /bin/uname -n", 0, "inside\n"),
    CommandLine("-m -M -e -- /bin/grep -c : /proc/net/dev", 0, "1\n"),
    CommandLine("-m -M -t -- /bin/grep -c ' /tmp .*size=65536k' /proc/self/mountinfo", 0, "1\n"),
    CommandLine(
      "-m -M -d -- /bin/sh -c 'echo x > /dev/null && head -c2 /dev/zero | wc -c'", 0, "2\n"),
    CommandLine("-m -M -w /bin/true"),
    CommandLine("-m -M -v -b /mnt/src,/mnt/user -- /bin/cat /mnt/user/file", 0, "text"),
    CommandLine("-m -M -v -b /mnt/src,/mnt/user -- /bin/touch /mnt/user/x", 1, says: "Read-only"),
    CommandLine(
      "-m -M -P /mnt/user -b /usr -b /bin -b /lib -b /lib64 -- /bin/ls /", 0,
      "bin\nlib\nlib64\nproc\nusr\n"),
    CommandLine("-m -M -P /mnt/user -b / /bin/true", 251, says: "-k /,/,none,MS_BIND|MS_REC"),
    CommandLine(
      "-m -M -P /mnt/user -k '/,/,none,MS_BIND|MS_REC' -- /bin/cat /mnt/src/file", 0, "text",
      says: "the jail gets the host's whole /run"),
    CommandLine("-m -M -f /mnt/user/pid -- /bin/sh -c 'test -s /mnt/user/pid'"),
    CommandLine("-m -M -R RLIMIT_NOFILE,9,9 -- /bin/sh -c 'ulimit -n'", 0, "9\n"),
    CommandLine("-m -M --fs-path-ro /mnt/src -- /bin/cat /mnt/src/file", 0, "text"),
    CommandLine("'-m0 1000 1,1 100000 65536' /bin/true", 1, says: "it refused the map"),
  ])
  func alone(_ line: CommandLine) throws {
    if line.complaint == "it refused the map" {
      // The helper says why on a line of its own.
      let outcome = try CommandLine.run("minijail0 " + line.text, as: 1000)
      #expect(outcome.status == 1 && outcome.errors.contains(line.complaint), "\(outcome)")
    } else {
      try line.expect(as: 1000)
    }
  }

  /// With ids that were lent to the user, through newuidmap and newgidmap.
  @Test func idsThatWereLent() throws {
    let lend =
      "echo 1000:100000:65536 > /mnt/lent; mount --bind /mnt/lent /etc/subuid; "
      + "mount --bind /mnt/lent /etc/subgid; echo jailed:x:1000:1000::/:/bin/sh >> /mnt/passwd; "
      + "cat /etc/passwd >> /mnt/passwd; mount --bind /mnt/passwd /etc/passwd; "
    let outcome = try CommandLine.run(
      lend + "setpriv --reuid 1000 --regid 1000 --clear-groups minijail0 "
        + "'-m0 1000 1,1 100000 65536' '-M0 1000 1,1 100000 65536' -u 7 -g 8 -- "
        + "/bin/sh -c 'id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map | tr -s \" \"'")
    #expect(
      outcome.output
        == "7\n8\n 0 1000 1\n 1 100000 65536\n 0 1000 1\n 1 100000 65536\n", "\(outcome)")
    #expect(outcome.status == 0 && outcome.errors.isEmpty, "\(outcome)")
  }
}
