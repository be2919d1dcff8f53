import TestSupport
import Testing

/// The mounts of a jail, as the program sees them.
@Suite(.needsRoot) struct MinijailMountTests {
  @Test(arguments: [
    CommandLine("-v -b '' /bin/true", 1, says: "Bad binding: ''"),
    CommandLine("-v -b a,b,c,d /bin/true", 1, says: "Bad binding: 'a,b,c,d'"),
    CommandLine("-v -b /etc,mnt /bin/true", 1, says: "the destination must be an absolute path"),
    CommandLine("-v -b etc /bin/true", 1, says: "the destination must be an absolute path"),
    CommandLine("-v -b /etc,/mnt/s,2 /bin/true", 1, says: "writable is 0 or 1"),
    CommandLine("-k a,/b /bin/true", 1, says: "-k takes src,dest,type"),
    CommandLine("-k ,/b,tmpfs /bin/true", 1, says: "-k takes src,dest,type"),
    CommandLine("-k a,b,tmpfs /bin/true", 1, says: "the destination must be an absolute path"),
    CommandLine("-k a,/b,c,MS_NOTHING /bin/true", 1, says: "Bad mount flags: MS_NOTHING"),
    CommandLine("-k 'a,/b,c,MS_NODEV | MS_NOEXEC' /bin/true", 1, says: "Bad mount flags: MS_NODEV"),
    CommandLine("-k /etc,/mnt/s,none,MS_BIND, /bin/true", 1, says: "nothing may follow the flags"),
    CommandLine("-t0 /bin/true", 1, says: "Invalid /tmp tmpfs size: '0' is nothing"),
    CommandLine("-t10k /bin/true", 1, says: "Invalid /tmp tmpfs size: '10k'"),
    CommandLine("-t-1 /bin/true", 1, says: "Invalid /tmp tmpfs size"),
    CommandLine("-t17179869184G /bin/true", 1, says: "Invalid /tmp tmpfs size"),
    CommandLine("-C '' /bin/true", 1, says: "-C needs a directory"),
    CommandLine("-P '' /bin/true", 1, says: "-P needs a directory"),
    CommandLine("--daemon-store ../x /bin/true", 1, says: "Bad daemon store '../x'"),
    CommandLine("--daemon-store absent /bin/true", 1, says: "run `daemon-store startup`"),
  ])
  func badValues(_ line: CommandLine) throws { try line.expect() }

  @Test(arguments: [
    CommandLine("-v -b /none,/mnt/s /bin/true", 251, says: "mount /none on /mnt/s: open /none"),
    // Nothing after a mount that failed is done, and nothing runs.
    CommandLine("-v -b /none,/mnt/a -b /etc,/mnt/s /bin/echo ran", 251, says: "/none"),
    CommandLine("-p -v -b /none,/mnt/a /bin/true", 251, says: "/none"),
    CommandLine("-I -v -b /none,/mnt/a /bin/true", 251, says: "/none"),
    CommandLine("-v -b none,/mnt/s /bin/true", 251, says: "open none: No such file"),
    CommandLine("-v -k none,/mnt/s,tmpfs -b /mnt/s/a,/mnt/a /bin/true", 251, says: "open /mnt/s/a"),
    CommandLine("-k x,/mnt/s,no-such-type /bin/true", 251, says: "mount /mnt/s: No such device"),
    CommandLine("-k /none,/mnt/s,tmpfs /bin/true", 251, says: "open /none"),
    CommandLine("-k none,/mnt/s,tmpfs,,junk=1 /bin/true", 251, says: "Invalid argument"),
    CommandLine("-k none,/none,none,MS_REMOUNT /bin/true", 251, says: "/none"),
    CommandLine("-k none,/mnt/s,none,MS_BIND /bin/true", 251, says: "open none"),
    CommandLine("-v -Kunbindable -b /etc,/mnt/s /bin/true", 251, says: "open_tree"),
    CommandLine("-P /mnt/root -b /etc,/loop/x -T static /x", 251, says: "ELOOP"),
    CommandLine("-p -P /none/deep -T static /x", 1, says: "-P /none/deep: open /none/deep"),
    CommandLine("-I -C /none -T static /x", 1, says: "-C /none: chroot /none: No such file"),
    CommandLine("-P /none/deep -T static /x", 1, says: "-P /none/deep: open /none/deep"),
    CommandLine("-C /none -T static /x", 1, says: "-C /none: chroot /none: No such file"),
  ])
  func failures(_ line: CommandLine) throws { try line.expect() }

