import Glibc
import TestSupport
import Testing

/// Real services in a pid namespace of their own, in real jails, and what the kernel says of them.
@Suite(.needsRoot) struct SandboxedServicesTests {
  /// Runs a script as the first process of a system that has these services:
  ///
  /// - `notesd`: in a jail of minijail0, with a user, a filter and namespaces
  /// - `rootd`: root, not confined at all
  /// - `scriptd`: a script, as a user, with one capability
  /// - `chrootd`: root, in another root directory
  /// - `ttyd`: at a terminal, so it is none
  private static func onSystem(_ host: Host, _ script: String) throws -> Outcome {
    try writeFile(
      "/etc/passwd", readFile("/etc/passwd") + "notesd:x:901:901::/:/bin/sh\n")
    try writeFile("/etc/group", readFile("/etc/group") + "notesd:x:901:\n")
    try mountFilesystem("sbin", "/usr/local/sbin", "tmpfs", 0, "mode=0755")
    // What sleep(1) needs.
    let calls =
      "access arch_prctl brk clock_nanosleep close execve exit exit_group fadvise64 fstat futex "
      + "getrandom ioctl lseek mmap mprotect munmap newfstatat openat pread64 prlimit64 read rseq "
      + "rt_sigaction rt_sigprocmask rt_sigreturn set_robust_list set_tid_address statfs write"
    try writeFile(
      "/mnt/sleep.policy", calls.split(separator: " ").map { "\($0): 1\n" }.joined())
    try writeFile(
      "/usr/local/sbin/scriptd", "#!/bin/sh\nwhile :; do sleep 1000; done\n", mode: 0o755)
    try makeDirectory("/mnt/root/usr")
    for place in ["bin", "lib", "lib64"] {
      try makeLink("/mnt/root/\(place)", to: "usr/\(place)")
    }
    try writeFile(
      "/mnt/start",
      """
      # As a service manager starts things: no login has led here.
      { echo 4294967295 >/proc/self/loginuid; } 2>/dev/null || :
      for name in notesd rootd chrootd ttyd newd; do cp /bin/sleep "/usr/local/sbin/$name"; done
      mount --rbind /usr /mnt/root/usr
      jail() { minijail0 -u notesd -g notesd -l --uts -v "$@" -- /usr/local/sbin/notesd 1000 & }
      # Waits for so many processes of a name.
      await() {
        count=0
        while [ "$(pgrep -c -x "$1")" != "$2" ]; do
          count=$((count + 1)); [ $count -lt 1000 ] || { echo "no $1"; exit 1; }; sleep 0.02
        done
      }
      jail -n -S /mnt/sleep.policy
      /usr/local/sbin/rootd 1000 &
      setpriv --reuid 901 --regid 901 --clear-groups --inh-caps -all,+chown \\
        --ambient-caps -all,+chown --bounding-set -all,+chown /usr/local/sbin/scriptd &
      chroot /mnt/root /usr/local/sbin/chrootd 1000 &
      script -q -c '/usr/local/sbin/ttyd 1000' /dev/null </dev/null >/dev/null &
      for name in notesd rootd scriptd chrootd ttyd; do await $name 1; done
      """)
    return try TestSupport.run(
      "setsid",
      [
        "--wait", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--cgroup",
        "--propagation", "private", "sh", "-c", ". /mnt/start\n\(script)",
      ],
      environment: ["PATH=/mnt/programs:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"])
  }

  private struct Entry: Decodable {
    let pid: Int
    let program: String
    let executable: String
    let user: String
    let group: String
    let unit: String?
    let capabilities: [String]
    let allCapabilities: Bool
    let ownNamespaces: [String]
    let noNewPrivileges: Bool
    let seccomp: String
    let otherRoot: Bool
  }

