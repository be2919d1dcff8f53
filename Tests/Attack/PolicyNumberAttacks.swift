import TestSupport
import Testing

/// A policy that lets a program make FIFOs, and nothing else, with mknod(2).
@Suite(.needsRoot, .tags(.attack)) struct PolicyNumberAttacks {
  /// Makes a character device or a FIFO, and says so.
  private static let program = """
    cat > make.c <<'END'
    #include <stdio.h>
    #include <string.h>
    #include <sys/stat.h>
    #include <sys/sysmacros.h>
    #include <sys/syscall.h>
    #include <fcntl.h>
    #include <unistd.h>
    int main(int count, char **words) {
      int device = !strcmp(words[1], "device");
      int mode = device ? S_IFCHR : S_IFIFO | 0600;
      int number = device ? makedev(1, 3) : 0;
    #ifdef SYS_mknod
      long result = syscall(SYS_mknod, words[2], mode, number);
    #else
      long result = syscall(SYS_mknodat, AT_FDCWD, words[2], mode, number);
    #endif
      if (result == 0) puts("made");
      return result != 0;
    }
    END
    cc -o make make.c || exit 90
    minijail0 --learn learned -- ./make fifo first >/dev/null || exit 91
    grep -v '^mknod' learned > policy
    grep -q '^mknod: ' learned && rule='mknod: arg1 in' || rule='mknodat: arg2 in'

    """

  /// What a jail with the rule `mknod: arg1 in NUMBER` lets the program make.
  private func outcome(_ number: String, _ compile: String, _ filter: String) throws -> Outcome {
    try CommandLine.run(
      Self.program + """
        echo "$rule \(number)" >> policy
        \(compile)
        minijail0 -n \(filter) -- ./make fifo queue; echo $?
        minijail0 -n \(filter) -- ./make device device; echo $?
        test -p queue && echo queue
        test -c device && echo device
        """)
  }

  private static let compileTool = (
    "seccomp-policy compile --dialect compile-tool policy -o filter", "--seccomp-bpf-binary filter"
  )

  @Test func refusesDeviceByOctalModeInCompileToolDialect() throws {
    let outcome = try outcome("010777", Self.compileTool.0, Self.compileTool.1)
    #expect(outcome.lines == ["made", "0", "253", "queue"], "\(outcome)")
  }

  @Test func refusesDeviceByOctalMode() throws {
    let outcome = try outcome("010777", "", "-S policy")
    #expect(outcome.lines == ["made", "0", "253", "queue"], "\(outcome)")
  }

  /// The control: the same digits as a decimal number allow the device and refuse the FIFO.
  @Test func makesDeviceWhereTheModeIsDecimal() throws {
    let outcome = try outcome("10777", Self.compileTool.0, Self.compileTool.1)
    #expect(outcome.lines == ["253", "made", "0", "device"], "\(outcome)")
  }
}
