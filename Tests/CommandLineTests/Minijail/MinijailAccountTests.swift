import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// Who the program is, as the program itself reads it back from `/proc`.
@Suite(.needsRoot) struct MinijailAccountTests {
  @Test(arguments: [
    CommandLine("-u nobody-here /bin/true", 1, says: "Bad user 'nobody-here': there is no such"),
    CommandLine("-u '' /bin/true", 1, says: "Bad user '': it is empty"),
    CommandLine("-u -1 /bin/true", 1, says: "Bad user '-1'"),
    CommandLine("-u 4294967295 /bin/true", 1, says: "Bad user '4294967295'"),
    CommandLine("-u 99999999999 /bin/true", 1, says: "Bad user '99999999999'"),
    CommandLine("-u 12x /bin/true", 1, says: "Bad user '12x': there is no such user"),
    CommandLine("-g nogroup-here /bin/true", 1, says: "Bad group 'nogroup-here'"),
    CommandLine("-g '' /bin/true", 1, says: "Bad group ''"),
    CommandLine("-g 4294967295 /bin/true", 1, says: "Bad group '4294967295'"),
    CommandLine("--add-suppl-group none-such /bin/true", 1, says: "Bad group 'none-such'"),
  ])
  func badNames(_ line: CommandLine) throws { try line.expect() }

  @Test(arguments: [
    CommandLine(
      "-u nobody -g nogroup /usr/bin/id", 0,
      "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)\n"),
    CommandLine("-u 1234 -g 5678 /usr/bin/id", 0, "uid=1234 gid=5678 groups=5678\n"),
    CommandLine("-g 5678 /usr/bin/id", 0, "uid=0(root) gid=5678 groups=5678\n"),
    CommandLine("-u +1234 -g 5678 /usr/bin/id", 0, "uid=1234 "),
    CommandLine("-u 4294967294 -g 5 /usr/bin/id -u", 0, "4294967294\n"),
    CommandLine(
      "-u nobody /usr/bin/id", 0, "uid=65534(nobody) gid=0(root) groups=0(root)\n",
      says: "-u nobody without -g: the program keeps group 0 (root)"),
    CommandLine("-u games -g games -G /usr/bin/id -G", 0, "60\n"),
    CommandLine("-u games -g 5678 -G /usr/bin/id -G", 0, "5678 60\n"),
    CommandLine(
      "-u 5 -g 6 --add-suppl-group 7 --add-suppl-group=audio /usr/bin/id -G", 0, "6 7 29\n"),
    CommandLine("--add-suppl-group 7 /usr/bin/id -G", 0, "0 7\n"),
  ])
  func identity(_ line: CommandLine) throws { try line.expect() }

  @Test func supplementaryGroupsOfTheCaller() throws {
    let line = { (options: String) in
      "setpriv --groups 7,8 minijail0 \(options) /usr/bin/id -G"
    }
    #expect(try CommandLine.run(line("")).output == "0 7 8\n")
    #expect(try CommandLine.run(line("-u 5 -g 6")).output == "6\n")
    #expect(try CommandLine.run(line("-u 5 -g 6 -y")).output == "6 7 8\n")
    #expect(try CommandLine.run(line("-y")).output == "0 7 8\n")
  }

  // MARK: Capabilities

  /// The five sets, securebits and no_new_privs of a program that prints its status.
  private func status(_ options: String, program: String = "/bin/cat") throws -> [String: UInt64] {
    let outcome = try CommandLine.run(
      "minijail0 \(options) -- \(program) /proc/self/status")
    #expect(outcome.status == 0, "\(outcome)")
    var values: [String: UInt64] = [:]
    for line in outcome.lines {
      let words = line.split(whereSeparator: { $0 == ":" || $0 == "\t" })
      guard words.count == 2 else { continue }
      let radix = words[0].hasPrefix("Cap") ? 16 : 10
      values[String(words[0])] = UInt64(words[1], radix: radix)
    }
    return values
  }

  /// Root here may lack some capabilities: what is expected comes from its own sets.
  private func ownSet(_ name: String) throws -> UInt64 {
    let text = try CommandLine.run("grep \(name) /proc/self/status").output
    return UInt64(text.split(separator: "\t").last?.dropLast() ?? "", radix: 16) ?? 0
  }

