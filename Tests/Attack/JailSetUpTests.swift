import TestSupport
import Testing

/// What of the set-up is in reach of a program, of its interpreter or of its loader.
@Suite(.needsRoot, .tags(.attack)) struct JailSetUpTests {
  /// Scripts whose interpreter is named through each descriptor that may be open at execve(2): the
  /// host's echo(1), which no path of the new root leads to from there.
  private static let prepare = """
    mkdir -p /mnt/root/s /mnt/root/usr /mnt/root/proc /mnt/root/run /mnt/root/tmp
    for link in bin lib lib64 sbin; do ln -s usr/$link /mnt/root/$link; done
    for n in $(seq 0 40); do
      printf '#!/proc/self/fd/%s/usr/bin/echo escaped\\n' $n > /mnt/root/s/root$n
      printf '#!/proc/self/fd/%s/1/root/usr/bin/echo escaped\\n' $n > /mnt/root/s/processes$n
      printf '#!/proc/self/fd/%s/../../../../usr/bin/echo escaped\\n' $n > /mnt/root/s/above$n
    done
    chmod 755 /mnt/root/s/*
    mkdir -m 755 /mnt/jail; printf 'exit_group: 1\\n' > /mnt/policy

    """

  private static let options = [
    "-P /mnt/root -p --daemon-store notes", "-P /mnt/root -b /proc,/proc --daemon-store notes",
    "-P /mnt/root -r --daemon-store notes -u nobody -g nogroup", "-P /mnt/root -p -d -t -v",
    "-P /mnt/root -p --daemon-store notes -c 0",
    "-P /mnt/root -p --daemon-store notes -c 0 --ambient",
    "-P /mnt/root -p --jail-by=preload --daemon-store notes -c 0",
    "-C /mnt/root -v -p --daemon-store notes",
    "-P /mnt/root -p -e/proc/self/ns/net -V /proc/self/ns/mnt", "-P /mnt/root -p -S /mnt/policy -n",
    "-P /mnt/root -p --fs-path-rx /usr --fs-path-ro /proc", "-P /mnt/root -p --learn /mnt/learnt",
    "-P /mnt/root -p -k none,/tmp,tmpfs -b /mnt/policy,/tmp/x -d --logging=syslog -N -l --uts",
  ]

  @Test func opensNoFileOfTheHostForAnInterpreter() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.boot("notes")
        #expect(try host.script(Self.prepare).status == 0)
        for options in Self.options {
          let outcome = try host.script(
            """
            for script in /mnt/root/s/*; do
              minijail0 \(options) -b /usr -- /s/${script##*/} 2>/dev/null
            done; echo end
            """)
          #expect(outcome.output == "end\n", "\(options): \(outcome)")
        }
      }
    }
  }

  /// The control: a program that keeps the host's root open, as close-on-exec as that may be.
  @Test func findsRootOfNaiveLauncher() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        #expect(try host.script(Self.prepare).status == 0)
        let outcome = try host.script(
          """
          cat > /mnt/naive.c <<'END'
          #define _GNU_SOURCE
          #include <fcntl.h>
          #include <unistd.h>
          int main(int count, char **words) {
            int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
            dup3(root, 9, O_CLOEXEC);
            if (chroot("/mnt/root") != 0 || chdir("/") != 0) return 1;
            execl(words[1], words[1], (char *)0);
            return 1;
          }
          END
          gcc -w -o /mnt/naive /mnt/naive.c || exit 1
          mount --bind /usr /mnt/root/usr; mount --bind /proc /mnt/root/proc
          /mnt/naive /s/root9
          """)
        #expect(outcome.output.contains("escaped"), "\(outcome)")
      }
    }
  }

  /// Neither the launcher nor an init shows its memory to a program of the same user.
  @Test func hidesTheCallersEnvironment() throws {
    func script(_ process: String) -> String {
      "grep -qaz ^SECRET /proc/\(process)/environ && echo shown"
    }
    let inside = try CommandLine.run(
      "export SECRET=caller; minijail0 -U -m -M --env-reset -- /bin/sh -c '\(script("1"))'; "
        + "minijail0 --env-reset -- /bin/sh -c '\(script("$PPID"))'", as: 1000)
    #expect(inside.output.isEmpty && inside.errors.contains("Permission denied"), "\(inside)")
    let root = try CommandLine.run(
      "export SECRET=caller; minijail0 -p -c 0 --env-reset -- /bin/sh -c '\(script("1"))'")
    #expect(root.output.isEmpty && root.errors.contains("Permission denied"), "\(root)")
    // The control: env(1) and unshare(1) hide nothing of a parent, or of process 1.
    let control = try CommandLine.run(
      "export SECRET=caller; sh -c 'env -i sh -c \"$1\"; true' - '\(script("$PPID"))'; "
        + "unshare -Urpf --mount-proc sh -c 'env -i sh -c \"$1\"; true' - '\(script("1"))'",
      as: 1000)
    #expect(control.output == "shown\nshown\n", "\(control)")
  }

  /// A signal that ends the launcher ends a long set-up at once, and not when all is mounted.
  @Test(arguments: ["", "-z", "-i"]) func endsSetUpAtTheFirstSignal(_ option: String) throws {
    let outcome = try CommandLine.run(
      """
      { echo '% minijail-config-file v0'; echo 'mount = none,/mnt/first,tmpfs'
        for i in $(seq 4000); do echo 'mount = none,/mnt/s,tmpfs'; done
        echo 'mount = none,/mnt/last,tmpfs'; } > config
      minijail0 \(option) -v --config config -- /bin/touch /mnt/ran & launcher=$!
      until test -e first; do :; done
      kill -TERM $launcher; wait $launcher; echo $?; ls -d last ran 2>&-
      """)
    #expect(outcome.output == "143\n", "\(outcome)")
  }

  /// Only a kernel without Landlock may leave files unrestricted, with a warning.
  @Test(arguments: [
    ("ENOMEM", "", 1), ("EPERM", "", 1), ("EOPNOTSUPP", "", 0), ("ENOSYS", "", 0),
    ("EOPNOTSUPP", "--strict", 1),
  ])
  func failsWhenLandlockCannotBeAskedFor(_ error: String, _ option: String, _ status: Int32) throws
  {
    let outcome = try CommandLine.run(
      "strace -f -o /dev/null -e trace=landlock_create_ruleset "
        + "-e inject=landlock_create_ruleset:error=\(error):when=1 "
        + "minijail0 \(option) -T static -n --fs-default-paths -- /bin/cat /mnt/src/file")
    #expect(outcome.status == status, "\(outcome)")
    #expect(outcome.output == (status == 0 ? "text\n" : ""), "\(outcome)")
    if status == 0 { #expect(outcome.errors.contains("has no Landlock"), "\(outcome)") }
  }

  /// A failing question for a capability never widens the bounding set.
  @Test func failsWhenCapabilitiesCannotBeAskedFor() throws {
    var questions = 0
    for call in 1...60 {
      let outcome = try CommandLine.run(
        "strace -f -o trace -e trace=prctl -e inject=prctl:error=EPERM:when=\(call) "
          + "minijail0 -T static -u 5 -g 6 -c 0x400 --ambient -n -- "
          + "/bin/grep CapBnd /proc/self/status; echo $?; grep INJECTED trace")
      let failures = outcome.lines.filter { $0.contains("INJECTED") }
      let rest = outcome.lines.filter { !$0.contains("INJECTED") }
      if failures.isEmpty { break }
      let isRefused = rest.count == 1 && rest[0] != "0"
      #expect(isRefused || rest == ["CapBnd:\t0000000000000400", "0"], "\(outcome)")
      if isRefused, outcome.complains(of: "PR_CAPBSET_READ") { questions += 1 }
    }
    #expect(questions > 0)
  }
}
