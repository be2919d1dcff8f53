import DaemonStoreKernel
import Testing

@testable import Jail

@Suite struct PlanTests {
  private func steps(_ words: [String]) throws -> [String] {
    try JailPlan(try CommandLineParserTests.parse(words).configuration).stepDescriptions
  }

  @Test func aStoreDaemonWithTheUsersDataTakenOut() throws {
    #expect(
      try steps(["-u", "biod", "-g", "biod", "--daemon-store", "biod", "-l", "--", "/usr/bin/biod"])
        == [
          "if there is a terminal, start a new session",
          "enter a new mnt namespace",
          "make all mounts slaves, set aside the daemon stores biod, and make the rest private",
          "enter a new ipc namespace",
          "find the mounts of users' data",
          "take mounts of users' data out of the jail",
          "show the daemon stores below /run/daemon-store and /run/daemon-store-cache",
          "close every descriptor that the program is not to have",
          "set the supplementary groups: none",
          "become group 283 (biod)",
          "become user 282 (biod)",
          "set no_new_privs",
          "prepare what the program starts with",
          "execute the program",
        ])
  }

  @Test func theStoreCommandLineOfServiceFiles() throws {
    #expect(
      try steps([
        "-v", "-Kslave", "--profile=minimalistic-mountns",
        "-k", "tmpfs,/run,tmpfs,MS_NOSUID|MS_NODEV|MS_NOEXEC,mode=755,size=10M",
        "-k", "/run/daemon-store/biod,/run/daemon-store/biod,none,MS_BIND|MS_REC",
        "-u", "biod", "-g", "biod", "/usr/bin/biod",
      ]) == [
        "if there is a terminal, start a new session",
        "enter a new mnt namespace",
        "make all mounts slave",
        "make a new /proc, read-only",
        "build a minimal /dev",
        "bind / on /, read-only",
        "bind /dev/log on /dev/log, read-only",
        "mount tmpfs on /run, type tmpfs, MS_NOSUID|MS_NODEV|MS_NOEXEC, mode=755,size=10M",
        "bind /run/daemon-store/biod on /run/daemon-store/biod, MS_BIND|MS_REC",
        "replace /var/empty/proc by the new one",
        "bind /var/empty on itself unless it is the root of a mount",
        "show the minimal /dev on /var/empty/dev",
        "make /var/empty the root, and detach the old one",
        "mount a tmpfs of 67108864 bytes on /tmp",
        "close every descriptor that the program is not to have",
        "prepare the rules for files: / rx, /dev/log rx, /run rx, /run advanced-rw, "
          + "/run/daemon-store/biod rx, /run/daemon-store/biod advanced-rw, /lib rx, /lib64 rx, "
          + "/usr/lib rx, /usr/lib64 rx, /bin rx, /sbin rx, /usr/sbin rx, /usr/bin rx, "
          + "/etc/group ro, /etc/passwd ro, /dev edit, /proc ro, /tmp rw",
        "set the supplementary groups: none",
        "become group 283 (biod)",
        "become user 282 (biod)",
        "set no_new_privs",
        "allow only what the rules for files allow",
        "prepare what the program starts with",
        "execute the program",
      ])
  }

  @Test func capabilitiesAreInForceBeforeTheProgram() throws {
    #expect(
      try steps(["-u", "biod", "-g", "biod", "-p", "-c", "cap_chown,cap_fowner+eip", "/p"]).suffix(
        9)
        == [
          "become group 283 (biod)",
          "become user 282 (biod)",
          "limit the permitted, effective, inheritable and bounding capabilities to "
            + "cap_chown,cap_fowner",
          "raise the ambient capabilities cap_chown,cap_fowner",
          "set no_new_privs",
          "fork: this process stays as init, its child goes on",
          "let the launcher complete the jail at the program's entry point",
          "prepare what the program starts with",
          "execute the program",
        ])
  }

  @Test func whatComesBeforeTheIdentityAndAfterIt() throws {
    #expect(
      try steps([
        "-V", "/ns", "-v", "-c", "1", "-u", "biod", "-R", "RLIMIT_CPU,1,2", "--fs-path-ro", "/x",
        "-a", "t", "-m", "-M", "/p",
      ]) == [
        "become group 283 and user 282 of the new user namespace",
        "if there is a terminal, start a new session",
        "enter the mount namespace of /ns",
        "enter a new mnt namespace",
        "make all mounts slave",
        "make a new /proc, read-only",
        "replace /proc by the new one",
        "close every descriptor that the program is not to have",
        "look at how the program is linked",
        "prepare the rules for files: /x ro",
        "set the limits: RLIMIT_CPU 1 2",
        "set the securebits 0x3f",
        "set the supplementary groups: none",
        "become group 283",
        "become user 282 (biod)",
        "limit the permitted, effective, inheritable and bounding capabilities to cap_chown",
        "raise the ambient capabilities cap_chown",
        "set no_new_privs",
        "allow only what the rules for files allow",
        "take the system call table t",
        "fork: this process stays as init, its child goes on",
        "let the launcher complete the jail at the program's entry point",
        "prepare what the program starts with",
        "execute the program",
      ])
  }

  /// Only what cannot be done before is left for later, and the library is opened only if it is to do
  /// that.
  @Test func completesJailOnlyWhereSomethingIsLeft() throws {
    let library = "open the library that finishes the jail inside a dynamic program"
    let text = "let the launcher complete the jail at the program's entry point"
    #expect(try steps(["-c", "1", "/p"]).contains(text))
    #expect(try !steps(["-c", "1", "/p"]).contains(library))
    #expect(try steps(["-c", "1", "--jail-by=preload", "/p"]).contains(library))
    #expect(try !steps(["-c", "1", "--jail-by=preload", "/p"]).contains(text))
    #expect(try !steps(["--jail-by=preload", "/p"]).contains(library))
    #expect(try !steps(["-c", "1", "--ambient", "/p"]).contains(text))
    #expect(try !steps(["-c", "1", "--ambient", "-T", "static", "/p"]).contains(text))
    #expect(try !steps(["-u", "biod", "/p"]).contains(text))
    #expect(try !steps(["--profile", "minimalistic-mountns", "/p"]).contains(text))
    #expect(try !steps(["-T", "static", "--fs-path-ro", "/x", "/p"]).contains(text))
  }

  @Test(arguments: [
    (["-P", "/r", "-b", "/", "-p", "-b", "/x,/proc/cpuinfo", "-b", "/y"], [1, 0, 1, 1]),
    (["-P", "/r", "-b", "/x,/proc/cpuinfo", "-b", "/", "-p", "-b", "/y"], [1, 1, 1, 0]),
    (["-v", "-p", "-b", "/x,/procfs"], [1, 0]),
    (["-p", "-r", "-k", "proc,/proc,proc"], [0, 1]),
  ])
  func newProcComesBelowWhatIsMountedInIt(_ words: [String], _ order: [Int]) throws {
    let found = try steps(words + ["/p"]).compactMap { text -> Int? in
      if text.contains("/proc by the new one") { return 0 }
      return text.contains("bind /") && text.contains(" on /") && !text.contains("itself")
        || text.contains("mount proc") ? 1 : nil
    }
    #expect(found == order)
  }

  @Test func aPivotLeavesUserDataBehindUnlessACopyBringsItAlong() throws {
    let plain = try steps(["-P", "/r", "--daemon-store", "D", "-b", "/", "/p"])
    let copying = try steps([
      "-P", "/r", "--daemon-store", "D", "-k", "/,/,none,MS_BIND|MS_REC", "/p",
    ])
    let text = "take mounts of users' data out of the jail"
    #expect(plain.count { $0 == text } == 1)
    #expect(copying.count { $0 == text } == 2)
  }

  @Test(
    arguments: [
      (["-v", "-b", "/a,/bi", "/bin/x"], .path("/bin/x")),
      (["-v", "-b", "/a,/bin", "/bin/x"], .path("/a/x")),
      (["-v", "-b", "/a/x,/bin/x", "/bin/x"], .path("/a/x")),
      (["-k", "none,/usr,tmpfs", "/usr/bin/x"], .hidden),
      (["-k", "/dev/sda1,/usr,ext4", "/usr/bin/x"], .unknown),
      (["-P", "/r", "/bin/x"], .path("/r//bin/x")),
      (["-P", "/r", "-b", "/", "-k", "none,/run,tmpfs", "/bin/x"], .path("//bin/x")),
      (["-P", "/r", "bin/x"], .path("/r//bin/x")),
      (["bin/x"], .path("bin/x")),
      (["-k", "none,/,none,MS_REMOUNT|MS_BIND|MS_RDONLY", "/bin/x"], .path("/bin/x")),
    ] as [([String], Place)])
  func theProgramIsFoundThroughTheMounts(_ words: [String], _ place: Place) throws {
    let found = ProgramFile(try CommandLineParserTests.parse(words).configuration).place
    switch place {
    case .path(let path): #expect(found == .path(Array(path.utf8)))
    case .unknown: #expect(found == .unknown)
    case .hidden: #expect(found == .hidden)
    }
  }

  enum Place: Sendable { case path(String), unknown, hidden }

  /// The head of an ELF file with one program header of `type`.
  private func elf(_ type: UInt8, size: UInt8 = 56) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 256)
    bytes.replaceSubrange(0..<6, with: [0x7f, 0x45, 0x4c, 0x46, 2, 1])
    bytes[18] = 62
    bytes[32] = 64
    bytes[54] = size
    bytes[56] = 1
    bytes[64] = type
    bytes[72] = 130
    bytes[96] = 8
    bytes.replaceSubrange(130..<138, with: Array("/lib/ld\0".utf8))
    return bytes
  }

  private func linkage(_ bytes: [UInt8]) -> JailConfiguration.Linkage? {
    ProgramFile.linkage { offset, count in Array(bytes.dropFirst(Int(offset)).prefix(count)) }
  }

  @Test func linkage() {
    #expect(linkage(elf(3)) == .dynamic)
    #expect(linkage(elf(1)) == .static)
    #expect(linkage(Array("#!/bin/sh\n".utf8)) == .dynamic)
    #expect(linkage(elf(3, size: 32)) == nil)
    #expect(linkage(Array(elf(3).prefix(128))) == .dynamic)
    #expect(linkage(Array(elf(1).prefix(64))) == .dynamic)
    let bytes = elf(3)
    let file = ElfFile { offset, count in
      Array(bytes.dropFirst(Int(offset)).prefix(count))
    }
    #expect(file?.loader == Array("/lib/ld".utf8))
    #expect(file?.machine == 62 && file?.wordSize == 2)
  }
}
