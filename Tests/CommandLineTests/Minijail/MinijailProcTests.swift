import TestSupport
import Testing

/// The new `/proc` of -p and -r comes below what the command line mounts on it and in it.
@Suite(.needsRoot) struct MinijailProcTests {
  private static let masks = "echo masked > mask; chmod 644 mask; "

  /// Without the warning that this machine has no /dev/log.
  private func complaints(_ outcome: Outcome) -> [String] {
    outcome.complaints.filter { !$0.contains("/dev/log") }
  }

  @Test(arguments: [
    "-v -p -b /mnt/mask,/proc/cpuinfo", "-v -r -b /mnt/mask,/proc/cpuinfo",
    "-v -p -r -I -b /mnt/mask,/proc/cpuinfo",
    "-P /mnt/root -b / -b /proc -p -r -b /mnt/mask,/proc/cpuinfo",
    "--profile=minimalistic-mountns -b /mnt/mask,/proc/cpuinfo",
    "--profile=minimalistic-mountns -T static -b /mnt/mask,/proc/cpuinfo",
  ])
  func mountInProcWins(_ options: String) throws {
    let outcome = try CommandLine.run(
      Self.masks + "minijail0 \(options) -- /bin/cat /proc/cpuinfo")
    #expect(outcome.output == "masked\n" && complaints(outcome).isEmpty, "\(outcome)")
  }

  @Test func profileShowsFileOfHostsProc() throws {
    let outcome = try CommandLine.run(
      "minijail0 --profile=minimalistic-mountns -b /proc/cpuinfo -- /usr/bin/head -1 /proc/cpuinfo")
    #expect(outcome.status == 0 && !outcome.output.isEmpty, "\(outcome)")
  }

  @Test(arguments: ["-p", "-r -p", "-p -r -I", "-p -r -I --profile=minimalistic-mountns"])
  func writableProcOfCommandLineStaysWritable(_ options: String) throws {
    let outcome = try CommandLine.run(
      "minijail0 \(options) -k 'proc,/proc,proc,MS_NOSUID|MS_NODEV|MS_NOEXEC' -- "
        + "/bin/grep ' /proc ' /proc/self/mountinfo | tail -1")
    #expect(outcome.output.contains(" /proc rw,nosuid,nodev,noexec"), "\(outcome)")
  }

  /// A tmpfs hides a part of /proc, in front of the new one.
  @Test func tmpfsHidesPartOfNewProc() throws {
    let outcome = try CommandLine.run(
      "minijail0 --profile=minimalistic-mountns -k tmpfs,/proc/sys,tmpfs -- /bin/ls /proc/sys")
    #expect(outcome.status == 0 && outcome.output.isEmpty, "\(outcome)")
    #expect(complaints(outcome).isEmpty, "\(outcome)")
  }

  /// The outer jail of a current service: the inner one writes its maps of ids.
  @Test func nestedJailWritesItsMaps() throws {
    let outcome = try CommandLine.run(
      "minijail0 -p -r -I --profile=minimalistic-mountns --no-fs-restrictions "
        + "-k 'proc,/proc,proc,MS_NOSUID|MS_NODEV|MS_NOEXEC' -b /mnt/programs,/mnt -- "
        + "/mnt/minijail0 -U -v -M'0 20106 1' -m'0 20106 1' -T static -- /usr/bin/id -u")
    #expect(outcome.output == "0\n" && outcome.status == 0, "\(outcome)")
  }

  @Test func mapsAreShownAsTheyWereTyped() throws {
    let outcome = try CommandLine.run(
      "minijail0 -p -v -- /mnt/programs/minijail0 -m'0 20106 1,20177 20177 1' -M -- /bin/true")
    #expect(outcome.status == 1, "\(outcome)")
    #expect(outcome.errors.contains("-m '0 20106 1,20177 20177 1'"), "\(outcome)")
  }

  // MARK: Propagation as it is

  /// What `-K` does where all mounts propagate so, and whether the caller's mount table is as before.
  private static func leavePropagation(_ kind: String, _ options: String) throws -> Outcome {
    try CommandLine.run(
      "mount --make-\(kind) /; before=$(cat /proc/self/mountinfo); "
        + "minijail0 -v -K \(options) -- /bin/echo ran; echo $?; "
        + "test \"$before\" = \"$(cat /proc/self/mountinfo)\" && echo unchanged")
  }

  @Test(arguments: ["-p", "-r", "-d", "-e -p -l", "--profile minimalistic-mountns"])
  func unchangedPropagationStartsWherePrivate(_ options: String) throws {
    let outcome = try Self.leavePropagation("rprivate", options)
    #expect(outcome.lines == ["ran", "0", "unchanged"], "\(outcome)")
    #expect(complaints(outcome).isEmpty, "\(outcome)")
  }

  @Test(arguments: ["-p", "-r", "-d", "--explain -p", "--profile minimalistic-mountns"])
  func unchangedPropagationIsRefusedWhereShared(_ options: String) throws {
    let outcome = try Self.leavePropagation("rshared", options)
    #expect(outcome.lines == ["1", "unchanged"], "\(outcome)")
    #expect(outcome.errors.contains("is shared with the caller's namespace"), "\(outcome)")
  }

  @Test func hiddenSourceIsExplained() throws {
    let outcome = try CommandLine.run(
      "minijail0 -v -k tmpfs,/run,tmpfs "
        + "-k '/run/daemon-store/x,/run/daemon-store/x,none,MS_BIND|MS_REC' -- /bin/true")
    #expect(outcome.status == 251, "\(outcome)")
    #expect(
      outcome.errors.contains(
        "the new file system on /run hides it, since there is no new root: use -P or a profile, or "
          + "--daemon-store x"), "\(outcome)")
  }
}
