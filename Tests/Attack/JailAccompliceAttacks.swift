import TestSupport
import Testing

/// Attacks on the start of a jail by another process of the program's user, and by a program of the
/// launcher's user: on the memory and the descriptors of the program, and on the time that it gets.
@Suite(.needsRoot, .tags(.attack)) struct JailAccompliceAttacks {
  /// The program tells where the launcher will map memory, waits for the accomplice, and says what it
  /// can do. As `naive` it has no jail: it loads a filter, or restricts itself by rules, of its own.
  private static let program = """
    #define _GNU_SOURCE
    #include <errno.h>
    #include <fcntl.h>
    #include <linux/filter.h>
    #include <linux/landlock.h>
    #include <linux/seccomp.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <sys/prctl.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    static void attempt(void) {
      char text[100];
      int made = mkdir("/mnt/user/made", 0700) == 0;
      int read = open("/mnt/src/file", O_RDONLY) >= 0;
      write(1, text, snprintf(text, sizeof text, "mkdir %s, file %s\\n", made ? "made" : "denied",
        read ? "read" : "denied"));
      rmdir("/mnt/user/made");
    }
    static char *page;
    static void tell(void) {
      char text[100];
      page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      munmap(page, 4096);
      write(3, text, snprintf(text, sizeof text, "%d %lx\\n", getpid(), (long)page));
      while (read(0, text, 1) < 0) ;
    }
    static void early(int count, char **words) {
      if (count > 1 && !strcmp(words[1], "tells")) tell();
    }
    __attribute__((section(".preinit_array"), used))
    static void (*const first[])(int, char **) = {early};
    static void naive_filter(void) {
      tell();
      struct sock_filter deny[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
      mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
      memcpy(page + 256, deny, sizeof deny);
      while (*(volatile uint16_t *)(page + 256) != (BPF_RET | BPF_K)) ;
      struct sock_fprog filter = {4, (struct sock_filter *)(page + 256)};
      prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
      attempt();
    }
    static void naive_rules(void) {
      struct landlock_ruleset_attr handled = {LANDLOCK_ACCESS_FS_READ_FILE};
      int rules = syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
      tell();
      prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      syscall(SYS_landlock_restrict_self, rules, 0);
      attempt();
    }
    int main(int count, char **words) {
      if (count > 1 && !strcmp(words[1], "naive-filter")) naive_filter();
      else if (count > 1 && !strcmp(words[1], "naive-rules")) naive_rules();
      else attempt();
      return 0;
    }
    """

  /// `memory PLACES GO` writes a filter that allows everything over the memory of the program, as fast
  /// as it can; `rules PLACES GO` takes each of its descriptors, and adds a rule to each set of rules.
  /// `stop` stops each process that is about to be the program.
  private static let accomplice = """
    #define _GNU_SOURCE
    #include <fcntl.h>
    #include <linux/filter.h>
    #include <linux/landlock.h>
    #include <linux/seccomp.h>
    #include <signal.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    static void let_go(const char *fifo) {
      int file = open(fifo, O_WRONLY);
      write(file, "g", 1);
      close(file);
    }
    static int text_of(const char *path, char *text, int size) {
      int file = open(path, O_RDONLY), length = file < 0 ? 0 : read(file, text, size - 1);
      close(file);
      text[length > 0 ? length : 0] = 0;
      return length;
    }
    static void stop(void) {
      char path[100], text[100];
      for (;;) {
        if (text_of("launcher", text, sizeof text) < 1) continue;
        snprintf(path, sizeof path, "/proc/%d/task/%d/children", atoi(text), atoi(text));
        if (text_of(path, text, sizeof text) < 1) continue;
        int child = atoi(text);
        snprintf(path, sizeof path, "/proc/%d/comm", child);
        text_of(path, text, sizeof text);
        if (strcmp(text, "minijail0\\n") || kill(child, SIGSTOP)) continue;
        write(1, "stopped\\n", 8);
        // The program itself may be stopped by its user: that is no attack on its start.
        text_of(path, text, sizeof text);
        if (strcmp(text, "minijail0\\n")) kill(child, SIGCONT);
      }
    }
    int main(int count, char **words) {
      alarm(60);
      if (!strcmp(words[1], "stop")) stop();
      int process;
      long place;
      FILE *places = fopen(words[2], "r");
      while (fscanf(places, "%d %lx", &process, &place) != 2) rewind(places);
      char path[100];
      snprintf(path, sizeof path, "/proc/%d/mem", process);
      int memory = open(path, O_RDWR), handle = syscall(SYS_pidfd_open, process, 0);
      int root = open("/", O_PATH), ready[2];
      if (memory < 0 || handle < 0) return perror("accomplice"), 1;
      struct sock_filter allow[300];
      for (int i = 0; i < 300; i++)
        allow[i] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
      struct landlock_path_beneath_attr everything = {LANDLOCK_ACCESS_FS_READ_FILE, root};
      int is_free[4];
      for (int i = 0; i < 4; i++) is_free[i] = pread(memory, path, 1, place + (i - 1) * 4096) != 1;
      pipe(ready);
      if (fork() == 0) { read(ready[0], path, 1); let_go(words[3]); _exit(0); }
      for (long round = 0; kill(process, 0) == 0; round++) {
        if (!strcmp(words[1], "memory"))
          for (int i = 0; i < 4; i++)
            if (is_free[i]) pwrite(memory, allow, sizeof allow, place + (i - 1) * 4096 + 256);
        for (int number = 3; number < 12 && !strcmp(words[1], "rules"); number++) {
          int taken = syscall(SYS_pidfd_getfd, handle, number, 0);
          if (taken < 0) continue;
          syscall(SYS_landlock_add_rule, taken, LANDLOCK_RULE_PATH_BENEATH, &everything, 0);
          close(taken);
        }
        if (round == 10) write(ready[1], "g", 1);
      }
      return 0;
    }
    """

  private static let policy =
    "{read, write, pread64, close, openat, fstat, newfstatat, exit, exit_group, brk, mmap, munmap, "
    + "mprotect, rmdir, getrandom, lseek, restart_syscall, futex, clock_nanosleep, getpid, gettid, kill, getppid, pause, clone, "
    + "clone3, rseq, set_robust_list, madvise, rt_sigprocmask, rt_sigaction}: 1\\nmkdir: return 1\\n"

  private static let files =
    "--fs-path-rw /mnt/user --fs-path-rx /usr --fs-path-rx /lib --fs-path-rx /lib64 "
    + "--fs-path-rx /mnt/attack"

  private func run(_ script: String, program: String = Self.program) throws -> Outcome {
    try CommandLine.run(
      """
      printf '\(Self.policy)' > policy
      cat > attack.c <<'END'
      \(program)
      END
      cat > accomplice.c <<'END'
      \(Self.accomplice)
      END
      cc -w -o attack attack.c -pthread && cc -w -o accomplice accomplice.c || exit 99
      chmod 755 attack accomplice; mkfifo -m 666 go
      chown 65534:65534 user
      nobody="setpriv --reuid 65534 --regid 65534 --clear-groups"
      jail="minijail0 -u nobody -g nogroup -n"
      \(script)
      """)
  }

  /// Ten starts beside an accomplice that changes the memory, or takes the descriptors, of the program.
  private func starts(_ kind: String, _ command: String, count: Int = 10) throws -> Outcome {
    try run(
      """
      for i in $(seq \(count)); do
        : > places; chmod 666 places
        nice -n -20 $nobody ./accomplice \(kind) places go & accomplice=$!
        timeout -s KILL 20 \(command) <> go 3>> places
        case $? in 0|252) echo end;; esac
        wait $accomplice
      done
      """)
  }

  @Test(arguments: [
    ("memory", "-S policy"),
    ("memory", "-S policy \(JailAccompliceAttacks.files)"),
  ])
  func otherProcessChangesNoFilter(_ kind: String, _ options: String) throws {
    let outcome = try starts(kind, "$jail \(options) -- /mnt/attack tells")
    #expect(outcome.lines.count(where: { $0 == "end" }) == 10, "\(outcome)")
    #expect(!outcome.output.contains("made"), "\(outcome)")
    #expect(!outcome.errors.contains("accomplice"), "\(outcome)")
  }

  @Test(arguments: ["", "-S policy"])
  func otherProcessAddsNoRules(_ options: String) throws {
    let outcome = try starts(
      "rules", "$jail \(options) \(Self.files) -- /mnt/attack tells")
    #expect(outcome.lines.count(where: { $0 == "end" }) == 10, "\(outcome)")
    #expect(outcome.output.contains("file denied"), "\(outcome)")
    #expect(!outcome.output.contains("file read"), "\(outcome)")
    #expect(!outcome.errors.contains("accomplice"), "\(outcome)")
  }

  /// The controls: a program that restricts itself, while it waits, is attacked with success.
  @Test(arguments: [("memory", "mkdir made"), ("rules", "file read")])
  func otherProcessChangesNaiveProgram(_ kind: String, _ text: String) throws {
    let naive = kind == "memory" ? "naive-filter" : "naive-rules"
    let outcome = try starts(kind, "$nobody ./attack \(naive)", count: 1)
    #expect(outcome.output.contains(text), "\(outcome)")
    // Without an accomplice it is restricted.
    let alone = try run("$nobody ./attack naive-rules < /dev/null 3> places")
    #expect(alone.output.contains("file denied"), "\(alone)")
  }

  private static let stopKey = """
    #define _GNU_SOURCE
    #include <pthread.h>
    #include <signal.h>
    #include <stdio.h>
    #include <string.h>
    #include <unistd.h>
    static void *thread(void *nothing) { for (;;) { write(1, "runs\\n", 5); usleep(100000); } }
    static void early(int count, char **words) {
      pthread_t other;
      if (count > 1 && !strcmp(words[1], "stays")) {
        pthread_create(&other, 0, thread, 0);
        usleep(200000);
      }
      kill(getppid(), SIGTSTP);
      while (count > 1 && !strcmp(words[1], "stays")) pause();
    }
    __attribute__((section(".preinit_array"), used))
    static void (*const first[])(int, char **) = {early};
    int main(void) { puts("main"); return 0; }
    """

  /// A program of the launcher's user sends what the terminal's stop key sends.
  @Test func stopKeyDelaysNoDeadline() throws {
    let outcome = try run(
      """
      timeout -s KILL 10 minijail0 --start-timeout 1 -n -S policy -- /mnt/attack stays $$ > log
      echo $?; pgrep -fc "^/mnt/attack stays $$"
      """, program: Self.stopKey)
    #expect(outcome.output == "252\n0\n", "\(outcome)")
  }

  /// The launcher stops all the same, with the program, when the jail is complete.
  @Test func stopKeyStopsCompleteJail() throws {
    let outcome = try run(
      """
      minijail0 -n -S policy -- /mnt/attack > log & launcher=$!
      until grep -q '^State:.T' /proc/$launcher/status; do
        kill -0 $launcher || exit 9
      done
      wc -c < log; kill -CONT $launcher; wait $launcher; echo $?; cat log
      """, program: Self.stopKey)
    #expect(outcome.output == "0\n0\nmain\n", "\(outcome)")
  }

  /// Another process of the program's user stops what has its id, and is not the program yet: the start
  /// goes on, or ends in time.
  @Test(arguments: ["-S policy", JailAccompliceAttacks.files])
  func stoppedSetUpDelaysNoDeadline(_ options: String) throws {
    let outcome = try run(
      """
      start() { timeout -s KILL 15 sh -c 'echo $$ > launcher; exec "$@" > log' sh $jail "$@"; }
      $nobody ./accomplice stop > stopped & accomplice=$!
      for i in $(seq 5); do
        start --start-timeout 1 \(options) -- /mnt/attack
        case $? in 0|252) echo in-time;; esac
      done
      kill $accomplice; test -s stopped && echo stopped
      """, program: Self.stopKey)
    #expect(
      outcome.output == String(repeating: "in-time\n", count: 5) + "stopped\n", "\(outcome)")
  }
}
