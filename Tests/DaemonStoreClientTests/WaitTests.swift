import CDaemonStoreLinux
import DaemonStoreClient
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

private let folder = UserFolder(path: "/mnt/store/\(Host.alice)")

/// A store without the rest: a mount with a folder for alice, which is not mounted.
private func inStore(_ body: (Helpers) throws -> Void) {
  inMountNamespace {
    try makeDirectory("/mnt/store")
    try mountFilesystem("x", "/mnt/store", "tmpfs")
    try makeDirectory(folder.path)
    let helpers = Helpers()
    defer { helpers.stopAll() }
    try body(helpers)
  }
}

/// What runs beside the test, and how it ended.
private struct Background: ~Copyable {
  let process: pid_t
  private let answer: Descriptor

  init(_ body: () throws -> String) throws {
    let pipe = try Pipe()
    guard let child = try fork() else {
      _ = linux_prctl(1, UInt(SIGKILL), 0, 0)  // PR_SET_PDEATHSIG
      var none = sigset_t()
      sigemptyset(&none)
      sigprocmask(SIG_SETMASK, &none, nil)  // the thread of a test has signals blocked
      let text: String
      do { text = try body() } catch { text = "\(error)" }
      try? pipe.writing.write(Array(text.utf8), shown: "pipe")
      _exit(0)
    }
    process = child
    answer = pipe.intoReading()
  }

  /// Waits until it sleeps.
  func isWaiting() throws -> Bool {
    try eventually { try readFile("/proc/\(process)/status").contains("State:\tS") }
  }

  /// How often it has gone to sleep.
  func sleeps() throws -> Substring? {
    try readFile("/proc/\(process)/status").split(separator: "\n")
      .first { $0.hasPrefix("voluntary_ctxt_switches") }
  }

  consuming func result() throws -> String {
    let bytes = try answer.read(atMost: .max, shown: "pipe") ?? []
    _ = try reap(process)
    return String(decoding: bytes, as: UTF8.self)
  }
}

