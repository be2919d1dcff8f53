import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// A program that runs beside the test, and is told one line after another.
package final class Dialogue {
  package let process: pid_t
  /// What it has said so far, on standard output and standard error.
  package private(set) var text = ""
  private let input: Descriptor
  private let output: Descriptor
  private var hasEnded = false

  package init(_ program: String, _ arguments: [String]) throws {
    let input = try Pipe()
    let output = try Pipe()
    process = try spawn(
      program, arguments.map { Array($0.utf8CString) }, environment: nil,
      stdin: input.reading.number, stdout: output.writing.number, stderr: output.writing.number)
    self.input = input.intoWriting()
    self.output = output.intoReading()
  }

  deinit { kill() }

  package func tell(_ line: String) throws {
    try input.write(Array((line + "\n").utf8), shown: "pipe")
  }

  /// Reads until it has said `words`, after what was there when it was last waited for.
  package func wait(for words: String) throws {
    while !unread.contains(words) {
      guard try readMore() else { throw Problem("it never said '\(words)', but:\n\(text)") }
    }
    if let range = unread.range(of: words) { unread = unread[range.upperBound...] }
  }

  /// Reads to the end; the exit status, or minus the signal.
  package func end() throws -> CInt {
    while try readMore() {}
    hasEnded = true
    return try reap(process)
  }

  /// Kills it, if it still runs, and waits until it is gone.
  package func kill() {
    guard !hasEnded else { return }
    hasEnded = true
    _ = Glibc.kill(process, SIGKILL)
    _ = waitpid(process, nil, 0)
  }

  private var unread: Substring = ""

  private func readMore() throws -> Bool {
    var poller = pollfd(fd: output.number, events: Int16(POLLIN), revents: 0)
    guard poll(&poller, 1, 60_000) == 1 else { throw Problem("it says nothing, after:\n\(text)") }
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = try check("read", "pipe", read(output.number, &buffer, buffer.count))
    let more = String(decoding: buffer[..<count], as: UTF8.self)
    text += more
    unread += more
    return count > 0
  }
}

extension Substring {
  fileprivate func range(of words: String) -> Range<Index>? {
    var start = startIndex
    while start < endIndex {
      if self[start...].hasPrefix(words) { return start..<index(start, offsetBy: words.count) }
      start = index(after: start)
    }
    return nil
  }
}
