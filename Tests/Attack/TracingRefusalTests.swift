import TestSupport
import Testing

/// Where the launcher cannot trace the program to its entry point: no program runs in half a jail.
@Suite(.needsRoot, .tags(.attack)) struct TracingRefusalTests {
  /// Runs a program behind a filter that answers ptrace(2) with an error, as one of a container does.
  private static let filter = """
    cat > filter.c <<'END'
    #include <linux/filter.h>
    #include <linux/seccomp.h>
    #include <stddef.h>
    #include <stdlib.h>
    #include <sys/prctl.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    int main(int count, char **words) {
      struct sock_filter list[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | atoi(words[1])),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
      struct sock_fprog program = {4, list};
      prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      if (count < 3 || prctl(PR_SET_SECCOMP, 2, &program) != 0) return 99;
      execvp(words[2], words + 2);
      return 98;
    }
    END
    cc -o filter filter.c && printf 'exit_group: 1\\nopen: 1\\npause: 1\\n' > p

    """

  /// EPERM and EACCES are what container managers answer, ENOSYS what some of them do instead.
  @Test(arguments: [1, 13, 38], [0, 1000]) func namesFilterThatForbidsPtrace(
    _ code: Int, _ user: Int
  ) throws {
    let outcome = try CommandLine.run(
      Self.filter
        + """
        as="" && [ \(user) = 0 ] || as="setpriv --reuid \(user) --regid \(user) --clear-groups"
        $as ./filter \(code) minijail0 -n -S p -- /bin/sh -c 'echo ran'; echo $?
        $as ./filter \(code) minijail0 -n --jail-by=preload -S p -- /bin/true; echo $?
        $as ./filter \(code) minijail0 -n --jail-by=preload --strict -S p -- /bin/true; echo $?
        $as ./filter \(code) minijail0 -n -- /bin/true; echo $?
        """)
    #expect(outcome.output == "1\n0\n1\n0\n", "\(outcome)")
    let lines = outcome.errors.split(separator: "\n")
    #expect(lines.count == 2, "\(outcome)")
    #expect(
      lines.first?.contains("a filter of system calls") == true
        && lines.first?.contains("forbids ptrace(2); --jail-by=preload") == true, "\(outcome)")
    #expect(lines.last?.contains("--strict") == true, "\(outcome)")
  }

  /// The tracer has the launcher too: strace -f, and a debugger that follows its children.
  @Test(arguments: ["", "-p", "-i", "-u nobody -g nogroup --fs-path-rx /"])
  func namesTracerThatIsThere(_ options: String) throws {
    let outcome = try CommandLine.run(
      "printf 'exit_group: 1\\n' > p; strace -f -o /dev/null minijail0 \(options) -n -S p -- "
        + "/bin/sh -c 'echo ran'; echo $?")
    #expect(outcome.output == "1\n", "\(outcome)")
    #expect(
      outcome.errors.split(separator: "\n").count == 1
        && outcome.errors.contains("traces it already; --jail-by=preload"), "\(outcome)")
  }

  /// Without CAP_SYS_PTRACE, its own children are traced all the same, and become another user's.
  @Test(arguments: ["", "-p", "--fs-path-rx /"])
  func needsNoCapabilityForItsOwnChildren(_ options: String) throws {
    let outcome = try CommandLine.run(
      """
      printf 'exit_group: 1\\n' > p
      setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace \\
        minijail0 \(options) -u nobody -g nogroup -n -S p -- /bin/true; echo $?
      """)
    #expect(outcome.output == "0\n" && outcome.errors.isEmpty, "\(outcome)")
  }

  #if arch(x86_64)
    /// Programs whose entry point is in the kernel, nowhere, above all addresses, or in what is not
    /// code. Without a jail the kernel starts each of them.
    @Test(arguments: [
      #"\0\0\0\201\377\377\377\377"#, #"\20\0\0\0\0\0\0\0"#, #"\0\0\0\0\0\0\0\200"#,
      #"\0\0\100\0\0\0\0\0"#, #"\0\360\377\377\377\177\0\0"#,
    ])
    func endsProgramWhoseEntryPointTakesNoBreakpoint(_ entry: String) throws {
      let outcome = try CommandLine.run(
        """
        printf 'exit_group: 1\\nopen: 1\\n' > p
        echo '__attribute__((constructor)) static void early(void) {} int main(void) {}' > t.c
        cc -no-pie -o t t.c
        printf '\(entry)' | dd of=t bs=1 seek=24 conv=notrunc status=none
        ./t; echo $?
        for options in "" -p; do minijail0 -n $options -S p -- ./t; echo $?; done
        """)
      let lines = outcome.lines
      #expect(lines.count == 3 && lines[0] == "139", "\(outcome)")
      #expect(lines.dropFirst().allSatisfy { $0 == "252" }, "\(outcome)")
      let complaints = outcome.errors.split(separator: "\n").filter { $0.contains("minijail0: ") }
      #expect(
        complaints.count == 2 && complaints.allSatisfy { $0.contains("was never complete") },
        "\(outcome)")
    }

    /// A loader of root's that never gets to the entry point.
    private static let stayingLoader = """
      cat > loader.c <<'END'
      void _start(void) { for (;;) __asm__ volatile("syscall" : : "a"(34) : "rcx", "r11", "memory"); }
      END
      cc -shared -fPIC -nostdlib -fno-stack-protector -Wl,-e,_start -o ld-linux-x86-64.so.2 \\
        loader.c
      echo 'int main(void) { return 0; }' > t.c
      # Its name is that of no other program, which a test beside this one may have.
      t=t$$
      cc -Wl,--dynamic-linker=/mnt/ld-linux-x86-64.so.2 -o $t t.c
      printf 'exit_group: 1\\nopen: 1\\npause: 1\\n' > p
      # The process that runs it, once there is one.
      program() {
        for try in $(seq 1000); do
          for file in /proc/[0-9]*/cmdline; do
            [ "$(tr '\\0' ' ' <$file 2>/dev/null)" != "./$t " ] || { echo $file | cut -d/ -f3; return; }
          done
        done
      }

      """

    @Test(arguments: ["", "-p", "-i"]) func endsLoaderThatNeverComesToTheEntryPoint(
      _ options: String
    ) throws {
      let outcome = try CommandLine.run(
        Self.stayingLoader
          + "minijail0 --start-timeout 1 \(options) -n -S p -- ./$t; echo $?\n"
          + "cat /proc/[0-9]*/comm 2>/dev/null | grep -x $t")
      #expect(outcome.output == "252\n", "\(outcome)")
      #expect(
        outcome.errors.split(separator: "\n").count == 1
          && outcome.errors.contains("not at its entry point within 1 s (--start-timeout)"),
        "\(outcome)")
    }

    /// The program, or the launcher, is killed while the loader runs: the other ends.
    @Test(arguments: ["", "-p"]) func endsWhenOneOfThemIsKilled(_ options: String) throws {
      let outcome = try CommandLine.run(
        Self.stayingLoader
          + """
          minijail0 --start-timeout 0 \(options) -n -S p -- ./$t & launcher=$!
          kill -9 $(program); wait $launcher; echo $?
          minijail0 --start-timeout 0 \(options) -n -S p -- ./$t & launcher=$!
          other=$(program); kill -9 $launcher; wait $launcher
          # What is dead waits for process 1 to take its status.
          gone() { ! grep -q '^State:.[^ZX]' /proc/$other/status 2>/dev/null; }
          for try in $(seq 1000); do gone && break; sleep 0.01; done
          gone || echo left; echo done
          """)
      #expect(outcome.lines.last == "done" && !outcome.output.contains("left"), "\(outcome)")
      #expect(outcome.lines.first != "0", "\(outcome)")
    }
  #endif
}
