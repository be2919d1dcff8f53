import TestSupport
import Testing

/// Programs whose own code runs before `main`, where the rest of the jail comes into force: what a
/// program does there must not decide what its jail is.
@Suite(.needsRoot, .tags(.attack)) struct JailCompletionTests {
  /// Code in `.preinit_array`, which runs before every other initialiser. `main` and what was left
  /// running print what they can do: `made` where a call that the policy denies, or a read that the
  /// rules for files deny, succeeds, and the ambient set.
  private static let source = """
    #define _GNU_SOURCE
    #include <errno.h>
    #include <fcntl.h>
    #include <linux/filter.h>
    #include <linux/seccomp.h>
    #include <pthread.h>
    #include <sched.h>
    #include <signal.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/prctl.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    static char stack[65536] __attribute__((aligned(16)));
    static void attempt(const char *part) {
      char text[200], place[100];
      snprintf(place, sizeof place, "/mnt/user/%s", part);
      int denied = mkdir(place, 0700) != 0;
      int file = open("/mnt/src/file", O_RDONLY);
      int length = snprintf(text, sizeof text, "%s: mkdir %s, file %s, ambient %d\\n", part,
        denied ? "denied" : "made", file < 0 ? "denied" : "read",
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 0, 0, 0));
      write(1, text, length);
    }
    static volatile int main_runs;
    static int later(void *part) {
      while (!main_runs) usleep(1000);
      attempt(part);
      main_runs = 2;
      return 0;
    }
    static void *later_thread(void *part) { later(part); return 0; }
    static int other(void *part) { usleep(300000); attempt(part); _exit(0); }
    static void load(unsigned action) {
      struct sock_filter list[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_landlock_restrict_self, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW), BPF_STMT(BPF_RET | BPF_K, action)};
      struct sock_fprog program = {5, list};
      prctl(PR_SET_SECCOMP, 2, &program);
    }
    static int waits;
    static void early(int count, char **words, char **environment) {
      const char *orders = NULL;
      for (; *environment; environment++)
        if (strncmp(*environment, "__MINIJAIL_FD=", 14) == 0) orders = *environment + 14;
      const char *kind = count > 1 ? words[1] : "";
      int is(const char *name) { return strcmp(kind, name) == 0; }
      int descriptor = orders && strchr(orders, 'r') ? atoi(strchr(orders, 'r') + 1) : -1;
      if (is("forge")) { write(descriptor, "R", 1); close(descriptor); _exit(0); }
      if (is("stay")) for (;;) sleep(1);
      if (is("allow")) load(SECCOMP_RET_ALLOW);
      if (is("fake")) load(SECCOMP_RET_ERRNO);
      if (is("ambient")) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
      if (is("close")) for (int i = 3; i < 200; i++) close(i);
      if (is("replace")) for (int i = 3; i < 200; i++) dup2(0, i);
      if (is("thread")) {
        pthread_t thread;
        pthread_create(&thread, 0, later_thread, "thread");
        waits = 1;
      }
      if (is("hidden-thread")) {
        int made = clone(later, stack + sizeof stack, CLONE_VM | CLONE_FS | CLONE_FILES |
          CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_UNTRACED, "hidden-thread");
        waits = made > 0;
      }
      if (is("fork") && fork() == 0) other("fork");
      if (is("vfork") && syscall(SYS_vfork) == 0) { sleep(1); _exit(0); }
      if (is("hidden")) clone(other, stack + sizeof stack, CLONE_VM | CLONE_UNTRACED | SIGCHLD, "hidden");
      if (is("sibling")) clone(other, stack + sizeof stack,
        CLONE_VM | CLONE_UNTRACED | CLONE_PARENT | SIGCHLD, "sibling");
      if (is("daemon")) {
        if (syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0) == 0) {
          if (syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0) == 0) { setsid(); other("daemon"); }
          _exit(0);
        }
        usleep(100000);
      }
      if (is("again") && count == 2) execl(words[0], words[0], kind, "twice", NULL);
    }
    __attribute__((section(".preinit_array"), used))
    static void (*const first[])(int, char **, char **) = {early};
    int main(void) {
      main_runs = 1;
      while (waits && main_runs != 2) usleep(1000);
      attempt("main");
      usleep(600000);
      return 0;
    }
    """

  private static let policy =
    "{read, write, close, openat, fstat, newfstatat, exit, exit_group, brk, mmap, munmap, mprotect, "
    + "futex, clock_nanosleep, rt_sigprocmask, rt_sigaction, rt_sigreturn, prctl, clone, clone3, "
    + "fork, vfork, wait4, set_robust_list, rseq, madvise, setsid, execve, restart_syscall, dup2, "
    + "getpid, gettid, landlock_restrict_self}: 1\\nmkdir: return 1\\n"

  /// Runs the program with this attack in a jail that has something of everything for later. An
  /// ordinary user's, so that /mnt/user can be written to.
  private func attack(
    _ kind: String, _ options: String = "", policy: String = Self.policy
  ) throws -> Outcome {
    try CommandLine.run(
      """
      printf '\(policy)' > policy
      cat > attack.c <<'END'
      \(Self.source)
      END
      cc -w -o attack attack.c -pthread && chmod 755 attack
      minijail0 -u 1000 -g 1000 -c 1 --fs-path-rw /mnt/user --fs-path-rx /usr --fs-path-rx /lib \\
        --fs-path-rx /lib64 --fs-path-rx /mnt/attack -S policy \(options) -- /mnt/attack \(kind)
      status=$?; sleep 0.4; ls user; exit $status
      """)
  }

  /// The control: without a jail, each part of the program can do everything.
  @Test(arguments: ["none", "thread", "hidden-thread", "fork", "hidden", "daemon"])
  func succeedsWithoutAJail(_ kind: String) throws {
    let outcome = try CommandLine.run(
      """
      cat > attack.c <<'END'
      \(Self.source)
      END
      cc -w -o attack attack.c -pthread && ./attack \(kind); sleep 0.4
      """)
    #expect(outcome.output.contains("mkdir made, file read"), "\(outcome)")
    if kind != "none" { #expect(outcome.output.contains("\(kind): mkdir made"), "\(outcome)") }
  }

  @Test(arguments: [
    "none", "ambient", "close", "replace", "thread", "hidden-thread", "fork", "vfork", "hidden",
    "sibling", "daemon", "again",
  ])
  func confinesWhatRunsBeforeMain(_ kind: String) throws {
    for options in ["", "-p"] {
      let outcome = try attack(kind, options)
      #expect(outcome.status == 0, "\(options): \(outcome)")
      #expect(outcome.output.contains("main: mkdir denied, file denied, ambient 0"), "\(outcome)")
      #expect(!outcome.output.contains("made"), "\(options): \(outcome)")
      #expect(!outcome.output.contains("file read"), "\(options): \(outcome)")
      #expect(!outcome.output.contains("ambient 1"), "\(options): \(outcome)")
      if kind == "thread" {
        #expect(outcome.output.contains("\(kind): mkdir denied, file denied"), "\(outcome)")
      } else {
        #expect(outcome.lines.count == 1, "\(options): \(outcome)")
      }
    }
  }

  @Test(arguments: [
    ("forge", "before its entry point"), ("allow", "loaded a filter of system calls"),
    ("fake", "loaded a filter of system calls"),
    ("stay", "not at its entry point within 1 s (--start-timeout)"),
  ])
  func endsProgramThatKeepsItsJailFromBeingComplete(_ kind: String, _ text: String) throws {
    for options in ["", "-p", "-i"] {
      let outcome = try attack(kind, "\(options) --start-timeout 1")
      #expect(outcome.status == 252, "\(options): \(outcome)")
      #expect(
        outcome.errors.contains("was never complete") && outcome.errors.contains(text),
        "\(options): \(outcome)")
      #expect(outcome.output.isEmpty, "\(options): \(outcome)")
    }
  }

  /// A program with file capabilities: its loader takes no library (AT_SECURE).
  @Test func confinesProgramWithFileCapabilities() throws {
    let outcome = try CommandLine.run(
      """
      printf 'exit_group: 1\\nwrite: 1\\n' > policy
      cp $(command -v ls) able && setcap cap_net_admin+ep able || exit 99
      minijail0 -u nobody -g nogroup -n -S policy -- ./able; echo $?
      minijail0 -u nobody -g nogroup -n -c cap_net_admin,cap_chown+e -- ./able -d able; echo $?
      minijail0 -u nobody -g nogroup -n -c 0x2000 -- ./able; echo $?
      """)
    #expect(outcome.output == "253\nable\n0\n1\n", "\(outcome)")
    #expect(outcome.errors.contains("add cap_net_admin to -c"), "\(outcome)")
  }

  /// ptrace(2) is refused where another process traces the launcher's children already.
  @Test func namesWhatKeepsTheLauncherFromTracing() throws {
    let outcome = try CommandLine.run(
      "printf 'exit_group: 1\\n' > p; strace -f -o /dev/null minijail0 -n -S p -- /bin/true; echo $?; "
        + "strace -f -o /dev/null minijail0 --jail-by=preload -n -S p -- /bin/true; echo $?; "
        + "strace -f -o /dev/null minijail0 -n -- /bin/true; echo $?")
    #expect(outcome.output == "1\n0\n0\n", "\(outcome)")
    #expect(
      outcome.errors.contains("strace (pid ") && outcome.errors.contains("--jail-by=preload"),
      "\(outcome)")
  }

  #if arch(x86_64)
    /// A loader that is not root's never gets more than the policy allows.
    @Test func givesForeignLoaderTheExactFilter() throws {
      let outcome = try CommandLine.run(
        """
        printf 'exit_group: 1\\nwrite: 1\\n' > policy
        cat > loader.c <<'END'
        static long call(long number, long one, const void *two, long three) {
          long result;
          __asm__ volatile("syscall" : "=a"(result)
            : "a"(number), "D"(one), "S"(two), "d"(three) : "rcx", "r11", "memory");
          return result;
        }
        void _start(void) {
          if (call(257, -100, "/mnt/src/file", 0) >= 0) call(1, 1, "opened\\n", 7);
          call(231, 0, 0, 0);
        }
        END
        cc -static -nostdlib -ffreestanding -fno-stack-protector -o ld-attack loader.c
        chown 1000 ld-attack
        echo 'int main(void) { return 0; }' > p.c; cc -Wl,--dynamic-linker=/mnt/ld-attack -o p p.c
        ./p
        minijail0 -u 1000 -g 1000 -n -S policy -- ./p; echo $?
        """)
      #expect(outcome.output == "opened\n253\n", "\(outcome)")
    }
  #endif
}