@Suite(.needsRoot) struct WaitTests {
  @Test func isMountedMeansThatSomethingIsMounted() async {
    await #expect(processExitsWith: .success) {
      inStore { _ in
        #expect(try !folder.isMounted())
        #expect(try !UserFolder(path: "/mnt/store/nobody").isMounted())
        try mountFilesystem("x", folder.path, "tmpfs")
        #expect(try folder.isMounted())
        try makeDirectory("\(folder.path)/inside")
        #expect(try !UserFolder(path: "\(folder.path)/inside").isMounted())
        try makeLink("/mnt/link", to: folder.path)
        #expect(try !UserFolder(path: "/mnt/link").isMounted())
        try unmountFilesystem(folder.path)
        #expect(try !folder.isMounted())
        try writeFile("/mnt/file", "")
        #expect(try errorCode { _ = try UserFolder(path: "/mnt/file/x").isMounted() } == ENOTDIR)
      }
    }
  }

  @Test func returnsAtOnceWhenThereIsNothingToWaitFor() async {
    await #expect(processExitsWith: .success) {
      inStore { _ in
        #expect(try folder.waitUntilGone())
        #expect(try !folder.wait(for: .zero))
        #expect(try !folder.wait(for: .milliseconds(20)))
        try mountFilesystem("x", folder.path, "tmpfs")
        // For that, no `/proc` is needed.
        try unmountFilesystem("/proc", lazily: true)
        #expect(try folder.wait())
        #expect(try !folder.waitUntilGone(for: .zero))
        #expect(try errorCode { _ = try folder.waitUntilGone() } == ENOTSUP)
        let store = StoreDirectory(path: "/mnt/store")
        #expect(try errorCode { _ = try StoreWatch(store) } == ENOTSUP)
        // A file that is called so tells nothing.
        try mountFilesystem("x", "/proc", "tmpfs")
        try makeDirectory("/proc/thread-self")
        try writeFile("/proc/thread-self/mountinfo", "")
        #expect(try errorCode { _ = try folder.waitUntilGone() } == ENOTSUP)
      }
    }
  }

  @Test func isWokenByTheKernelAndSleepsUntilThen() async {
    await #expect(processExitsWith: .success) {
      inStore { _ in
        let waiting = try Background { try "\(folder.wait())" }
        #expect(try waiting.isWaiting())
        let sleeps = try waiting.sleeps()
        usleep(300_000)
        #expect(try sleeps != nil && waiting.sleeps() == sleeps)
        try mountFilesystem("other", "/mnt/store", "tmpfs")  // not what is waited for
        try unmountFilesystem("/mnt/store")
        #expect(try waiting.isWaiting())
        try mountFilesystem("x", folder.path, "tmpfs")
        #expect(try waiting.result() == "true")

        let leaving = try Background { try "\(folder.waitUntilGone())" }
        #expect(try leaving.isWaiting())
        try unmountFilesystem(folder.path)
        #expect(try leaving.result() == "true")
      }
    }
  }

  @Test func endsWhenTheStoreGoes() async {
    await #expect(processExitsWith: .success) {
      inStore { _ in
        let waiting = try Background { "\(try folder.wait())" }
        #expect(try waiting.isWaiting())
        try unmountFilesystem("/mnt/store")
        #expect(try waiting.result().contains("no such store"))
      }
    }
  }

  @Test func worksInAJailForAnOrdinaryUserAndEndsWithASignal() async {
    await #expect(processExitsWith: .success) {
      inHost(.shared) { host in
        try host.template("notes", owner: 5, group: 60, mode: 0o770)
        try host.succeed("daemon-store", "startup")
        let place = try UserFolder(of: Host.alice, in: "notes")
        for verb in ["mount", "unmount"] {
          let waiting = try Background {
            try check("unshare", nil, linux_unshare(CLONE_NEWNS))
            try mountFilesystem("none", "/", nil, MS_REC | MS_SLAVE)
            try check("setgid", nil, setgid(65534))
            try check("setuid", nil, setuid(65534))
            return try "\(verb == "mount" ? place.wait() : place.waitUntilGone())"
          }
          #expect(try waiting.isWaiting())
          let vault = verb == "mount" ? ["--vault", "plain"] : []
          let outcome = try run("/mnt/programs/cryptohome", [verb, "alice"] + vault)
          #expect(outcome.status == 0, "\(outcome)")
          #expect(try waiting.result() == "true")
        }

        let interrupted = try Background {
          signal(SIGUSR1) { _ in }
          return try "\(errorCode { _ = try place.wait() } == EINTR)"
        }
        #expect(try interrupted.isWaiting())
        usleep(50_000)  // past the moment before poll(2)
        kill(interrupted.process, SIGUSR1)
        #expect(try interrupted.result() == "true")
      }
    }
  }
}

