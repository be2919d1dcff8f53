import TestSupport
import Testing

/// Attacks on the start of a jail: on the calls that the launcher makes a program make, on how it finds
/// the program's processes, and on how long it waits.
@Suite(.needsRoot, .tags(.attack)) struct JailStartAttacks {
  /// Says what the rules for files (`/mnt/src/file`) and the policy (mkdir(2)) of the jails here leave.
  private static let attempt = """
    #define _GNU_SOURCE
    #include <errno.h>
    #include <fcntl.h>
    #include <sched.h>
    #include <signal.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/auxv.h>
    #include <sys/mman.h>
    #include <sys/prctl.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>
    static long call(long number, long one, long two, long three, long four) {
      return syscall(number, one, two, three, four, 0, 0);
    }
    static void attempt(const char *part) {
      char text[200];
      int made = mkdir("/mnt/user/made", 0700) == 0;
      int read = open("/mnt/src/file", O_RDONLY) >= 0;
      int length = snprintf(text, sizeof text, "%s: mkdir %s, file %s, ambient %d\\n", part,
        made ? "made" : "denied", read ? "read" : "denied",
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 0, 0, 0));
      write(1, text, length);
      rmdir("/mnt/user/made");
    }

    """

  private static let policy =
    "{read, write, close, openat, fstat, newfstatat, exit, exit_group, brk, mmap, munmap, mprotect, "
    + "futex, clock_nanosleep, rt_sigprocmask, rt_sigaction, rt_sigreturn, prctl, clone, clone3, "
    + "fork, vfork, wait4, set_robust_list, rseq, madvise, execve, getpid, gettid, getppid, kill, "
    + "pause, landlock_create_ruleset, landlock_add_rule, rmdir}: 1\\nmkdir: return 1\\n"

  private static let files =
    "--fs-path-rw /mnt/user --fs-path-rx /usr --fs-path-rx /lib --fs-path-rx /lib64 "
    + "--fs-path-rx /mnt/attack"

  /// Compiles an attack whose `early` runs before every other initialiser, and runs a script with it: as an
  /// ordinary user, whose program is in a jail that root starts with `$jail`, or that user with minijail0.
  private func attack(_ source: String, _ script: String) throws -> Outcome {
    try CommandLine.run(
      """
      printf '\(Self.policy)' > policy
      cat > attack.c <<'END'
      \(Self.attempt)
      \(source)
      __attribute__((section(".preinit_array"), used))
      static void (*const first[])(int, char **) = {early};
      END
      cc -w -o attack attack.c -pthread && chmod 755 attack || exit 99
      jail="minijail0 -u 1000 -g 1000 -n"
      as="setpriv --reuid 1000 --regid 1000 --clear-groups"
      \(script)
      """)
  }

  #if arch(x86_64)
    /// A restartable sequence around the entry point: the kernel moves the thread to the handler, which
    /// changes what the call of the launcher means.
    private static let sequence = """
      #include <sys/rseq.h>
      #include <linux/landlock.h>
      struct section { uint32_t version, flags; uint64_t start, length, handler; };
      struct section section __attribute__((aligned(32), used));
      uint64_t area, done, false_rules = -1, only_files, other_calls;
      void handler(void);
      __asm__(".text\\n.long 0x53053053\\n.globl handler\\nhandler:\\n"
        "  mov area(%rip), %rcx\\n  lea section(%rip), %r11\\n  mov %r11, 8(%rcx)\\n"
        "  cmpq $0, done(%rip)\\n  jne over\\n"
        // seccomp(2): a filter that allows everything
        "  cmp $317, %rax\\n  jne 2f\\n  mov 8(%rdx), %rcx\\n  movzwl (%rdx), %r11d\\n"
        "  push %rax\\n  movabs $0x7fff000000000006, %rax\\n"
        "1: mov %rax, (%rcx)\\n  add $8, %rcx\\n  dec %r11d\\n  jnz 1b\\n  pop %rax\\n"
        "  movq $1, done(%rip)\\n  syscall\\n"
        // recvmsg(2): rules of its own instead of those that come
        "2: cmp $47, %rax\\n  jne 3f\\n  mov 32(%rsi), %rcx\\n  movq $0, 32(%rsi)\\n"
        "  movq $0, 40(%rsi)\\n  movq $20, (%rcx)\\n  mov false_rules(%rip), %r11\\n"
        "  mov %r11d, 16(%rcx)\\n"
        // prctl(2): as a call of i386, where the number is another's
        "3: cmp $157, %rax\\n  jne 5f\\n  cmpq $0, other_calls(%rip)\\n  je 5f\\n"
        "  mov %edi, %ebx\\n  mov %esi, %ecx\\n  movq $1, done(%rip)\\n  int $0x80\\n  ud2\\n"
        "5: cmp $3, %rax\\n  jne 4f\\n  cmp false_rules(%rip), %rdi\\n  jne 4f\\n"
        "  cmpq $0, only_files(%rip)\\n  je 4f\\n  movq $1, done(%rip)\\n"
        "4:  syscall\\n  ud2\\n"
        "over:  and $-16, %rsp\\n  mov area(%rip), %rcx\\n  movq $0, 8(%rcx)\\n  call payload\\n");
      __attribute__((used)) void payload(void) { attempt("payload"); _exit(0); }
      static void early(int count, char **words) {
        const char *kind = count > 1 ? words[1] : "";
        if (!*kind) return;
        area = (uint64_t)__builtin_thread_pointer() + __rseq_offset;
        int file = open("/mnt/user/area", O_RDWR | O_CREAT, 0666);
        uint64_t *shared = 0;
        if (file >= 0) {
          ftruncate(file, 4096);
          shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        }
        if (!strcmp(kind, "accomplice")) {
          alarm(20);
          for (;;) if (shared[8]) ((volatile uint64_t *)shared)[1] = shared[8];
        }
        if (words[2] && shared) {
          // glibc's area has 32 bytes here, and this signature.
          if (syscall(SYS_rseq, area, 32, 1, 0x53053053)) _exit(9);
          area = (uint64_t)shared;
          if (syscall(SYS_rseq, area, 32, 0, 0x53053053)) _exit(9);
          shared[8] = (uint64_t)&section;
        }
        uint64_t entry = getauxval(AT_ENTRY);
        section.start = entry - 8;
        section.length = 24;
        section.handler = (uint64_t)handler;
        if (!strcmp(kind, "bare")) done = 1;
        if (!strcmp(kind, "ambient")) other_calls = 1;
        if (!strcmp(kind, "files")) {
          only_files = 1;
          struct landlock_ruleset_attr handled = {LANDLOCK_ACCESS_FS_MAKE_SOCK};
          false_rules = call(SYS_landlock_create_ruleset, (long)&handled, 8, 0, 0);
        }
        __asm__ volatile("mov %0, 8(%1)\\n jmp *%2"
          :: "r"(&section), "r"(area), "r"(entry) : "memory");
      }
      int main(void) { attempt("main"); return 0; }
      """

    @Test(arguments: [
      ("filter", "-S policy"), ("files", JailStartAttacks.files), ("ambient", "-c 1"),
      ("files", "-S policy \(JailStartAttacks.files)"), ("bare", "-S policy"),
    ])
    func restartableSequenceChangesNoCall(_ kind: String, _ options: String) throws {
      for more in ["", "-p"] {
        let outcome = try attack(
          Self.sequence, "$jail \(more) \(options) -- /mnt/attack \(kind); echo end")
        #expect(outcome.output.hasSuffix("end\n"), "\(more): \(outcome)")
        for (part, text) in [("filter", "made"), ("bare", "made"), ("files", "read")]
        where part == kind { #expect(!outcome.output.contains(text), "\(more): \(outcome)") }
        if kind == "ambient" { #expect(!outcome.output.contains("ambient 1"), "\(outcome)") }
      }
    }

    /// The memory that names the sequence may be shared with a process outside, which writes to it at any
    /// time.
    @Test func sharedSequenceChangesNoCall() throws {
      let outcome = try attack(
        Self.sequence,
        """
        $as ./attack accomplice & accomplice=$!
        $jail \(Self.files) --start-timeout 2 -- /mnt/attack files shared; echo $?
        kill $accomplice
        """)
      #expect(!outcome.output.contains("read"), "\(outcome)")
      // Noticed, or too late, where its own code crashes or is denied the file.
      #expect(!outcome.output.hasPrefix("0\n"), "\(outcome)")
    }

    /// The controls: without the attack the program runs, and without a jail it can do everything.
    @Test func restartableSequenceIsNoneWithoutAsking() throws {
      let outcome = try attack(
        Self.sequence,
        "$jail -c 1 -S policy \(Self.files) -- /mnt/attack; "
          + "$as ./attack; $as ./attack bare & wait $!")
      #expect(
        outcome.output.hasPrefix(
          "main: mkdir denied, file denied, ambient 0\nmain: mkdir made, file read, ambient 0\n"),
        "\(outcome)")
    }

    /// Threads and processes that were made, with a flag that hides them from a tracer, as fast as
    /// possible.
    private static let hidden = """
      static volatile int go, made, read_by;
      static char *stacks;
      static long raw(long number, long one, long two, long three) {
        long result;
        __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(one), "S"(two), "d"(three)
          : "rcx", "r11", "memory");
        return result;
      }
      static void nap(long microseconds) {
        struct timespec time = {0, microseconds * 1000};
        raw(SYS_nanosleep, (long)&time, 0, 0);
      }
      static int thread(void *nothing) {
        while (!go) nap(2000);
        if (raw(SYS_open, (long)"/mnt/src/file", O_RDONLY, 0) >= 0) __sync_fetch_and_add(&read_by, 1);
        for (;;) nap(100000);
      }
      #define SHARED (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)
      static int maker(void *nothing) {
        for (int i = 1; i < 3000; i++) {
          clone(thread, stacks + (i + 1) * 4096, SHARED | CLONE_UNTRACED, 0);
          made = i;
        }
        for (;;) nap(100000);
      }
      static void early(int count, char **words) {
        const char *kind = words[1];
        if (!strcmp(kind, "threads")) {
          stacks = mmap(0, 4096 * 4000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
          char *stack = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
          clone(maker, stack + 65536, SHARED, 0);
          while (made < 20) ;
          return;
        }
        if (call(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0) == 0) {
          usleep(strcmp(kind, "left") ? 500000 : 1500000);
          attempt("left");
          _exit(0);
        }
        if (!strcmp(kind, "gone")) _exit(0);
        if (!strcmp(kind, "left")) for (;;) pause();
      }
      int main(void) {
        go = 1;
        usleep(200000);
        printf("%d threads read\\n", read_by);
        return 0;
      }
      """

    @Test(arguments: [("threads", 0), ("left", 252), ("gone", 252), ("process", 0)])
    func hidesNoThreadAndNoProcess(_ kind: String, _ status: Int32) throws {
      for options in ["", "-p"] {
        let outcome = try attack(
          Self.hidden,
          "$jail \(options) \(Self.files) --start-timeout 1 -- /mnt/attack \(kind); "
            + "status=$?; sleep 1.2; exit $status")
        #expect(outcome.status == status, "\(options): \(outcome)")
        #expect(!outcome.output.contains("left:"), "\(options): \(outcome)")
        if kind == "threads" {
          #expect(outcome.output == "0 threads read\n", "\(options): \(outcome)")
        }
      }
    }

    /// With RF in its flags a thread skips the breakpoint at the entry point, and `main` runs: under the
    /// first restrictions, until the time is over.
    @Test func skippedBreakpointGainsTimeAlone() throws {
      let outcome = try attack(
        """
        static int times;
        static void early(int count, char **words) {
          if (times++) return;
          __asm__ volatile("xor %%edx, %%edx\\n mov %%ss, %%eax\\n push %%rax\\n push %1\\n pushf\\n"
            "orq $0x10000, (%%rsp)\\n mov %%cs, %%eax\\n push %%rax\\n push %0\\n iretq"
            :: "r"(getauxval(AT_ENTRY)), "r"((uint64_t)(words - 1)) : "rax", "rdx", "memory");
        }
        int main(void) { for (int i = 0; i < 100; i++) { attempt("main"); usleep(100000); } }
        """,
        "$jail -S policy \(Self.files) --start-timeout 1 -- /mnt/attack $$; echo $?; "
          + "pgrep -fc \"^/mnt/attack $$\"")
      #expect(outcome.lines.suffix(2) == ["252", "0"], "\(outcome)")
      #expect(outcome.lines.first?.contains("file read") == true, "\(outcome)")
      #expect(outcome.lines.count < 20, "\(outcome)")
    }

    /// The control: nothing restricts them without a jail.
    @Test func hiddenOnesReadWithoutAJail() throws {
      let outcome = try attack(Self.hidden, "$as ./attack threads; $as ./attack process; sleep 1")
      #expect(!outcome.output.hasPrefix("0 threads"), "\(outcome)")
      #expect(outcome.output.contains("left: mkdir made, file read"), "\(outcome)")
    }
  #endif

  /// A filter stays that answers clone3(2), after which libraries take clone(2).
  @Test func programsStartThreadsAndProcessesAllTheSame() throws {
    let outcome = try attack(
      """
      #include <pthread.h>
      #include <linux/sched.h>
      static void early(int count, char **words) {}
      static void *thread(void *nothing) { puts("thread"); return 0; }
      int main(void) {
        pthread_t one;
        if (pthread_create(&one, 0, thread, 0) == 0) pthread_join(one, 0);
        fflush(stdout);
        if (system("echo process") != 0) return 1;
        struct clone_args args = {.exit_signal = SIGCHLD};
        int made = call(SYS_clone3, (long)&args, sizeof args, 0, 0);
        printf("%d %d\\n", made, errno == ENOSYS);
        return 0;
      }
      """, "$jail -c 1 \(Self.files) --fs-path-rx /bin -- /mnt/attack")
    #expect(outcome.output == "thread\nprocess\n-1 1\n", "\(outcome)")
  }

  /// Without no_new_privs, and without CAP_SYS_ADMIN, no filter can be had: the start is refused.
  @Test func refusesToCompleteWhatItCouldNotTrace() throws {
    let outcome = try CommandLine.run(
      "jail='minijail0 --no-default-runtime-environment'; "
        + "setpriv --bounding-set=-sys_admin $jail -c 1 -- /bin/echo ran; echo $?; "
        + "setpriv --bounding-set=-sys_admin $jail -n -c 1 -- /bin/echo ran; "
        + "$jail -c 1 -- /bin/grep -c 'NoNewPrivs:.0' /proc/self/status")
    #expect(outcome.output == "1\nran\n1\n", "\(outcome)")
    #expect(outcome.errors.contains("-n, or CAP_SYS_ADMIN"), "\(outcome)")
  }

  /// A ring registers the credentials of its time, and opens files with them for a program that has
  /// other rules by then.
  @Test func ringKeepsNoCredentials() throws {
    let outcome = try attack(
      """
      #include <linux/io_uring.h>
      static int ring, person;
      static void early(int count, char **words) {
        struct io_uring_params parameters = {0};
        ring = syscall(SYS_io_uring_setup, 4, &parameters);
        person = syscall(SYS_io_uring_register, ring, IORING_REGISTER_PERSONALITY, 0, 0);
        if (ring < 0) { puts("no ring"); return; }
        char *rings = mmap(0, parameters.sq_off.array + 64, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
          IORING_OFF_SQ_RING);
        struct io_uring_sqe *entries = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
          IORING_OFF_SQES);
        entries[0] = (struct io_uring_sqe){.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD,
          .addr = (uint64_t)"/mnt/src/file", .open_flags = O_RDONLY, .personality = person};
        *(unsigned *)(rings + parameters.sq_off.array) = 0;
        *(volatile unsigned *)(rings + parameters.sq_off.tail) = 1;
      }
      int main(void) {
        syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0);
        char text[10] = "";
        for (int i = 3; i < 10 && i != ring; i++) read(i, text, 4);
        if (ring == 3) read(4, text, 4);
        printf("text %d\\n", !strcmp(text, "text"));
        attempt("main");
        return 0;
      }
      """, "$as ./attack; $jail \(Self.files) -- /mnt/attack")
    let lines = outcome.lines
    #expect(lines.count(where: { $0 == "text 1" }) == 1, "control: \(outcome)")
    #expect(lines.contains("no ring") && lines.contains("text 0"), "\(outcome)")
    #expect(lines.contains("main: mkdir made, file denied, ambient 0"), "\(outcome)")
  }

  private static let forking = """
    #include <sys/wait.h>
    static void early(int count, char **words) { alarm(20); for (;;) if (fork() == 0) _exit(0); }
    int main(void) { return 0; }
    """

  /// A program that forks without end is ended in time, and everything of it; a signal ends it too.
  @Test(arguments: ["-p", "", "-p -v", "-i -p"]) func endsWhatForksWithoutEnd(
    _ options: String
  ) throws {
    let outcome = try attack(
      Self.forking,
      """
      timeout -s KILL 10 $jail \(options) \(Self.files) --start-timeout 1 -- /mnt/attack $$
      echo $?; pgrep -fc "^/mnt/attack $$"
      """)
    #expect(outcome.output == "252\n0\n", "\(outcome)")
    guard options == "-p" else { return }
    let signalled = try attack(
      Self.forking,
      """
      $jail -p \(Self.files) -- /mnt/attack $$ & launcher=$!
      until pgrep -f "^/mnt/attack $$" > pids; do :; done
      kill $launcher; timeout 10 tail --pid $launcher -f /dev/null && echo gone
      wait $launcher; pgrep -fc "^/mnt/attack $$"
      """)
    #expect(signalled.output == "gone\n0\n", "\(signalled)")
  }

  /// Processes that the caller has left behind are none of the launcher's.
  @Test func leavesOrphansOfTheCallerAlone() throws {
    let outcome = try attack(
      """
      static void early(int count, char **words) { usleep(300000); }
      int main(void) { return 0; }
      """,
      """
      cat > caller <<'EOT'
      (for i in $(seq 20); do (exec -a orphan sleep 5.$PPID &); sleep 0.01; done) &
      exec minijail0 -u 1000 -g 1000 -n \(Self.files) -- /mnt/attack
      EOT
      bash caller; sleep 0.5; pgrep -fc "^orphan 5.$$"; kill $(pgrep -f "^orphan 5.$$")
      """)
    #expect(outcome.output == "20\n", "\(outcome)")
  }

  /// A program of the launcher's user stops the launcher, which looks at no clock then.
  @Test func stoppedLauncherDelaysNoDeadline() throws {
    let outcome = try attack(
      """
      static void early(int count, char **words) {
        kill(getppid(), SIGSTOP);
        for (int i = 0; i < 100; i++) { puts("runs"); fflush(stdout); usleep(100000); }
      }
      int main(void) { return 0; }
      """,
      "$as minijail0 -n -S policy \(Self.files) --start-timeout 1 -- /mnt/attack $$ > log; "
        + "echo $?; sleep 0.3; wc -l < log; pgrep -fc \"^/mnt/attack $$\"")
    let lines = outcome.lines.compactMap { Int($0) }
    #expect(lines.count == 3 && lines[0] == 137 && lines[2] == 0, "\(outcome)")
    #expect(lines.count == 3 && (1..<60).contains(lines[1]), "\(outcome)")
  }

  /// Processes that write to the program's terminal without end, faster than it can be shown, when the
  /// program has ended.
  @Test func floodOfOutputKeepsNoLauncher() throws {
    let outcome = try attack(
      """
      static void early(int count, char **words) {}
      int main(void) {
        char *terminal = strdup(ttyname(0)), text[4000];
        memset(text, 'x', sizeof text);
        for (int i = 0; i < 2; i++) {
          if (fork() != 0) continue;
          signal(SIGHUP, SIG_IGN);
          setsid();
          alarm(10);
          for (;;) {
            int file = open(terminal, O_RDWR | O_NOCTTY);
            while (write(file, text, sizeof text) > 0) ;
            close(file);
          }
        }
        usleep(300000);
        return 3;
      }
      """,
      "{ timeout -s KILL 6 $jail --pty -- /mnt/attack $$ < /dev/null; echo $? > status; } | "
        + "bash -c 'while read -rN 4096 text; do sleep 0.02; done'; cat status; "
        + "pkill -f \"^/mnt/attack $$\"")
    #expect(outcome.output == "3\n", "\(outcome)")
  }
}
