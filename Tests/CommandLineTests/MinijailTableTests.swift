import CLinux
import Glibc
import Testing

/// The built program, each case in a mount namespace of its own, so that a mistake stays there.
@Suite(.enabled(if: geteuid() == 0, "only root may make mount namespaces"))
struct MinijailTableTests {
  struct Case: CustomTestStringConvertible, Sendable {
    let words: [String]
    let status: Int32
    /// What standard error or standard output contains; empty for: nothing is on standard error.
    let text: String
    var testDescription: String { words.joined(separator: " ") }

    init(_ words: [String], _ status: Int32, _ text: String = "") {
      self.words = words
      self.status = status
      self.text = text
    }
  }

  static let usage: [Case] = [
    Case([], 1, "no program"),
    Case(["-h"], 0), Case(["--help"], 0), Case(["-H"], 0),
    Case(["-q", "/bin/true"], 1, "invalid option -- 'q'"),
    Case(["true"], 1, "Target program 'true' is not accessible"),
    Case([""], 1, "Target program '' is not accessible"),
    Case(["-u", "0", "/bin/true"], 1, "minijail0: useless change to uid 0"),
    Case(["-u", "-1", "/bin/true"], 1, "Bad user"),
    Case(["-u", "1234", "-G", "/bin/true"], 1, "without a user name"),
    Case(["-c", "0", "-T", "static", "/bin/true"], 1, "--ambient"),
    Case(["-c", "cap_chown", "/bin/true"], 1, "Invalid cap set: 'cap_chown'"),
    Case(["-b", "/etc", "/bin/true"], 1, "Bind mounts require"),
    Case(["-K", "/bin/true"], 1, "No need to set mount propagation"),
    Case(["-p", "-K", "/bin/true"], 1, "No need to set mount propagation"),
    Case(
      ["-k", "none,/mnt,tmpfs,MS_NODEV | MS_NOEXEC", "/bin/true"], 1, "Bad mount flags: MS_NODEV"),
    Case(["--profile=x", "/bin/true"], 1, "Unrecognized profile name 'x'"),
    Case(["-S", "policy", "/bin/true"], 1, "-S is not supported by this version"),
    Case(["-k", "none,/usr,tmpfs", "/usr/bin/true"], 1, "is not accessible"),
    Case(["--daemon-store", "../x", "/bin/true"], 1, "Bad daemon store"),
    Case(["-p", "--no-new-sessions", "/bin/true"], 1, "setsid"),
  ]

  static let running: [Case] = [
    Case(["/bin/true"], 0),
    Case(["-T", "static", "/nonexistent"], 127, "execve failed: /nonexistent"),
    Case(["/tmp"], 126, "execve failed: /tmp: Permission denied"),
    Case(["-T", "static", "/dev/null"], 126, "execve failed"),
    Case(["--logging=stderr", "--", "/bin/sh", "-c", "exit 42"], 42, "exited with status 42"),
    Case(["--logging=stderr", "--", "/bin/sh", "-c", "kill -9 $$"], 137, "received signal 9"),
    Case(["--logging=stderr", "--", "/bin/sh", "-c", "kill -SYS $$"], 253, "(NO-LABEL)"),
    Case(["--logging=stderr", "-p", "--", "/bin/sh", "-c", "kill -9 $$"], 254, "SIGKILL"),
    Case(["-p", "--", "/bin/sh", "-c", "sleep 0.3 & exit 3"], 3),
    Case(["-i", "/bin/false"], 0),
    Case(
      ["-u", "nobody", "-g", "nogroup", "/usr/bin/id"], 0, "uid=65534(nobody) gid=65534(nogroup)"),
    Case(["-u", "nobody", "/usr/bin/id"], 0, "keeps group 0"),
    Case(["-T", "dynamic", "-u", "nobody", "/usr/bin/id"], 0, "uid=65534"),
    Case(["--uts=aaa", "--uts=bbb", "/bin/uname", "-n"], 0, "aaa"),
    Case(["-p", "--", "/bin/sh", "-c", "echo pid $$"], 0, "pid 2"),
    Case(["-I", "--", "/bin/sh", "-c", "echo pid $$"], 0, "pid 1"),
    Case(
      ["-I", "-r", "--", "/bin/grep", " /proc ", "/proc/self/mountinfo"], 0,
      "ro,nosuid,nodev,noexec"),
    Case(
      ["-c", "9", "--", "/bin/grep", "Cap", "/proc/self/status"], 0, "CapAmb:\t0000000000000009"),
    Case(["--", "/bin/grep", "NoNewPrivs", "/proc/self/status"], 0, "NoNewPrivs:\t1"),
    Case(["-f", "/none/pid", "/bin/true"], 1, "-f /none/pid"),
    Case(["-e/none", "/bin/true"], 1, "-e/none"),
    Case(["--daemon-store", "absent", "/bin/true"], 1, "run `daemon-store startup`"),
  ]

