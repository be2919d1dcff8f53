import CDaemonStoreLinux
import DaemonStoreClient
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

/// Prints a line at once.
private func say(_ line: String) {
  print(line)
  fflush(nil)
}

// docs/daemon-authors.md has these two functions, word for word.

/// Says who comes and goes, for ever.
func tellWhoComesAndGoes() throws -> Never {
  let store = try StoreDirectory("notes")
  var watch = try StoreWatch(store)
  say("ready")
  while true {
    switch try watch.next(waiting: nil) {
    case .arrived(let user): say("arrived \(store.path)/\(user)")
    case .left(let user): say("left \(store.path)/\(user)")
    case nil: break
    }
  }
}

/// Waits for a user, and says where the data is.
func find(_ user: String) throws -> String? {
  let folder = try UserFolder(of: user, in: "notes")
  return try folder.wait(for: .seconds(60)) ? folder.path : nil
}

@Suite struct AuthorsPageTests {
  @Test func theSwiftExamplesAreThoseOfThePage() throws {
    let source = try readFile(#filePath)
    let blocks = try AuthorsPage.page().blocks.filter { $0.language == "swift" }
    #expect(blocks.count == 2)
    for block in blocks { #expect(source.contains(block.text), "\(block)") }
  }

  /// What a program that links the library can see of it.
  @Test func theLibraryShowsItsOwnNamesOnlyAndNeedsNothingButLibc() throws {
    let library = "\(try builtPrograms())/libdaemonstore.so.1"
    let symbols = try run("nm", ["--dynamic", "--defined-only", "--format=posix", library])
    let shown = symbols.lines.map { $0.prefix { $0 != " " && $0 != "@" } }
      .filter { $0 != "LIBDAEMONSTORE_1" }
    let header = try readFile(projectFile("Sources/libdaemonstore/include/daemonstore.h"))
    #expect(shown.count == 9 && Set(shown).count == 9, "\(symbols)")
    for name in shown { #expect(header.contains("\(name)("), "\(name)") }
    let needed = try run("objdump", ["-p", library]).lines.filter { $0.contains("NEEDED") }
    #expect(needed.count == 1 && needed.allSatisfy { $0.hasSuffix(" libc.so.6") }, "\(needed)")
    let static_ = try run("nm", ["--undefined-only", "\(try builtPrograms())/libdaemonstore.a"])
    #expect(static_.status == 0 && !static_.output.contains("swift"), "\(static_)")
  }
}

@Suite(.needsRoot) struct AuthorsExampleTests {
  @Test(arguments: ["c", "python", "swift"])
  func seesUsersComeAndGoInItsJail(language: String) async {
    await #expect(processExitsWith: .success) { [language] in
      do {
        let workshop = try Workshop()
        inHost(.shared) { host in
          try host.prepareNotes()
          try host.login("bob")
          let daemon = try Self.start(language, workshop)
          // minijail0 passes it on.
          defer {
            kill(daemon, SIGTERM)
            _ = try? reap(daemon)
          }
          let store = "/run/daemon-store/notes"
          var expected = ["ready", "arrived \(store)/\(Host.bob)"]
          try Self.expect(expected)
          try host.login("alice")
          expected.append("arrived \(store)/\(Host.alice)")
          try Self.expect(expected)
          // It holds nothing, so both logouts are complete.
          for (user, hash) in [("bob", Host.bob), ("alice", Host.alice)] {
            try host.logout(user)
            expected.append("left \(store)/\(hash)")
            try Self.expect(expected)
          }
        }
      } catch {
        Issue.record("\(error)")
      }
    }
  }

  /// Starts the example as it is in the page, with what it says in `/mnt/said`.
  private static func start(
    _ language: String, _ workshop: Workshop
  ) throws -> pid_t {
    try writeFile("/mnt/said", "")
    let program =
      language == "c"
      ? "\(workshop.path)/notes-daemon" : "/usr/bin/python3 \(workshop.path)/notes-daemon.py"
    let jail = try AuthorsPage.command(below: "minijail0")
      .replacing("/usr/local/sbin/notes-daemon", with: program)
    let script =
      "export LD_LIBRARY_PATH=\(workshop.library) PATH=/mnt/programs:/usr/bin:/bin; exec \(jail)"
    if let child = try fork() { return child }
    _ = linux_prctl(1, UInt(SIGKILL), 0, 0)  // PR_SET_PDEATHSIG
    var none = sigset_t()
    sigemptyset(&none)
    sigprocmask(SIG_SETMASK, &none, nil)  // the thread of a test has signals blocked
    do {
      dup2(try check("open", "/mnt/said", open("/mnt/said", O_WRONLY)), STDOUT_FILENO)
      if language == "swift" {
        try check("unshare", nil, linux_unshare(CLONE_NEWNS))
        try mountFilesystem("none", "/", nil, MS_REC | MS_SLAVE)
        try check("setgid", nil, setgid(901))
        try check("setuid", nil, setuid(901))
        try tellWhoComesAndGoes()
      }
      var words: [UnsafeMutablePointer<CChar>?] = [
        strdup("sh"), strdup("-c"), strdup(script), nil,
      ]
      try check("execv", "/bin/sh", execv("/bin/sh", &words))
    } catch {
      say("\(error)")
    }
    _exit(1)
  }

  private static func expect(
    _ lines: [String], sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let text = lines.map { "\($0)\n" }.joined()
    let isSaid = try eventually { try readFile("/mnt/said") == text }
    let said = try readFile("/mnt/said")
    #expect(isSaid, "\(said)", sourceLocation: sourceLocation)
  }

  /// The page's class in epoll(7) itself, level-triggered and edge-triggered: each login and logout
  /// wakes it once, and nothing does when all is taken.
  @Test(arguments: ["0", "select.EPOLLET"])
  func wakesAnEventLoop(trigger: String) async {
    await #expect(processExitsWith: .success) { [trigger] in
      do {
        let workshop = try Workshop()
        let example = try AuthorsPage.page().file("notes-daemon.py")
          .split(separator: "async def main")[0]
        inHost(.shared) { host in
          try host.prepareNotes()
          let script = """
            \(example)
            import select
            import subprocess
            import time

            watch = Watch("/run/daemon-store/notes")
            loop = select.epoll()
            loop.register(watch, select.EPOLLIN | \(trigger))
            print(len(loop.poll(0)), list(watch.events()), loop.poll(0), flush=True)
            for verb in "mount", "unmount":
                change = ["/mnt/programs/cryptohome", verb, "alice"]
                later = subprocess.Popen(
                    ["sh", "-c", 'sleep 0.2; exec "$@" >/dev/null 2>&1', "sh"] + change)
                found = []
                while not found:
                    assert loop.poll(20), "nobody was woken"
                    found = list(watch.events())
                print(found, flush=True)
                assert later.wait() == 0
                assert not list(watch.events())
                loop.poll(0)
                time.sleep(0.1)
                print(loop.poll(0), flush=True)
            """
          try host.succeed("cryptohome", "mount", "alice", "--vault", "plain")
          try host.logout("alice")
          let outcome = try run(
            "python3", ["-c", script],
            environment: ["LD_LIBRARY_PATH=\(workshop.library)", "PATH=/usr/bin:/bin"])
          #expect(
            outcome.lines == [
              "1 [] []", "[('arrived', '\(Host.alice)')]", "[]", "[('left', '\(Host.alice)')]",
              "[]",
            ], "\(outcome)")
        }
      } catch {
        Issue.record("\(error)")
      }
    }
  }

