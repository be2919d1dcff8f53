import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// Where words go: errors and warnings always to standard error, one line each, and to syslog as
/// well where that is the target; what is only informative to the target alone.
struct Log {
  /// Whether the target is syslog and not standard error.
  let usesSyslog: Bool
  /// The connection to syslog, if there is one.
  let connection: CInt?

  /// Before the options are read nothing says where, so it is standard error alone.
  init() {
    usesSyslog = false
    connection = nil
  }

  /// `auto` is standard error when standard *input* is a terminal, as in the reference.
  init(_ logging: JailConfiguration.Logging) {
    usesSyslog =
      switch logging {
      case .auto: isatty(STDIN_FILENO) == 0
      case .syslog: true
      case .stderr: false
      }
    guard usesSyslog else {
      connection = nil
      return
    }
    // Connected now: the jail may have no /dev/log. It gets the lowest number that is free.
    let free = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)
    close(free)
    openlog(nil, LOG_NDELAY, LOG_USER)
    connection = free >= 0 && fcntl(free, F_GETFD) >= 0 ? free : nil
  }

  func error(_ text: String) {
    writeLine("minijail0: \(text)", to: STDERR_FILENO)
    if usesSyslog { linux_syslog(LOG_ERR, tagged(text)) }
  }

  /// What standard error has been told already, where the connection was closed.
  func errorToSyslog(_ text: String) {
    if usesSyslog { linux_syslog(LOG_ERR, tagged(text)) }
  }

  func warning(_ text: String) {
    writeLine("minijail0: warning: \(text)", to: STDERR_FILENO)
    if usesSyslog { linux_syslog(LOG_WARNING, tagged(text)) }
  }

  /// How the program ended, in the words that scripts look for.
  func end(_ text: String, isWarning: Bool = false) {
    if usesSyslog {
      linux_syslog(isWarning ? LOG_WARNING : LOG_INFO, tagged(text))
    } else {
      writeLine(tagged(text), to: STDERR_FILENO)
    }
  }

  private func tagged(_ text: String) -> String { "libminijail[\(getpid())]: \(oneLine(text))" }
}

/// One line, in one write(2), so that lines of several processes do not mix.
func writeLine(_ text: String, to descriptor: CInt) {
  writeAll(Array(oneLine(text).utf8) + [UInt8(ascii: "\n")], to: descriptor)
}

/// All of it; false when not all could be written.
@discardableResult
func writeAll(_ bytes: [UInt8], to descriptor: CInt) -> Bool {
  var rest = bytes[...]
  while !rest.isEmpty {
    let written = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    if written < 0, errno == EINTR { continue }
    guard written > 0 else { return false }
    rest = rest.dropFirst(written)
  }
  return true
}
