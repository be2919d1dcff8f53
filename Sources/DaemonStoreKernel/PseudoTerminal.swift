import CDaemonStoreLinux
import Glibc

/// A new pseudoterminal, pty(7): what is written to one side is read from the other.
package struct PseudoTerminal: ~Copyable {
  /// The side of the program that shows the terminal; not blocking.
  package let controller: Descriptor
  /// The side of the programs on the terminal.
  package let terminal: Descriptor

  /// - Parameter devices: the root of a devpts; the host's `/dev/ptmx` without it.
  package init(in devices: borrowing Directory) throws(SystemError) {
    let controller = Descriptor(
      owning: try check(
        "open", "/dev/pts/ptmx", openat(devices.descriptor.number, "ptmx", Self.flags)))
    try self.init(controller)
  }

  package init() throws(SystemError) {
    let controller = Descriptor(
      owning: try check("open", "/dev/ptmx", open("/dev/ptmx", Self.flags)))
    try self.init(controller)
  }

  private init(_ controller: consuming Descriptor) throws(SystemError) {
    terminal = Descriptor(
      owning: try check("TIOCGPTPEER", "/dev/ptmx", linux_terminal_peer(controller.number)))
    self.controller = controller
  }

  private static let flags = O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC

  /// Makes the settings and the size those of `other`, if that is a terminal.
  package func resemble(_ other: CInt) throws(SystemError) {
    var settings = termios()
    guard tcgetattr(other, &settings) == 0 else { return }
    try check("tcsetattr", "terminal", tcsetattr(terminal.number, TCSANOW, &settings))
    try copyWindowSize(from: other, to: controller)
  }

  /// Gives both sides up: the caller closes them.
  package consuming func release() -> (controller: CInt, terminal: CInt) {
    (controller.release(), terminal.release())
  }
}

/// The one terminal gets the size of the other; its foreground programs learn of it by SIGWINCH.
package func copyWindowSize(
  from: CInt, to terminal: borrowing Descriptor
) throws(SystemError) {
  try check("TIOCSWINSZ", "terminal", linux_copy_window_size(from, terminal.number))
}

/// Makes what is open here the controlling terminal of this process, which becomes the leader of a
/// new session unless it is one, and its standard input, output and error.
package func takeTerminal(_ terminal: borrowing Descriptor) throws(SystemError) {
  if getsid(0) != getpid() { try check("setsid", nil, setsid()) }
  try check("TIOCSCTTY", "terminal", linux_take_terminal(terminal.number))
  for number in CInt(0)...2 { try check("dup2", nil, dup2(terminal.number, number)) }
}