  @Test func isMountedIsOneSystemCall() throws {
    let workshop = try Workshop()
    let script = """
      import ctypes, os
      library = ctypes.CDLL("libdaemonstore.so.1")
      os.getppid()
      answer = library.daemonstore_is_mounted(b"/proc")
      os.getppid()
      print(answer)
      """
    let outcome = try run(
      "strace", ["-o", "\(workshop.path)/calls", "python3", "-c", script],
      environment: ["LD_LIBRARY_PATH=\(workshop.library)", "PATH=/usr/bin:/bin"])
    #expect(outcome.lines == ["1"], "\(outcome)")
    let calls = try readFile("\(workshop.path)/calls").split(separator: "\n")
    let between = calls.split { $0.hasPrefix("getppid") }
    #expect(between.count == 3 && between[1].count == 1, "\(between)")
    #expect(between[1].first?.hasPrefix("statx(AT_FDCWD, \"/proc\"") == true, "\(between)")
  }

  @Test func thePackageScriptsDoWhatThePageSays() async {
    await #expect(processExitsWith: .success) {
      do {
        let install = try AuthorsPage.page().file("debian/notes.postinst")
        let remove = try AuthorsPage.page().file("debian/notes.prerm")
        inHost(.shared) { host in
          func script(_ text: String, _ verb: String) throws -> Outcome {
            try host.script("set -- \(verb)\n\(text)")
          }
          for name in ["shadow", "gshadow"] { try writeFile("/etc/\(name)", "", mode: 0o600) }
          try host.succeed("daemon-store", "startup")
          try host.login("alice")
          try host.logout("alice")
          for _ in 1...2 {
            let outcome = try script(install, "configure")
            #expect(outcome.status == 0, "\(outcome)")
          }
          try host.login("alice")
          _ = try host.mount(at: "/run/daemon-store/notes/\(Host.alice)")
          #expect(try readFile("/etc/passwd").contains("\nnotesd:"))
          #expect(try script(remove, "upgrade").status == 0 && exists("/etc/daemon-store/notes"))
          let refused = try script(remove, "remove")
          #expect(refused.status == 1 && refused.complains(of: "users are mounted"), "\(refused)")
          try host.logout("alice")
          let removed = try script(remove, "remove")
          #expect(removed.status == 0 && !exists("/run/daemon-store/notes"), "\(removed)")
        }
      } catch {
        Issue.record("\(error)")
      }
    }
  }

  @Test func findsAUserWhoComesLater() async {
    await #expect(processExitsWith: .success) {
      inHost(.isolated) { host in
        try host.prepareNotes()
        let pipe = try Pipe()
        guard let child = try fork() else {
          let found = (try? find("alice")) ?? nil
          try? pipe.writing.write(Array((found ?? "nobody").utf8), shown: "pipe")
          _exit(0)
        }
        let answer = pipe.intoReading()
        try host.login("alice")
        let bytes = try answer.read(atMost: 4096, shown: "pipe") ?? []
        #expect(
          String(decoding: bytes, as: UTF8.self) == "/run/daemon-store/notes/\(Host.alice)")
        #expect(try reap(child) == 0)
      }
    }
  }
}
