import Glibc
import DaemonStoreKernel

/// What signals to the launcher do: they go to the jail, and a stop takes both along.
struct SignalForwarding {
  /// The program, or the init of its pid namespace.
  let process: pid_t
  let hasInit: Bool
  let terminal: TerminalRelay?

  func pass(_ signal: CInt) throws(SystemError) {
    switch signal {
    case SIGTSTP: try stop()
    case SIGCONT:
      try terminal?.resume()
      continueProgram()
    case SIGWINCH where terminal != nil: terminal?.resize()
    default: kill(process, signal)
    }
  }

  /// Stops the program's group, then this process, as the terminal's stop key does; both go on with
  /// the next SIGCONT.
  private func stop() throws(SystemError) {
    // No process but its init can stop what is in a pid namespace by group.
    kill(hasInit ? process : group, hasInit ? SIGTSTP : SIGSTOP)
    terminal?.restore()
    let mask = try SignalMask.allow(SIGTSTP)
    // Nothing stops where no shell could continue it: the kernel knows (setpgid(2), orphaned).
    raise(SIGTSTP)
    try mask.restore()
    try terminal?.resume()
    continueProgram()
  }

  private func continueProgram() { kill(hasInit ? process : group, SIGCONT) }

  /// For kill(2): the program's group where it has one without this process in it.
  private var group: pid_t {
    let group = getpgid(process)
    return group > 0 && group != getpgrp() ? -group : process
  }
}