  @Test(arguments: [
    CommandLine("-v -b /mnt/src,/mnt/s /bin/cat /mnt/s/file", 0, "text"),
    CommandLine("-v -b src,/mnt/s /bin/cat /mnt/s/file", 0, "text"),
    CommandLine("-v -b /mnt/src,/mnt/s,0 /bin/cat /mnt/s/file", 0, "text"),
    CommandLine("-v -b /mnt/src,,1 -- /bin/touch /mnt/src/new"),
    CommandLine("-v -b /mnt/src,/mnt/s,1 -- /bin/touch /mnt/s/new"),
    CommandLine("-v -b /mnt/src,/mnt/new/deep -- /bin/cat /mnt/new/deep/file", 0, "text"),
    CommandLine("-v -b /mnt/src/file,/mnt/new -- /bin/cat /mnt/new", 0, "text"),
    CommandLine("-v -b /mnt/src,/mnt/s -- /bin/touch /mnt/s/x", 1, says: "Read-only file system"),
    CommandLine("-v -b /mnt/src -- /bin/touch /mnt/src/x", 1, says: "Read-only file system"),
    // Not recursive: what is mounted below the source does not come along.
    CommandLine("-v -b /mnt,/var -- /bin/ls /var/bin", 0, ""),
    CommandLine(
      "-k '/mnt/src,/mnt/a,none,MS_BIND|MS_RDONLY' -- /bin/touch /mnt/a/x", 1, says: "Read-only"),
    CommandLine("-k '/mnt/src,/mnt/a,none,MS_BIND' -- /bin/touch /mnt/a/x"),
    CommandLine("-k '/mnt,/var,none,MS_BIND|MS_REC' -- /bin/ls /var/bin", 0, "static"),
    CommandLine(
      "-k '/mnt,/var,none,MS_BIND|MS_REC|MS_RDONLY' -- /bin/touch /var/bin/x", 1, says: "Read-only"),
    CommandLine(
      "-k '/mnt/src,/mnt/a,none,MS_BIND' -k 'none,/mnt/a,none,MS_BIND|MS_REMOUNT|MS_RDONLY' -- "
        + "/bin/touch /mnt/a/x", 1, says: "Read-only"),
    CommandLine(
      "-k x,/mnt/s,tmpfs -- /bin/grep ' /mnt/s ' /proc/self/mountinfo", 0, "rw,nosuid,nodev,noexec"),
    CommandLine(
      "-k x,/mnt/s,tmpfs,0 -- /bin/grep ' /mnt/s ' /proc/self/mountinfo", 0, "size=10240k,mode=755"),
    CommandLine(
      "-k x,/mnt/s,tmpfs,MS_SILENT -- /bin/grep ' /mnt/s ' /proc/self/mountinfo", 0,
      "rw,relatime - tmpfs"),
    CommandLine(
      "-k x,/mnt/s,tmpfs,,size=1M,mode=700 -- /bin/grep ' /mnt/s ' /proc/self/mountinfo", 0,
      "size=1024k,mode=700"),
    CommandLine(
      "-k x,/mnt/s,tmpfs,0xe -- /bin/grep ' /mnt/s ' /proc/self/mountinfo", 0, "nosuid,nodev,noexec"
    ),
    CommandLine(
      "-k x,/mnt/s,tmpfs,016 -- /bin/grep ' /mnt/s ' /proc/self/mountinfo", 0, "nosuid,nodev,noexec"
    ),
    CommandLine(
      "-k 'x,/mnt/s,tmpfs,MS_NODEV|MS_STRICTATIME' -- /bin/grep ' /mnt/s ' /proc/self/mountinfo", 0,
      "rw,nodev -"),
    CommandLine(
      "-k '/mnt/src,/mnt/a,none,MS_BIND|MS_NOSUID|MS_NOATIME|MS_NOSYMFOLLOW' -- /bin/grep ' /mnt/a ' /proc/self/mountinfo",
      0, "rw,nosuid,noatime,nosymfollow"),
    CommandLine(
      "-vKshared -k 'none,/mnt/bin,none,MS_PRIVATE' -- /bin/grep -c 'mnt/bin .*shared' /proc/self/mountinfo",
      1, "0\n"),
    CommandLine(
      "-v -k 'none,/mnt,none,MS_SHARED|MS_REC' -- /bin/grep -c 'mnt/bin .*shared' /proc/self/mountinfo",
      0, "1\n"),
    CommandLine("-k /mnt/bin,/mnt/s,none,MS_MOVE -- /bin/ls /mnt/s /mnt/bin", 0, "static"),
    // A link on the way stays inside the new root, whatever it says.
    CommandLine(
      "-P /mnt/root -b /usr -b /lib -b /lib64 -b /bin -b /mnt/src,/out/in -- /bin/cat /nowhere-outside/in/file",
      0, "text"),
    CommandLine(
      "-C /mnt/root -v -b /usr -b /lib -b /lib64 -b /bin -b /mnt/src,/out/in -- /bin/cat /nowhere-outside/in/file",
      0, "text"),
    CommandLine("-P /mnt/empty -b / -b /proc -- /bin/cat /mnt/empty/x", 1, says: "No such file"),
    CommandLine("-P /mnt/empty -b / -b /mnt/src,/mnt -- /bin/pwd", 0, "/\n"),
    CommandLine(
      "-P /mnt/a -b / -- /bin/sh -c 'cd ..; pwd; ls /mnt/src'", 2, "/\n", says: "/mnt/src"),
  ])
  func binds(_ line: CommandLine) throws { try line.expect() }

