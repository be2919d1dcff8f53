import DaemonStoreKernel
import TestSupport

/// A machine with a root of its own, on a tmpfs: real files in `/`, the users of the documentation,
/// `/run` as systemd has it, everything shared. For command lines that bind `/`, which takes no
/// mount along, so that nothing of it may be one.
enum SmallRoot {
  /// What the programs of these tests run.
  private static let programs =
    "sh cat grep ls sleep readlink tr id touch mkdir logger dbus-send env stat mount umount sed chown"

  /// Runs `script` in it, with `minijail0`, `daemon-store` and `cryptohome` in its path.
  ///
  /// - Parameters:
  ///   - files: what is in it besides: executable scripts, by their paths.
  ///   - services: shell commands that run outside and see the root at `$R`; they end with the script.
  static func run(
    _ script: String, files: [String: String] = [:], services: [String] = []
  ) throws -> Outcome {
    var text = """
      set -e
      R=/mnt/small; export R
      mount -t tmpfs -o mode=755 none /mnt
      mkdir $R
      mount -t tmpfs -o mode=755 small $R
      cd $R
      mkdir -p bin sbin usr/bin usr/sbin usr/lib lib64 dev proc sys run/dbus run/udev tmp var/empty \\
        var/lib mnt/empty home etc/daemon-store run/systemd/journal old
      chmod 1777 tmp
      for program in \(programs); do
        cp /bin/$program bin/
        ldd /bin/$program | grep -o '/[^ ]*' >> needed
      done
      for program in minijail0 daemon-store cryptohome; do
        cp "$BUILD/$program" usr/bin/
        ldd "$BUILD/$program" | grep -o '/[^ ]*' >> needed
      done
      mkdir usr/lib/daemon-store
      cp "$BUILD/libminijailpreload.so" usr/lib/daemon-store/
      sort -u needed | xargs cp -L --parents -t .
      rm needed
      printf '%s\\n' root:x:0:0::/:/bin/sh nobody:x:65534:65534::/:/bin/sh \\
        devbroker:x:230:230::/:/bin/sh mtp:x:226:226::/:/bin/sh biod:x:282:282::/:/bin/sh > etc/passwd
      printf '%s\\n' root:x:0: nogroup:x:65534: devbroker:x:230: mtp:x:226: plugdev:x:46:mtp \\
        biod:x:282: > etc/group
      printf '%s\\n' 'passwd: files' 'group: files' > etc/nsswitch.conf
      echo 0123456789abcdef > var/lib/system_salt
      mknod -m 666 dev/null c 1 3
      mount -t proc proc proc
      mount -t sysfs sys sys
      mount -t tmpfs -o mode=755 run run
      mkdir -p run/dbus run/udev run/systemd/journal

      """
    for (path, content) in files.sorted(by: { $0.key < $1.key }) {
      text += "mkdir -p .\(path)\nrmdir .\(path)\n"
      text += "cat > .\(path) <<'END'\n#!/bin/sh\n\(content)\nEND\nchmod 755 .\(path)\n"
    }
    // In namespaces of their own, which the change of root does not reach.
    for (number, service) in services.enumerated() {
      text +=
        "unshare --mount --propagation private sh -c 'set -e\n: > $R/up-\(number)\n"
        + service.replacing("'", with: "'\\''") + "' &\n"
        + "until test -e $R/up-\(number); do sleep 0.01; done\n"
    }
    text += """
      set +e
      /sbin/pivot_root . old
      exec bin/sh -c '
        cd /
        PATH=/usr/bin:/bin; export PATH
        umount -l /old && mount --make-rshared / || exit 99
        \(script.replacing("'", with: "'\\''"))
      '
      """
    let outcome = try TestSupport.run(
      "unshare",
      [
        "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "sh", "-c",
        "eval \"$SCRIPT\"",
      ],
      environment: [
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "BUILD=\(try builtPrograms())",
        "SCRIPT=unset SCRIPT; \(text)",
      ])
    return outcome.named(script)
  }
}