@Suite(.needsRoot) struct WatchTests {
  private static func isReadable(_ descriptor: CInt) -> Bool {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&entry, 1, 0) == 1
  }

  @Test func tellsOfArrivalsAndDepartures() async {
    await #expect(processExitsWith: .success) {
      inStore { _ in
        let bob = "/mnt/store/\(Host.bob)"
        try makeDirectory(bob)
        try makeDirectory("/mnt/store/lost+found")
        try mountFilesystem("x", bob, "tmpfs")
        var watch = try StoreWatch(StoreDirectory(path: "/mnt/store"))
        #expect(Self.isReadable(watch.descriptor), "for those who are there")
        #expect(try watch.next() == .arrived(Host.bob))
        #expect(try watch.next() == nil)
        #expect(!Self.isReadable(watch.descriptor))

        try mountFilesystem("x", folder.path, "tmpfs")
        #expect(Self.isReadable(watch.descriptor))
        #expect(try watch.next() == .arrived(Host.alice))
        // Who takes one event at a time is told that there may be more.
        #expect(Self.isReadable(watch.descriptor) && Self.isReadable(watch.descriptor))
        #expect(try watch.next() == nil)
        #expect(!Self.isReadable(watch.descriptor))

        try unmountFilesystem(folder.path)
        try unmountFilesystem(bob)
        #expect(Self.isReadable(watch.descriptor))
        #expect(try watch.next() == .left(Host.alice))
        #expect(Self.isReadable(watch.descriptor))
        #expect(try watch.next() == .left(Host.bob))
        #expect(try watch.next() == nil)

        // Mounted on something else, and a directory that nobody mounted.
        try mountFilesystem("x", "/mnt/store/lost+found", "tmpfs")
        try makeDirectory("/mnt/store/\(Host.carol)")
        #expect(try watch.next() == nil)
        // Gone and back between two looks: another mount, so two events.
        try mountFilesystem("x", bob, "tmpfs")
        #expect(try watch.next() == .arrived(Host.bob))
        try unmountFilesystem(bob)
        try mountFilesystem("x", bob, "tmpfs")
        #expect(try watch.next() == .left(Host.bob))
        #expect(try watch.next() == .arrived(Host.bob))
        #expect(try watch.next(waiting: .milliseconds(20)) == nil)
        // The store goes, with all in it.
        try unmountFilesystem("/mnt", lazily: true)
        #expect(try watch.next() == .left(Host.bob))
        #expect(try watch.next() == nil)
      }
    }
  }

  @Test func wakesWhoPolls() async {
    await #expect(processExitsWith: .success) {
      inStore { _ in
        var watch = try StoreWatch(StoreDirectory(path: "/mnt/store"))
        #expect(try watch.next() == nil)
        for expected in [StoreWatch.Event.arrived(Host.alice), .left(Host.alice)] {
          // Somebody else changes the table while this sleeps.
          let changing = try Background {
            usleep(100_000)
            if expected == .arrived(Host.alice) {
              try mountFilesystem("x", folder.path, "tmpfs")
            } else {
              try unmountFilesystem(folder.path)
            }
            return "done"
          }
          #expect(try watch.next(waiting: .seconds(20)) == expected)
          #expect(try watch.next() == nil)
          #expect(try changing.result() == "done")
          #expect(!Self.isReadable(watch.descriptor))
        }
      }
    }
  }

  @Test func refusesWhatIsNoStore() async {
    await #expect(processExitsWith: .success) {
      inStore { _ in
        for (path, code) in [("/mnt/none", ENOENT), ("/mnt/file", ENOTDIR)] {
          if code == ENOTDIR { try writeFile(path, "") }
          let store = StoreDirectory(path: path)
          #expect(try errorCode { _ = try StoreWatch(store) } == code, "\(path)")
          let nowhere = UserFolder(path: "\(path)/\(Host.alice)")
          #expect(try errorCode { _ = try nowhere.wait() } == code, "\(path)")
        }
        #expect(try UserFolder(path: "/mnt/none/\(Host.alice)").waitUntilGone())
        let long = "/mnt/" + String(repeating: "a/", count: 2_100) + "b"
        #expect(try errorCode { _ = try UserFolder(path: long).wait() } == ENAMETOOLONG)
        try makeDirectory("/mnt/closed", mode: 0o751)
        #expect(setegid(65534) == 0 && seteuid(65534) == 0)
        let store = StoreDirectory(path: "/mnt/closed")
        #expect(try errorCode { _ = try StoreWatch(store) } == EACCES)
      }
    }
  }

  /// Many users, and no descriptor or event lost on the way.
  @Test func manyComeAndGoAtOnce() async {
    await #expect(processExitsWith: .success) {
      inStore { _ in
        // Others in this process open files too, but none of the mount table.
        func tables() throws -> Int {
          try names(in: "/proc/self/fd").count {
            (try? linkTarget(of: "/proc/self/fd/\($0)"))?.dropping(suffix: "/mountinfo") != nil
          }
        }
        do {
          var watch = try StoreWatch(StoreDirectory(path: "/mnt/store"))
          let users = (0..<200).map { number in
            String(repeating: "0", count: 37) + String(number + 100)
          }
          for user in users {
            try makeDirectory("/mnt/store/\(user)")
            try mountFilesystem("x", "/mnt/store/\(user)", "tmpfs")
          }
          for user in users { #expect(try watch.next() == .arrived(user)) }
          for user in users { try unmountFilesystem("/mnt/store/\(user)") }
          for user in users { #expect(try watch.next() == .left(user)) }
          #expect(try watch.next() == nil)
          #expect(try tables() == 1)
        }
        #expect(try tables() == 0)
      }
    }
  }
}
