import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// The terminal of `--pty`, in the launcher: what is typed goes to the program's terminal, and what
/// comes out of that is shown. The caller's terminal is raw meanwhile, so that every key is the
/// program's, and as before whenever this process stops or ends.
final class TerminalRelay {
  /// Where the controlling side comes from.
  private var socket: SharedDescriptor?
  private var controller: SharedDescriptor?
  private var toProgram: [UInt8] = []
  private var toCaller: [UInt8] = []
  private var inputIsOpen = true
  private var lastTyped: UInt8 = 10
  private let isInputTerminal = isatty(STDIN_FILENO) == 1
  /// The caller's settings, while others are in force.
  private var saved: termios?

  private static let chunk = 4096  // PIPE_BUF: a pipe that can be written to takes as much

  /// Whether this process may stop itself: nothing waits for it.
  var mayStop = true

  init(_ socket: SharedDescriptor) { self.socket = socket }

  deinit { restore() }

  /// What to wait for; ``handle(_:)`` takes what is ready of it.
  var events: [(descriptor: CInt, events: CInt)] {
    let program = controller?.descriptor.number ?? -1
    var wanted: CInt = toCaller.isEmpty ? CInt(POLLIN) : 0
    if !toProgram.isEmpty { wanted |= CInt(POLLOUT) }
    let reads = controller != nil && inputIsOpen && toProgram.isEmpty
    return [
      (socket?.descriptor.number ?? -1, CInt(POLLIN)),
      (reads ? STDIN_FILENO : -1, CInt(POLLIN)),
      (wanted == 0 ? -1 : program, wanted),
      (toCaller.isEmpty ? -1 : STDOUT_FILENO, CInt(POLLOUT)),
    ]
  }

  func handle(_ ready: ArraySlice<Bool>) throws(SystemError) {
    let ready = Array(ready)
    if ready[0] { try begin() }
    if ready[1] { try readInput() }
    if ready[2] {
      try writeToProgram()
      try readFromProgram()
    }
    if ready[3] { try writeToCaller() }
  }

  private func begin() throws(SystemError) {
    try receive()
    try resume()
  }

  /// Nothing comes from a jail that has ended before.
  private func receive() throws(SystemError) {
    guard let socket else { return }
    self.socket = nil
    let number = try ReportSockets.receiveDescriptor(socket.descriptor).descriptor
    controller = number.map { SharedDescriptor(Descriptor(owning: $0)) }
  }

  // MARK: The caller's terminal

  /// Takes the caller's terminal; in the background only when this process is in front again.
  func resume() throws(SystemError) {
    guard controller != nil, isInputTerminal else { return }
    while tcgetpgrp(STDIN_FILENO) != getpgrp(), tcgetpgrp(STDIN_FILENO) > 0 {
      guard mayStop else { return }
      raise(SIGSTOP)
    }
    resize()
    guard saved == nil else { return }
    var settings = termios()
    try check("tcgetattr", "terminal", tcgetattr(STDIN_FILENO, &settings))
    var raw = settings
    cfmakeraw(&raw)
    try check("tcsetattr", "terminal", tcsetattr(STDIN_FILENO, TCSADRAIN, &raw))
    saved = settings
  }

  /// Gives it back as it was.
  func restore() {
    guard var settings = saved else { return }
    tcsetattr(STDIN_FILENO, TCSADRAIN, &settings)
    saved = nil
  }

  /// A terminal that is gone has no size, and nothing to be done about.
  func resize() {
    guard let controller, let caller = (CInt(0)...2).first(where: { isatty($0) == 1 }) else {
      return
    }
    _ = linux_copy_window_size(caller, controller.descriptor.number)
  }

  /// Shows what the program has left, when it has ended, and gives the caller's terminal back. More than
  /// a terminal holds is of other processes, which may write without end.
  func finish() {
    defer { restore() }
    var chunks = 256 * 1024 / Self.chunk
    do throws(SystemError) {
      if let socket, isReadable(socket) { try receive() }
      while controller != nil, chunks > 0 {
        chunks -= 1
        while !toCaller.isEmpty {
          // Where writing does not wait, this does.
          _ = try wait(for: [(STDOUT_FILENO, CInt(POLLOUT))])
          try writeToCaller()
        }
        try readFromProgram()
        if toCaller.isEmpty { return }
      }
    } catch {
      controller = nil  // it never came: there is nothing to show
    }
  }

  private func isReadable(_ held: SharedDescriptor) -> Bool {
    var entry = pollfd(fd: held.descriptor.number, events: Int16(POLLIN), revents: 0)
    return poll(&entry, 1, 0) == 1
  }

  // MARK: Bytes

  private func readInput() throws(SystemError) {
    var buffer = [UInt8](repeating: 0, count: Self.chunk)
    let count = read(STDIN_FILENO, &buffer, buffer.count)
    if count > 0 {
      toProgram += buffer[..<count]
      lastTyped = buffer[count - 1]
      return
    }
    if count < 0, errno == EINTR || errno == EAGAIN { return }
    inputIsOpen = false
    // A terminal that is closed hangs up; what was a file or a pipe has an end.
    if isInputTerminal { hangUp() } else { endInput() }
  }

  /// The key that ends the input of a program which reads lines; twice after half a line.
  private func endInput() {
    var settings = termios()
    guard let controller, tcgetattr(controller.descriptor.number, &settings) == 0,
      settings.c_lflag & tcflag_t(ICANON) != 0
    else { return }
    let key = withUnsafeBytes(of: settings.c_cc) { $0[Int(VEOF)] }
    toProgram += lastTyped == 10 ? [key] : [key, key]
  }

  /// The program gets SIGHUP, as on any terminal that is closed.
  private func hangUp() {
    controller = nil
    toProgram = []
    toCaller = []
  }

  private func writeToProgram() throws(SystemError) {
    guard let controller, !toProgram.isEmpty else { return }
    let count = toProgram.withUnsafeBytes {
      write(controller.descriptor.number, $0.baseAddress, $0.count)
    }
    if count > 0 { toProgram.removeFirst(count) }
    if count < 0, errno != EAGAIN, errno != EINTR { toProgram = [] }
  }

  private func readFromProgram() throws(SystemError) {
    guard let controller, toCaller.isEmpty else { return }
    var buffer = [UInt8](repeating: 0, count: Self.chunk)
    let count = read(controller.descriptor.number, &buffer, buffer.count)
    if count > 0 {
      toCaller = Array(buffer[..<count])
    } else if count == 0 || (errno != EAGAIN && errno != EINTR) {
      self.controller = nil  // EIO: no process has the terminal any more
    }
  }

  private func writeToCaller() throws(SystemError) {
    let count = toCaller.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
    if count > 0 {
      toCaller.removeFirst(count)
    } else if errno != EAGAIN, errno != EINTR {
      hangUp()
    }
  }
}