  @Test func listSaysHowEachIsConfined() async {
    await #expect(processExitsWith: .success) {
      do {
        let schema = try Schema("sandboxed-services-list")
        inHost(.isolated) { host in
          let outcome = try Self.onSystem(
            host, "sandboxed-services list >/mnt/text && sandboxed-services list --json")
          #expect(outcome.status == 0 && outcome.errors.isEmpty, "\(outcome)")
          #expect(try schema.violations(in: outcome.output) == "")
          let all = try decode([Entry].self, outcome.output)
          func one(_ name: String) throws -> Entry {
            try #require(all.first { $0.program == name }, "\(outcome)")
          }
          #expect(!all.contains { ["ttyd", "sh", "sandboxed-services"].contains($0.program) })
          #expect(all.allSatisfy { $0.unit == nil && $0.pid > 1 })
          let notes = try one("notesd")
          #expect(notes.user == "notesd" && notes.group == "notesd")
          #expect(notes.executable == "/usr/local/sbin/notesd")
          #expect(notes.ownNamespaces == ["ipc", "mnt", "uts"])
          #expect(notes.noNewPrivileges && notes.seccomp == "filter" && !notes.otherRoot)
          #expect(notes.capabilities == [] && !notes.allCapabilities)
          let root = try one("rootd")
          #expect(root.user == "root" && root.allCapabilities && root.ownNamespaces == [])
          #expect(!root.noNewPrivileges && root.seccomp == "none" && !root.otherRoot)
          let script = try one("scriptd")
          #expect(script.executable.hasPrefix("/usr/bin/") && script.capabilities == ["chown"])
          #expect(try one("chrootd").otherRoot)
          // Who starts a jail is a service too.
          #expect(try one("minijail0").user == "root")
          let text = try readFile("/mnt/text").split(separator: "\n")
          #expect(text.count == all.count + 1, "\(text)")
          #expect(
            text.contains { $0.hasSuffix("caps=none ipc mnt no-new-privs seccomp uts") }, "\(text)")
        }
      } catch {
        Issue.record("\(error)")
      }
    }
  }

  @Test func checkFindsWhatIsNewAndWhatIsLost() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        let outcome = try Self.onSystem(
          host,
          """
          sandboxed-services baseline --output /mnt/base; cat /mnt/base
          sandboxed-services check /mnt/base; echo "same $?"
          # The filter is left out.
          pkill -x notesd; await notesd 0; jail -n; await notesd 1
          sandboxed-services check /mnt/base 2>/mnt/said; sed 's/pid [0-9]*/pid N/' /mnt/said
          # Two processes of one service: the weakest counts.
          jail -n -S /mnt/sleep.policy; await notesd 2
          sandboxed-services check - </mnt/base; echo "weak $?"
          pkill -x notesd; await notesd 0; jail -n -S /mnt/sleep.policy; await notesd 1
          # More than before is fine.
          pkill -x rootd; await rootd 0; minijail0 -v -l -n -- /usr/local/sbin/rootd 1000 &
          await rootd 1; sandboxed-services check /mnt/base; echo "more $?"
          /usr/local/sbin/newd 1000 & await newd 1
          setpriv --reuid 901 --clear-groups /usr/local/sbin/chrootd 1000 & await chrootd 2
          sandboxed-services check /mnt/base 2>/mnt/said; sed 's/pid [0-9]*/pid N/' /mnt/said
          # What it says to add is what it takes.
          sed -n 's/.*if that is meant, add: //p' /mnt/said >>/mnt/base
          sandboxed-services check /mnt/base; echo "added $?"
          printf 'ignore newd\\nnonsense\\n' >/mnt/bad
          sandboxed-services check /mnt/bad; echo "bad $?"
          sandboxed-services check /mnt/none; echo "none $?"
          """)
        let said = outcome.lines
        for line in [
          "# program user group features: see sandboxed-services(1)",
          "chrootd root root root", "minijail0 root root", "rootd root root",
          "notesd notesd notesd caps=none ipc mnt no-new-privs seccomp uts",
          "scriptd notesd notesd caps=chown", "same 0", "weak 3", "more 0", "added 0", "bad 1",
          "none 1",
          "sandboxed-services: check: notesd (pid N) has lost seccomp; if that is meant, the line "
            + "is: notesd notesd notesd caps=none ipc mnt no-new-privs uts",
          "sandboxed-services: check: newd (pid N) is a new service of root; if that is meant, "
            + "add: newd root root",
          "sandboxed-services: check: chrootd (pid N) runs as notesd:root, and not as root:root; "
            + "if that is meant, add: chrootd notesd root caps=none",
        ] {
          #expect(said.contains(line), "\(line)\n\(outcome)")
        }
        #expect(said.count { $0.contains("check: ") } == 3, "\(outcome)")
        #expect(outcome.complains(of: "/mnt/bad:2: a service has a program"), "\(outcome)")
        #expect(outcome.complains(of: "/mnt/none", "No such file"), "\(outcome)")
      }
    }
  }

  @Test func needsRoot() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        for verb in ["list", "baseline"] {
          let outcome = try host.runAsNobody("sandboxed-services", verb)
          #expect(outcome.status == 1 && outcome.errors.contains("only root"), "\(outcome)")
        }
        try host.refuse(status: 2, ["baseline"], "sandboxed-services", "check")
      }
    }
  }
}
