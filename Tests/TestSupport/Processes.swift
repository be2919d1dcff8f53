import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// The processes that a test has started. They end with it, whatever becomes of it: by
/// ``stopAll()``, or by the signal that the kernel sends when the test's thread is gone.
package final class Helpers {
  private var running: Set<pid_t> = []

  package init() {}
  deinit { stopAll() }

  /// Forks, runs `body` in the child, and leaves it waiting there for ever. Returns when `body` is
  /// done. The child is in the namespaces of the calling thread, and is free to leave them.
  package func fork(_ body: () throws -> Void) throws -> pid_t {
    let ready = try Pipe()
    guard let child = try DaemonStoreKernel.fork() else {
      _ = linux_prctl(1, UInt(SIGKILL), 0, 0)  // PR_SET_PDEATHSIG
      do {
        try body()
      } catch {
        try? ready.writing.write(Array("\(error)".utf8), shown: "pipe")
        _exit(1)
      }
      _ = ready.intoReading().release()  // closes the end that the test waits for
      while true { pause() }
    }
    running.insert(child)
    let pipe = ready.intoReading()
    let text = try pipe.read(atMost: .max, shown: "pipe") ?? []
    guard text.isEmpty else { throw Problem(String(decoding: text, as: UTF8.self)) }
    return child
  }

  /// The same in the mount namespace of another process.
  package func fork(inside process: pid_t, _ body: () throws -> Void) throws -> pid_t {
    try fork {
      let path = "/proc/\(process)/ns/mnt"
      let namespace = try check("open", path, open(path, O_RDONLY | O_CLOEXEC))
      try check("setns", path, linux_setns(namespace, CLONE_NEWNS))
      close(namespace)
      try body()
    }
  }

  /// Runs `body` in the mount namespace of another process, and comes back.
  package func inside(_ process: pid_t, _ body: () throws -> Void) throws {
    try stop(try fork(inside: process, body))
  }

  /// Starts a program and waits until it has printed a line.
  package func start(_ program: String, _ arguments: String...) throws -> pid_t {
    try start(program, arguments)
  }

  package func start(_ program: String, _ arguments: [String]) throws -> pid_t {
    let output = try Pipe()
    let input = try Pipe()
    let words = ["setpriv", "--pdeathsig", "KILL", "--", program] + arguments
    let child = try spawn(
      words[0], words.dropFirst().map { Array($0.utf8CString) }, environment: nil,
      stdin: input.reading.number,
      stdout: output.writing.number, stderr: STDERR_FILENO)
    running.insert(child)
    let reading = output.intoReading()
    var poller = pollfd(fd: reading.number, events: Int16(POLLIN), revents: 0)
    guard poll(&poller, 1, 20_000) == 1 else { throw Problem("\(words) printed nothing") }
    var buffer = [UInt8](repeating: 0, count: 4096)
    guard read(reading.number, &buffer, buffer.count) > 0 else {
      throw Problem("\(words) ended at once")
    }
    return child
  }

  /// Ends one with a signal, and waits for it.
  package func stop(_ process: pid_t) throws {
    guard running.remove(process) != nil else { throw Problem("\(process) is not of this test") }
    kill(process, SIGKILL)
    _ = try reap(process)
  }

  package func stopAll() {
    for process in running { kill(process, SIGKILL) }
    // In any order: process 1 of a namespace ends after all others in it have been waited for.
    while !running.isEmpty {
      running = running.filter { waitpid($0, nil, WNOHANG) == 0 }
      usleep(1_000)
    }
  }
}

/// Sends a descriptor over a UNIX socket, with one byte.
package func send(_ descriptor: CInt, over socket: CInt) throws {
  // struct cmsghdr: length, level, type; then the descriptor.
  let level = UInt64(UInt32(bitPattern: SOL_SOCKET)) | 1 << 32  // SCM_RIGHTS
  var control: [UInt64] = [20, level, UInt64(UInt32(bitPattern: descriptor))]
  var byte: UInt8 = 0
  try withUnsafeMutableBytes(of: &byte) { byte in
    var part = iovec(iov_base: byte.baseAddress, iov_len: 1)
    try control.withUnsafeMutableBytes { control in
      try withUnsafeMutablePointer(to: &part) { part in
        var message = msghdr()
        message.msg_iov = part
        message.msg_iovlen = 1
        message.msg_control = control.baseAddress
        message.msg_controllen = control.count
        try check("sendmsg", nil, sendmsg(socket, &message, 0))
      }
    }
  }
}

/// The name of a process, as the kernel has it.
package func programName(of process: pid_t) throws -> String {
  try String(readFile("/proc/\(process)/comm").dropLast())
}

/// How a program names a process: `sleep (pid 12)`.
package func shownName(of process: pid_t) throws -> String {
  "\(try programName(of: process)) (pid \(process))"
}