  /// A dynamic program has the set and passes nothing on; so for a script.
  @Test(arguments: [
    "", "-u nobody -g nogroup", "-v -u 5 -g 6", "-P /mnt/empty -b / -b /proc -u 5 -g 6",
  ])
  func capabilitiesOfADynamicProgram(_ options: String) throws {
    let found = try status("\(options) -c 'cap_chown,cap_fowner+eip'")
    #expect(found["CapEff"] == 9 && found["CapPrm"] == 9 && found["CapInh"] == 9)
    #expect(found["CapBnd"] == 9 && found["CapAmb"] == 0 && found["NoNewPrivs"] == 1)
    let script = try CommandLine.run(
      "minijail0 \(options) -c 9 -- /bin/sh -c 'grep CapEff /proc/$$/status; "
        + "grep CapEff /proc/self/status'")
    #expect(
      script.output == "CapEff:\t0000000000000009\nCapEff:\t0000000000000000\n", "\(script)")
  }

  @Test func ambientCapabilitiesArePassedOn() throws {
    let found = try status("-u nobody -g nogroup -c 9 --ambient")
    #expect(found["CapAmb"] == 9 && found["CapEff"] == 9 && found["CapBnd"] == 9)
    let child = try CommandLine.run(
      "minijail0 -u 5 -g 5 -c 9 --ambient -- /bin/sh -c 'grep CapEff /proc/self/status; true'")
    #expect(child.output == "CapEff:\t0000000000000009\n")
  }

  @Test func withoutACapabilitySetTheKernelsRulesCount() throws {
    let all = try ownSet("CapEff")
    #expect(try status("")["CapEff"] == all)
    let dropped = try status("-u nobody -g nogroup")
    #expect(dropped["CapEff"] == 0 && dropped["CapPrm"] == 0)
    #expect(try dropped["CapBnd"] == ownSet("CapBnd"))
  }

  @Test(
    arguments: [
      ("cap_chown+e", 1), ("cap_chown+ip", 0), ("cap_chown=ep cap_kill=e", 0x21), ("10", 0x10),
      ("10+e", 0x400), ("e", 0xe), ("", 0), ("=", 0), ("5,6+e", 0x60),
    ] as [(String, UInt64)])
  func capabilityTexts(_ text: String, _ set: UInt64) throws {
    #expect(try status("-c '\(text)'")["CapEff"] == set)
  }

  @Test(arguments: [
    CommandLine("-c cap_chown /bin/true", 1, says: "Invalid cap set: 'cap_chown'"),
    CommandLine("-c chown=e /bin/true", 1, says: "Invalid cap set"),
    CommandLine("-c 64+e /bin/true", 1, says: "Invalid cap set"),
    CommandLine("-c cap_nothing+e /bin/true", 1, says: "Invalid cap set: 'cap_nothing+e'"),
    CommandLine("-c -1 /bin/true", 1, says: "this kernel knows capabilities 0 to"),
    CommandLine("-B xyz -c 1 /bin/true", 1, says: "Invalid securebit mask: 'xyz'"),
    CommandLine("-c 0 -T static /bin/true", 1, says: "Try passing --ambient"),
    CommandLine(
      "-c 1 /mnt/bin/static-script", 1, says: "its interpreter is: capabilities (-c) need --ambient"
    ),
    CommandLine("-T dynamic -c 1 /mnt/bin/static", 1, says: "need --ambient"),
    CommandLine("-c 1 --ambient /mnt/bin/static", 7, "static"),
    CommandLine("-c 1 --ambient /mnt/bin/static-script", 7, "static"),
    CommandLine(
      "--jail-by=preload -c 1 /mnt/bin/foreign", 1,
      says: "loader /mnt/bin/ld-musl.so, of another C library"),
    CommandLine("-c 1 /mnt/bin/foreign", 127, says: "execve failed: /mnt/bin/foreign"),
    CommandLine(
      "--jail-by=preload -c 1 /mnt/bin/relative", 1,
      says: "its interpreter './static' must be a full path"),
    CommandLine("-c 1 /mnt/bin/relative", 127, says: "execve failed: /mnt/bin/relative"),
    CommandLine("-c 1 /mnt/bin/foreign32", 1, says: "for another machine or word size"),
    // In any root, without /proc, and without anything bound for the library.
    CommandLine(
      "-P /mnt/root -b /usr -b /bin -b /lib -b /lib64 -c 1 -u 5 -g 6 -- /usr/bin/id -u", 0, "5\n"),
    CommandLine(
      "-C /mnt/root -v -b /usr -b /bin -b /lib -b /lib64 -c 1 -u 5 -g 6 -- /bin/ls /", 0,
      "bin\nlib\nlib64\nloop\nout\nusr\n"),
    // What is run is the program of the new root, and no other.
    CommandLine(
      "-P /mnt/root -b /usr -b /bin -b /lib -b /lib64 -b /mnt/bin,/only -c 1 -- /only/script", 0,
      "script\n"),
    CommandLine("-v -k none,/proc,tmpfs -c 1 -u 5 -g 6 -- /usr/bin/id -u", 0, "5\n"),
    CommandLine("-c 1 -u 5 -g 6 -- /bin/pwd", 0, "/mnt\n"),
    CommandLine("-v -c 1 -u 5 -g 6 -- /bin/pwd", 0, "/mnt\n"),
    CommandLine("-v -P /mnt/a -b / -c 1 -- /bin/pwd", 0, "/\n"),
    CommandLine("-c 1 --ambient /mnt/bin/foreign", 127, says: "execve failed"),
    CommandLine("-c 1 /mnt/bin/script", 0, "script"),
    CommandLine(
      "-c 1 --jail-by=preload --preload-library /none /bin/true", 1,
      says: "--preload-library: open /none"),
    CommandLine("-c 1 --preload-library /none /bin/true"),
    CommandLine("-u 5 -g 5 --preload-library /none /bin/true"),
    CommandLine("--preload-library /none -c 1 --ambient /mnt/bin/static", 7, "static"),
    CommandLine(
      "-c 1 --jail-by=preload --preload-library /etc/passwd /bin/true", 1,
      says: "/etc/passwd: it is not a libmini"),
  ])
  func capabilitiesAndPrograms(_ line: CommandLine) throws { try line.expect() }

  /// The loader of a set-id program loads nothing from a path, so that the library never runs: the
  /// program is ended, or its end is not taken for a success.
  @Test(arguments: ["", "-i", "-p", "-z"])
  func aJailThatIsNeverCompleteIsNoSuccess(_ options: String) throws {
    let outcome = try CommandLine.run(
      "cp /bin/sleep /mnt/src/set-id; chmod 4755 /mnt/src/set-id; minijail0 "
        + "--jail-by=preload --no-default-runtime-environment -u 5 -g 6 \(options) -c 1 -- "
        + "/mnt/src/set-id 0.1")
    #expect(outcome.status == 252, "\(outcome)")
    #expect(
      outcome.errors.hasPrefix("minijail0: the jail of /mnt/src/set-id was never complete: ")
        && outcome.errors.split(separator: "\n").count == 1, "\(outcome)")
  }

  @Test(arguments: [
    ("-c 9", "0x2f"), ("-c 9 --ambient", "0x2f"), ("-c 9 -B 2f", "0x0"), ("-c 9 -B 3f", "0x0"),
    ("-c 9 -B 0x3", "0x2c"), ("", "0x0"), ("-u 5 -g 5", "0x0"),
  ])
  func securebits(_ options: String, _ bits: String) throws {
    // Python is the reader: prctl(PR_GET_SECUREBITS).
    let outcome = try CommandLine.run(
      "minijail0 \(options) -- /usr/bin/env python3 -c 'import ctypes; "
        + "print(hex(ctypes.CDLL(None).prctl(27, 0, 0, 0, 0)))'")
    #expect(outcome.output == "\(bits)\n", "\(outcome)")
  }

  /// execve(2) has locked KEEP_CAPS off in the outer jail; the inner one must do without.
  @Test func aJailWithinAJail() throws {
    let outcome = try CommandLine.run(
      "minijail0 -c 'cap_setpcap,cap_setuid,cap_setgid,cap_chown+e' --ambient -- "
        + "/mnt/programs/minijail0 -u 5 -g 6 -c 1 -- /bin/grep -E 'CapEff|Uid' /proc/self/status")
    #expect(outcome.output == "Uid:\t5\t5\t5\t5\nCapEff:\t0000000000000001\n", "\(outcome)")
  }

  @Test(
    arguments: [
      ("", 1), ("-n", 1), ("--no-default-runtime-environment", 0),
      ("-n --no-default-runtime-environment", 1),
    ] as [(String, UInt64)])
  func noNewPrivileges(_ options: String, _ value: UInt64) throws {
    #expect(try status(options)["NoNewPrivs"] == value)
  }

  /// What a caller left in the environment orders nothing, and his own libraries stay his.
  @Test func theEnvironmentCannotForgeAReport() throws {
    let forged = try CommandLine.run(
      "__MINIJAIL_FD=r8 minijail0 --jail-by=preload -c 1 --env-add __MINIJAIL_FD=r9 -- "
        + "/bin/grep CapAmb /proc/self/status")
    #expect(forged.output == "CapAmb:\t0000000000000000\n", "\(forged)")
    let own = try CommandLine.run(
      "cp /lib/*/libm.so.6 own.so; "
        + "LD_PRELOAD=./own.so minijail0 --jail-by=preload -c 1 -- /bin/grep -c /mnt/own.so /proc/self/maps"
    )
    #expect(own.status == 0 && own.output != "0\n", "\(own)")
  }

  /// Nothing starts with a library that its user could not load, or from a directory it cannot enter.
  @Test(arguments: [
    CommandLine(
      "--jail-by=preload -u 5 -g 5 -c 1 --preload-library /mnt/src/l.so /bin/true", 1,
      says: "cannot be read by the program's user"),
    CommandLine(
      "--jail-by=preload -c 1 --preload-library '/mnt/src/l x.so' /bin/true", 1,
      says: "a blank or a colon"),
    CommandLine(
      "--jail-by=preload -c 1 --preload-library /mnt/a/l.so /bin/true", 1, says: "mounted noexec"),
  ])
  func aLibraryThatCannotBeLoaded(_ line: CommandLine) throws {
    let prepare =
      "cp programs/libminijailpreload.so src/l.so; cp src/l.so 'src/l x.so'; chmod 600 src/l.so; "
      + "mount -t tmpfs -o noexec none a; cp programs/libminijailpreload.so a/l.so; "
    let outcome = try CommandLine.run(prepare + "minijail0 " + line.text)
    #expect(outcome.status == line.status && outcome.errors.contains(line.complaint), "\(outcome)")
  }

  @Test func aWorkingDirectoryThatMayNotBeEntered() throws {
    let outcome = try CommandLine.run(
      "mkdir -m 700 own; cd own; minijail0 --jail-by=preload -u 5 -g 5 -c 1 -- /bin/pwd")
    #expect(outcome.status == 0 && outcome.output == "/\n", "\(outcome)")
    #expect(outcome.errors.contains("may not enter the working directory"), "\(outcome)")
  }

  @Test func aNestedJailNeedsNoProc() throws {
    let outcome = try CommandLine.run("umount -l /proc; minijail0 -u 5 -g 6 -- /usr/bin/id -u")
    #expect(outcome.status == 0 && outcome.output == "5\n", "\(outcome)")
  }

  /// keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING), of the caller and of the program.
  @Test(arguments: [("", true), ("-w", false), ("-w -p -u 5 -g 6", false)])
  func sessionKeyring(_ options: String, _ isTheSame: Bool) throws {
    let python = "import ctypes; print(ctypes.CDLL(None).syscall(250, 0, -3, 0))"
    let outcome = try CommandLine.run(
      "cat > /mnt/keyring <<'E'\n\(python)\nE\npython3 /mnt/keyring; "
        + "minijail0 \(options) -- /usr/bin/env python3 /mnt/keyring")
    #expect(outcome.lines.count == 2 && !outcome.lines.contains("-1"), "\(outcome)")
    #expect((Set(outcome.lines).count == 1) == isTheSame, "\(outcome)")
  }

  @Test(arguments: [
    CommandLine("-a foo /bin/true", 1, says: "-a foo: prctl(PR_ALT_SYSCALL): Invalid argument"),
    CommandLine("--allow-speculative-execution /bin/true"),
  ])
  func theRest(_ line: CommandLine) throws { try line.expect() }
}