  @Test(arguments: [
    CommandLine(
      "-t -- /bin/grep ' /tmp ' /proc/self/mountinfo", 0,
      "rw,nosuid,nodev,noexec,relatime - tmpfs none rw,size=65536k"),
    CommandLine("-t10M -- /bin/grep ' /tmp ' /proc/self/mountinfo", 0, "size=10240k"),
    CommandLine("-t10M -t -- /bin/grep ' /tmp ' /proc/self/mountinfo", 0, "size=10240k"),
    CommandLine("-t10M -t1M -- /bin/grep ' /tmp ' /proc/self/mountinfo", 0, "size=1024k"),
    CommandLine("-t 10M", 1, says: "Target program '10M' is not accessible"),
    CommandLine("-t -- /usr/bin/stat -c %a /tmp", 0, "1777\n"),
    CommandLine(
      "-r -- /bin/grep -c ' /proc ro,nosuid,nodev,noexec' /proc/self/mountinfo", 0, "1\n"),
    CommandLine(
      "-p -- /bin/grep -c ' /proc ro,nosuid,nodev,noexec' /proc/self/mountinfo", 0, "1\n"),
    CommandLine("-I -- /bin/grep -c ' /proc ro' /proc/self/mountinfo", 1, "0\n"),
    CommandLine("-I -r -- /bin/grep -c ' /proc ro' /proc/self/mountinfo", 0, "1\n"),
    CommandLine("-v -Kshared -p /bin/true", 1, says: "-Kshared with -r, -p or -d"),
    CommandLine("-v -Kshared -d /bin/true", 1, says: "would replace the host's"),
    // A new root without /proc gets one.
    CommandLine(
      "-P /mnt/root -b /usr -b /lib -b /lib64 -b /bin -r -- /bin/ls /proc/self/exe", 0, "exe"),
    CommandLine(
      "-P /mnt/root -p -b /usr -b /lib -b /lib64 -b /bin -- /bin/cat /proc/1/comm", 0,
      "minijail-init"),
    CommandLine(
      "-d -- /bin/ls /dev", 0,
      "fd\nfull\nnull\nptmx\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n"),
    CommandLine(
      "-d -- /usr/bin/stat -c '%a %t:%T' /dev/null /dev/urandom", 0, "666 1:3\n444 1:9\n"),
    CommandLine("-d -- /usr/bin/stat -c '%a' /dev/shm /dev", 0, "1777\n755\n"),
    CommandLine(
      "-d -- /bin/grep ' /dev ' /proc/self/mountinfo", 0,
      "rw,nosuid,noexec,relatime - tmpfs minijail-devfs rw,size=5120k,mode=755"),
    CommandLine("-d -v -b /mnt/src,/dev/x -- /bin/cat /dev/x/file", 0, "text"),
    CommandLine("-d -b /dev/null /bin/true", 1, says: "Bind mounts require"),
    CommandLine(
      "-d -P /mnt/root -b /usr -b /lib -b /lib64 -b /bin -- /bin/ls /dev/null", 0, "/dev/null"),
    CommandLine("-v -- /bin/grep -c shared: /proc/self/mountinfo", 1, "0\n"),
    CommandLine("-vKprivate -- /bin/grep -cE 'shared:|master:' /proc/self/mountinfo", 1, "0\n"),
    CommandLine("-vKunbindable -- /bin/grep -vc ' unbindable' /proc/self/mountinfo", 1, "0\n"),
    CommandLine("-vKshared -- /bin/grep -vc ' shared:' /proc/self/mountinfo", 1, "0\n"),
  ])
  func newFileSystems(_ line: CommandLine) throws { try line.expect() }