  static let mounting: [Case] = [
    Case(["-v", "-b", "/missing,/mnt/new", "/bin/true"], 251, "open /missing: No such file"),
    Case(["-v", "-b", "/missing,/mnt/a", "-b", "/etc,/mnt/b", "/bin/true"], 251, "/missing"),
    Case(
      ["-v", "-k", "none,/mnt/s,tmpfs", "-b", "/mnt/s/a,/mnt/s/b", "/bin/true"], 251,
      "open /mnt/s/a"),
    Case(
      ["-k", "/mnt/src,/mnt/a,none,MS_BIND|MS_RDONLY", "--", "/bin/touch", "/mnt/a/x"], 1,
      "Read-only file system"),
    Case(["-v", "-b", "/mnt/src,/mnt/a", "--", "/bin/touch", "/mnt/a/x"], 1, "Read-only"),
    Case(["-v", "-b", "/mnt/src,/mnt/a,1", "--", "/bin/touch", "/mnt/a/x"], 0),
    // A link on the way stays inside the new root.
    Case(
      ["-P", "/mnt/root", "-b", "/usr", "-b", "/lib", "-b", "/lib64", "-b", "/bin"]
        + ["-b", "/mnt/src,/out/inside", "--", "/bin/ls", "/nowhere-outside"], 0, "inside"),
    Case(["-P", "/mnt/root", "-b", "/mnt/src,/loop/x", "-T", "static", "/x"], 251, "ELOOP"),
    Case(["-P", "/mnt/root", "-r", "-T", "static", "/x"], 1, "new /proc"),
    Case(
      ["--profile=minimalistic-mountns-nodev", "--", "/bin/cat", "/proc/self/mountinfo"], 0,
      "/ / ro,"),
    Case(["-t", "--", "/bin/grep", " /tmp ", "/proc/self/mountinfo"], 0, "size=65536k"),
    Case(["-d", "--", "/bin/ls", "/dev"], 0, "urandom"),
    Case(["-d", "-v", "-b", "/mnt/src,/dev/x", "--", "/bin/ls", "/dev"], 0, "\nx\n"),
  ]

  @Test(arguments: usage) func refuses(_ run: Case) throws { try expect(run) }
  @Test(arguments: running) func runs(_ run: Case) throws { try expect(run) }
  @Test(arguments: mounting) func mounts(_ run: Case) throws { try expect(run) }

  private func expect(_ run: Case) throws {
    let (status, output) = try Self.run(run.words)
    #expect(status == run.status, "\(output)")
    #expect(output.contains(run.text), "\(output)")
  }

  /// What `--explain` predicts is what the program sees.
  @Test(arguments: [
    ["-v"], ["-p", "-d", "-t"], ["-P", "/mnt/empty", "-b", "/", "-b", "/proc", "-b", "/usr", "-r"],
    ["--profile=minimalistic-mountns"], ["-k", "/,/mnt/a,none,MS_BIND|MS_REC|MS_NOSUID"],
  ])
  func explanationComesTrue(_ words: [String]) throws {
    let program = ["--", "/bin/cat", "/proc/self/mountinfo"]
    let (explained, explanation) = try Self.run(["--explain"] + words + program)
    let (ran, table) = try Self.run(words + program)
    #expect(explained == 0 && ran == 0, "\(explanation)\(table)")
    let predicted = explanation.split(separator: "\n").drop { $0 != "mounts:" }.dropFirst()
      .map { line in line.split(separator: " ").prefix(3).joined(separator: " ") }
    let seen = table.split(separator: "\n").filter { !$0.hasPrefix("minijail0:") }.map { line in
      let fields = line.split(separator: " ")
      let type = fields.drop { $0 != "-" }.dropFirst().first ?? ""
      return "\(fields[4]) \(type) \(fields[5])"
    }
    #expect(predicted.sorted() == seen.sorted())
    #expect(!seen.isEmpty)
  }

  // MARK: Running it

  private static var program: String {
    let directory =
      getenv("DAEMON_STORE_BUILD").map { String(cString: $0) }
      ?? "\(#filePath)".split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" }
      + "/.build/release"
    return directory + "/minijail0"
  }

  /// In its own tree: a tmpfs on /mnt with a few things to mount and to be led astray by.
  private static func run(_ words: [String]) throws -> (status: Int32, output: String) {
    let script = """
      mount -t tmpfs none /var && mount -t tmpfs none /mnt && cd /mnt && mkdir src a s empty root &&
      ln -s /nowhere-outside root/out && ln -s loop root/loop && exec "$0" "$@"
      """
    let arguments =
      ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, program] + words
    var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) }
    pointers.append(nil)
    defer { for pointer in pointers { free(pointer) } }
    var ends: [CInt] = [-1, -1]
    try #require(linux_pipe(&ends) == 0)
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2)
    var process: pid_t = 0
    let code = posix_spawnp(&process, "unshare", &actions, nil, pointers, nil)
    close(ends[1])
    defer { close(ends[0]) }
    try #require(code == 0)
    var output: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = read(ends[0], &buffer, buffer.count)
      guard count > 0 else { break }
      output += buffer[..<count]
    }
    var status: CInt = 0
    try #require(waitpid(process, &status, 0) == process)
    // The macros of wait(2): the low byte is 0 for an exit.
    #expect(status & 0x7f == 0, "killed by a signal")
    return (status >> 8, String(decoding: output, as: UTF8.self))
  }
}
