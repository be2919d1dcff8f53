import TestSupport
import Testing

/// What a jail must not reach of the host's files: the launcher's own, files behind links of others,
/// and the contents of files that may only be read.
@Suite(.needsRoot, .tags(.attack)) struct HostFileAttacks {
  #if arch(x86_64)
    /// A new root with a script whose interpreter is `/proc/self/exe`, and with a loader that keeps that
    /// file, and overwrites it when no process executes it any longer.
    private static let prepare = """
      mkdir -p root/lib64 root/proc host; printf '#!/proc/self/exe\\n' > root/x; chmod 755 root/x
      cat > loader.c <<'END'
      #define _GNU_SOURCE
      #include <fcntl.h>
      #include <sys/syscall.h>
      #include <time.h>
      static long call(long number, long one, long two, long three) {
        long result;
        __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(one), "S"(two), "d"(three)
          : "rcx", "r11", "memory");
        return result;
      }
      void start(long *stack) {
        char **words = (char **)(stack + 1);
        if (stack[0] > 1 && words[1][0] == 'w' && !words[1][1]) {
          char place[] = "/proc/self/fd/?";
          place[14] = words[2][0];
          for (int i = 0; i < 30; i++) {
            long file = call(SYS_open, (long)place, O_WRONLY, 0);
            if (file >= 0) { call(SYS_write, file, (long)"overwritten\\n", 12); break; }
            struct timespec time = {0, 50000000};
            call(SYS_nanosleep, (long)&time, 0, 0);
          }
          call(SYS_exit_group, 0, 0, 0);
        }
        call(SYS_write, 1, (long)"loader\\n", 7);
        char number[] = {'0' + call(SYS_open, (long)"/proc/self/exe", O_PATH, 0), 0};
        char *more[] = {"w", "w", number, 0}, *none[] = {0};
        if (call(SYS_fork, 0, 0, 0) == 0) {
          call(SYS_execve, (long)"/w", (long)more, (long)none);
          call(SYS_exit_group, 1, 0, 0);
        }
        call(SYS_exit_group, 0, 0, 0);
      }
      __asm__(".globl _start\\n_start: mov %rsp, %rdi\\n and $-16, %rsp\\n call start\\n");
      END
      cc -w -static -nostdlib -ffreestanding -fno-stack-protector -O1 -o root/w loader.c || exit 99
      cp root/w root/lib64/ld-linux-x86-64.so.2

      """

    @Test(arguments: [
      "-v -P root -r -c 0 --ambient -n", "-v -P root -r -p -c 0 --ambient -n",
      "-C root -b /proc -v",
      "-v -P root -r -n -S policy", "-v -P root -r -n -T static",
      "-v -P root -r -u 1000 -g 1000",
    ])
    func reachesNoFileOfTheLauncher(_ options: String) throws {
      let outcome = try CommandLine.run(
        Self.prepare + """
          printf '{read, write, open, execve, exit_group, fork, nanosleep, openat}: 1\\n' > policy
          cp $(command -v minijail0) host/minijail0
          timeout 2 host/minijail0 \(options) -- /x; sleep 2
          cmp host/minijail0 $(command -v minijail0) && echo same
          """)
      #expect(outcome.output == "same\n", "\(outcome)")
    }

    /// The control: a launcher that executes the program itself.
    @Test func overwritesNaiveLauncher() throws {
      let outcome = try CommandLine.run(
        Self.prepare + """
          cat > naive.c <<'END'
          #include <unistd.h>
          int main(int count, char **words) {
            if (chroot("/mnt/root") != 0 || chdir("/") != 0) return 1;
            execl(words[1], words[1], (char *)0);
            return 1;
          }
          END
          gcc -w -o host/naive naive.c || exit 1
          mount --bind /proc root/proc; host/naive /x; sleep 2; head -c 11 host/naive
          """)
      #expect(outcome.output == "loader\noverwritten", "\(outcome)")
    }
  #endif

  /// What executes the program leaves no trace in it: words, environment, descriptors, signals, name.
  @Test func programOfNewRootStartsAsAnyOther() throws {
    let outcome = try CommandLine.run(
      """
      see='readlink /proc/self/exe; ls /proc/self/fd; tr "\\0" " " < /proc/self/cmdline; '
      see="$see"'grep -v "^\\(Pid\\|PPid\\|Tgid\\|Ngid\\|NSpid\\|NStgid\\|NSpgid\\|NSsid\\|SigQ\\|Vm\\|Rss\\|.*ctxt\\|Cpus\\|Mems\\|x86\\)" \\
        /proc/self/status; env | sort; printf "%s\\n" "$0" "$@"'
      for view in "" "-v"; do
        for more in "" "-n" "-u nobody -g nogroup -c 0x401 --ambient" "-U -m -M" "-c 0x400 -n" \\
          "-S /mnt/policy" "-p" "--pty" "-R RLIMIT_FSIZE,0" "--fs-path-rx /"; do
          printf '@default allow\\nmkdir: return 1\\n' > policy
          minijail0 $view $more -- /bin/sh -c "$see" zero one '' 'two three' < /dev/null 2>&1
        done > "out$view"
      done
      diff out out-v && echo same; wc -l < out
      """)
    #expect(outcome.output.hasPrefix("same\n"), "\(outcome)")
    #expect((outcome.lines.last.flatMap { Int($0) } ?? 0) > 200, "\(outcome)")
  }

  /// An execution that fails says so with the same words and status.
  @Test func executionOfNewRootFailsAsAnyOther() throws {
    let outcome = try CommandLine.run(
      """
      mkdir /mnt/p; printf 'execve: 1\\nexit_group: 1\\n' > policy
      for view in "" "-v"; do
        for more in "" "-n" "-p" "-i" "-S /mnt/policy" "-S /mnt/policy -T static" "-u 5 -i -p" \\
          "--jail-by=preload -n -c 0" "-T static -n -S /mnt/policy -i"; do
          for program in /none /mnt/src/file /mnt/p /mnt/bin/noformat /mnt/bin/short; do
            minijail0 --logging=stderr $view $more -- $program 2>&1; echo $?; sleep 0.05
          done
        done | sed 's/[0-9]*: *exited/exited/; s/process [0-9]*/process/; s/jail\\[[0-9]*/jail[/' | sort > "out$view"
      done
      diff out out-v && echo same; wc -l < out
      """)
    #expect(outcome.output.hasPrefix("same\n"), "\(outcome)")
  }

  /// A file that may only be read cannot be emptied by its path either.
  @Test func readOnlyFileIsNotTruncated() throws {
    let outcome = try CommandLine.run(
      """
      cat > cut.c <<'END'
      #include <stdio.h>
      #include <unistd.h>
      int main(void) { perror("truncate"); return truncate("/mnt/src/file", 0) != 0; }
      END
      cc -w -o cut cut.c; chown 1000 src/file
      as="setpriv --reuid 1000 --regid 1000 --clear-groups"
      $as minijail0 -n --fs-path-rx /usr --fs-path-rx /lib --fs-path-rx /lib64 --fs-path-rx /mnt/cut \\
        --fs-path-ro /mnt/src -- /mnt/cut 2>&-; echo $?; wc -c < src/file
      # The control: a program that denies what Landlock's first versions know, which is not truncate(2).
      cat > naive.c <<'END'
      #include <linux/landlock.h>
      #include <sys/prctl.h>
      #include <sys/syscall.h>
      #include <unistd.h>
      int main(int count, char **words) {
        struct landlock_ruleset_attr handled = {LANDLOCK_ACCESS_FS_WRITE_FILE};
        int rules = syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (syscall(SYS_landlock_restrict_self, rules, 0) != 0) return 9;
        execv(words[1], words + 1);
        return 9;
      }
      END
      cc -w -o naive naive.c
      $as ./naive /bin/sh -c ': >> src/file' 2>&-; echo $?
      $as ./naive /mnt/cut; echo $?; wc -c < src/file
      """)
    #expect(outcome.output == "1\n5\n2\n0\n0\n", "\(outcome)")
  }

  /// A kernel whose Landlock is older gives a warning, and with --strict no jail.
  @Test(arguments: ["", "--strict"]) func oldLandlockIsNamed(_ option: String) throws {
    let outcome = try CommandLine.run(
      "strace -f -o /dev/null -e trace=landlock_create_ruleset "
        + "-e inject=landlock_create_ruleset:retval=2:when=1 minijail0 \(option) -T static -n "
        + "--fs-default-paths --fs-path-rx /mnt/bin -- /mnt/bin/static")
    #expect(outcome.output == (option.isEmpty ? "static\n" : ""), "\(outcome)")
    #expect(outcome.errors.contains("Landlock ABI 2"), "\(outcome)")
    #expect(outcome.status == (option.isEmpty ? 7 : 1), "\(outcome)")
  }

  /// The number of the process goes to no file that another user has chosen without a word, and with
  /// --strict not at all.
  @Test func pidFileFollowsNoLinkOfOtherUser() throws {
    let outcome = try CommandLine.run(
      """
      echo keep > victim; mkdir -m 1777 shared; echo keep > own
      setpriv --reuid 1000 --clear-groups ln -s /mnt/victim shared/pid
      setpriv --reuid 1000 --clear-groups ln -s /mnt/src shared/directory
      ln -s /mnt/own shared/mine
      minijail0 --strict -f /mnt/shared/pid -n -- /bin/true; echo $?; cat victim
      minijail0 --strict -f /mnt/shared/directory/pid -n -- /bin/true; echo $?; ls src
      minijail0 --strict -f /mnt/shared/mine -n -- /bin/true; grep -c '^[0-9]*$' own
      minijail0 --strict -f shared/new -n -- /bin/true; grep -c '^[0-9]*$' shared/new
      minijail0 -f /mnt/shared/pid -n -- /bin/true; grep -c '^[0-9]*$' victim
      """)
    #expect(outcome.output == "1\nkeep\n1\nfile\n1\n1\n1\n", "\(outcome)")
    let lines = outcome.errors.split(separator: "\n")
    #expect(lines.count == 3, "\(outcome)")
    #expect(lines.allSatisfy { $0.contains("/mnt/shared/") && $0.contains("1000") }, "\(outcome)")
  }
}
