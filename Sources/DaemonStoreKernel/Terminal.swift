import Glibc

/// Writes `prompt` to a terminal, and calls `read` when a line was typed there that it did not show.
/// A signal that ends or stops this process meanwhile does so, and the terminal is as it was before.
package func askHidden<Value: ~Copyable>(
  _ prompt: String, on terminal: CInt, _ read: () throws -> Value
) throws -> Value {
  let mask = try SignalMask.blockAll()
  defer { try? mask.restore() }
  let signals = try SignalMask.descriptor()
  let ending: Set<CInt> = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP]
  while true {
    var shown = termios()
    try check("tcgetattr", "terminal", tcgetattr(terminal, &shown))
    var hidden = shown
    hidden.c_lflag &= ~tcflag_t(ECHO)
    hidden.c_lflag |= tcflag_t(ECHONL)
    try check("tcsetattr", "terminal", tcsetattr(terminal, TCSAFLUSH, &hidden))
    defer { tcsetattr(terminal, TCSAFLUSH, &shown) }
    let bytes = Array(prompt.utf8)
    _ = Glibc.write(terminal, bytes, bytes.count)
    var caught: CInt?
    while caught == nil {
      let ready = try waitUntilReadable([terminal, signals.descriptor.number])
      if ready[1], let signal = try signals.next(), ending.contains(signal) {
        caught = signal
      } else if ready[0] {
        return try read()
      }
    }
    tcsetattr(terminal, TCSAFLUSH, &shown)
    try mask.restore()
    raise(caught ?? SIGTERM)
    // Stopped, and continued: ask again.
    _ = try SignalMask.blockAll()
  }
}