  @Test(arguments: [
    CommandLine("--profile=x /bin/true", 1, says: "Unrecognized profile name 'x'"),
    CommandLine(
      "--profile=minimalistic-mountns-nodev -- /bin/sh -c 'cat /proc/self/mountinfo' | cut -d' ' -f5,6 | sort | tr '\\n' ' '",
      0, "/ ro,relatime /proc ro,nosuid,nodev,noexec,relatime /tmp rw,nosuid,nodev,noexec,relatime"),
    CommandLine(
      "--profile=minimalistic-mountns-nodev -t5M -- /bin/grep ' /tmp ' /proc/self/mountinfo", 0,
      "size=5120k"),
    CommandLine(
      "-t5M --profile=minimalistic-mountns-nodev -- /bin/grep ' /tmp ' /proc/self/mountinfo", 0,
      "size=5120k"),
    CommandLine(
      "--profile=minimalistic-mountns-nodev -- /bin/ls -A /run /sys /dev/pts | grep -v ^/ | tr -d '\\n'",
      0, ""),
    CommandLine(
      "--profile=minimalistic-mountns -- /bin/ls /dev", 0, "urandom",
      says: "/dev/log is missing: the jail has no /dev/log"),
    CommandLine("--profile=minimalistic-mountns-nodev -- /usr/bin/id -u", 0, "0\n"),
    CommandLine(
      "--profile=minimalistic-mountns-nodev -b /mnt/src,/mnt -- /bin/cat /mnt/file", 0, "text"),
    CommandLine("-v --profile=minimalistic-mountns-nodev -Kslave /bin/true"),
    CommandLine("--profile=minimalistic-mountns-nodev -Kslave /bin/true", 1, says: "(-v)"),
    // Landlock: in /tmp files, and nothing else.
    CommandLine(
      "--profile=minimalistic-mountns-nodev -- /bin/sh -c 'echo x > /tmp/f && cat /tmp/f'", 0, "x\n"
    ),
    CommandLine(
      "--profile=minimalistic-mountns-nodev -- /bin/ln -s x /tmp/l", 1, says: "Permission denied"),
    CommandLine(
      "--profile=minimalistic-mountns-nodev -- /usr/bin/mkfifo /tmp/p", 1, says: "Permission denied"
    ),
    CommandLine("--profile=minimalistic-mountns-nodev --no-fs-restrictions -- /bin/ln -s x /tmp/l"),
    CommandLine(
      "--profile=minimalistic-mountns-nodev --enable-profile-fs-restrictions -- /bin/ln -s x /tmp/l",
      1, says: "Permission"),
    CommandLine("--profile=minimalistic-mountns-nodev -k x,/run,tmpfs -- /bin/ln -s x /run/l"),
  ])
  func profiles(_ line: CommandLine) throws { try line.expect() }

