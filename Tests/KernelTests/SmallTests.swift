import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import TestSupport
import Testing

@Suite struct SystemErrorTests {
  @Test func saysOperationPathAndName() {
    let error = SystemError(operation: "move_mount", path: "/run/x", code: EPERM)
    #expect(error.description == "move_mount /run/x: Operation not permitted (EPERM)")
    let bare = SystemError(operation: "fork", path: nil, code: EAGAIN)
    #expect(bare.description == "fork: Resource temporarily unavailable (EAGAIN)")
    let old = SystemError(operation: "openat2", path: nil, code: ENOSYS)
    #expect(old.description.contains("no openat2") && old.description.contains("5.15"))
    #expect(SystemError(operation: "mount", path: nil, code: ENOSPC).description.contains("max"))
  }

  /// As a kernel before 5.6, or a filter of system calls, has it.
  @Test func namesTheCallThatTheKernelHasNot() async {
    await #expect(processExitsWith: .success) {
      // Load the number; openat2 is 437 everywhere; ENOSYS; allow: seccomp(2), struct sock_filter.
      var filter: [UInt64] = [
        0x20, 0x15 | 1 << 24 | 437 << 32, 0x06 | 0x0005_0026 << 32, 0x06 | 0x7fff_0000 << 32,
      ]
      let isFiltered = filter.withUnsafeMutableBufferPointer { filter in
        var program: [UInt] = [4, UInt(bitPattern: filter.baseAddress)]
        return linux_prctl(38, 1, 0, 0) == 0  // PR_SET_NO_NEW_PRIVS
          && program.withUnsafeMutableBufferPointer {
            linux_prctl(22, 2, UInt(bitPattern: $0.baseAddress), 0) == 0  // PR_SET_SECCOMP
          }
      }
      #expect(isFiltered)
      do {
        _ = try Directory(opening: "/")
        Issue.record("openat2 works")
      } catch {
        #expect("\(error)".contains("no openat2, Linux 5.15 or later is needed"), "\(error)")
      }
    }
  }

  @Test func checkThrowsTheCodeAndRepeatsAfterASignal() throws {
    #expect(throws: SystemError(operation: "close", path: "x", code: EBADF)) {
      try check("close", "x", close(-1))
    }
    var calls = 0
    func interrupted() -> CInt {
      calls += 1
      errno = EINTR
      return calls < 3 ? -1 : 7
    }
    #expect(try check("read", nil, interrupted()) == 7)
    #expect(calls == 3)
  }
}

@Suite(.needsRoot) struct ProcessTests {
  @Test func forksAndWaits() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        guard let child = try fork() else { _exit(7) }
        #expect(try wait(for: child).end == .exited(7))
        guard let other = try fork() else {
          while true { pause() }
        }
        kill(other, SIGKILL)
        #expect(try wait(for: other).end == .killed(signal: SIGKILL))
        #expect(signalName(SIGKILL) == "SIGKILL" && signalName(40) == "signal 40")
      }
    }
  }

  @Test func lockIsOneProcessAtATime() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let mnt = try Directory(opening: "/mnt")
        guard let lock = try FileLock("lock", in: mnt, until: .now) else {
          throw Problem("a lock that no process has")
        }
        let own = getpid()
        guard let child = try fork() else {
          _ = linux_close_range(3, .max, 0)  // not even a copy of the lock that it waits for
          guard let mnt = try? Directory(opening: "/mnt"),
            FileLock.holder(of: "lock", in: mnt) == own,
            (try? FileLock("lock", in: mnt, until: .now)) == nil
          else { _exit(2) }
          try? writeFile("/mnt/waiting", "")
          let waits = try? FileLock("lock", in: mnt, until: .now + .seconds(30))
          _exit(waits != nil && exists("/mnt/released") ? 0 : 1)
        }
        #expect(eventually { exists("/mnt/waiting") })
        try writeFile("/mnt/released", "")
        lock.release()
        #expect(try wait(for: child).end == .exited(0))
        #expect(attributes("/mnt/lock") == "file 0:0 600")
      }
    }
  }

  /// What cannot be looked at is not taken for free.
  @Test func lockThatCannotBeOpenedIsAnError() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        let mnt = try Directory(opening: "/mnt")
        let isHeldBefore = try FileLock.isHeld("lock", in: mnt)
        #expect(!isHeldBefore)
        guard let lock = try FileLock("lock", in: mnt, until: .now) else {
          throw Problem("a lock that no process has")
        }
        let isHeld = try FileLock.isHeld("lock", in: mnt)
        #expect(isHeld)
        lock.release()
        let isHeldStill = try FileLock.isHeld("lock", in: mnt)
        #expect(!isHeldStill)
        try makeLink("/mnt/other", to: "lock")
        var code: CInt = 0
        do {
          _ = try FileLock.isHeld("other", in: mnt)
        } catch let error as SystemError {
          code = error.code
        }
        #expect(code == ELOOP)
      }
    }
  }

  @Test func readsFilesUpToALimit() async {
    await #expect(processExitsWith: .success) {
      inMountNamespace {
        try writeFile("/mnt/file", [UInt8](repeating: 1, count: 100_000))
        let file = try Descriptor(opening: "/mnt/file", flags: O_RDONLY)
        #expect(try file.read(atMost: 100_000, shown: "file")?.count == 100_000)
        let again = try Descriptor(opening: "/mnt/file", flags: O_RDONLY)
        #expect(try again.read(atMost: 99_999, shown: "file") == nil)
        let status = try again.status()
        #expect(status.size == 100_000 && status.kind == "a file" && !status.isDirectory)
        #expect(fcntl(again.number, F_GETFD) == FD_CLOEXEC)
      }
    }
  }
}