  @Test(arguments: [
    CommandLine(
      "-v -b /run /bin/true", 0,
      says: "warning: bind /run on /run, read-only: the jail gets the host's whole /run"),
    CommandLine("--strict -v -b /run /bin/echo ran", 1, says: "--strict: bind /run on /run"),
    CommandLine("--strict -v -b /etc,/mnt/s /bin/true"),
    CommandLine("--strict --explain -v -b /run /bin/true", 1, says: "--strict: "),
  ])
  func strict(_ line: CommandLine) throws { try line.expect() }

  /// `-V` and what comes after it: in the namespace itself, or in a copy of it.
  @Test func entersAMountNamespace() throws {
    let script = { (options: String) in
      "unshare --mount --propagation private sh -c 'mount -t tmpfs inner /mnt/s; exec sleep 60' & "
        + "pid=$!; until grep -q inner /proc/$pid/mountinfo; do sleep 0.01; done; "
        + "minijail0 -V /proc/$pid/ns/mnt \(options) -- /bin/grep -c inner /proc/self/mountinfo; "
        + "status=$?; grep -c extra /proc/$pid/mountinfo; kill $pid; exit $status"
    }
    #expect(try CommandLine.run(script("")).output == "1\n0\n")
    #expect(try CommandLine.run(script("-k extra,/mnt/a,tmpfs")).output == "1\n1\n")
    #expect(try CommandLine.run(script("-v -k extra,/mnt/a,tmpfs")).output == "1\n0\n")
    #expect(try CommandLine.run(script("-c 1 -u 5 -g 5")).output == "1\n0\n")
    #expect(try CommandLine.run("minijail0 -V /etc/passwd /bin/true").status == 1)
  }

  /// What `--explain` predicts is what the program sees.
  @Test(arguments: [
    "-v", "-p -d -t", "-P /mnt/empty -b / -b /proc -b /usr -r", "-m -M -d -t",
    "--profile=minimalistic-mountns", "-k '/,/mnt/a,none,MS_BIND|MS_REC|MS_NOSUID'",
    "-vKshared -b /etc,/mnt/s", "-k x,/mnt/s,tmpfs -k none,/mnt/s,none,MS_REMOUNT\\|MS_BIND",
  ])
  func theExplainedMountsAreThere(_ options: String) throws {
    let explained = try CommandLine.run(
      "minijail0 --explain \(options) -- /bin/cat /proc/self/mountinfo")
    let ran = try CommandLine.run("minijail0 \(options) -- /bin/cat /proc/self/mountinfo")
    #expect(explained.status == 0 && ran.status == 0, "\(explained)\(ran)")
    let predicted = explained.lines.drop { $0 != "mounts:" }.dropFirst()
      .map { line in line.split(separator: " ").prefix(3).joined(separator: " ") }
    let seen = ran.lines.map { line in
      let fields = line.split(separator: " ")
      let type = fields.drop { $0 != "-" }.dropFirst().first ?? ""
      return "\(fields[4]) \(type) \(fields[5])"
    }
    #expect(predicted.sorted() == seen.sorted())
    #expect(!seen.isEmpty)
  }
}
