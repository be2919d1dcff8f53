import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// Descriptors that were sent over a UNIX socket and have not been received. They are open in no
/// process; the kernel tells their number (`scm_fds` in proc_pid_fdinfo(5), Linux 5.6), and gives
/// copies of those in the first message to a reader that peeks.
enum SentDescriptors {
  private static let depth = 4

  /// The time that is spent on waiting for messages to be received, at all sockets together: else
  /// a process with many sockets keeps every logout waiting.
  final class Waits {
    private var rounds = 20

    /// Pauses; false when there has been enough of it.
    func lasts() -> Bool {
      guard rounds > 0 else { return false }
      rounds -= 1
      usleep(10_000)
      return true
    }
  }

  /// What waits at a socket of a thread that is one of the files, or may be.
  ///
  /// - Parameter waits: to look again if need be: most messages are received at once. nil where
  ///   what is unseen does not count.
  static func find(
    at name: FilePath, of process: pid_t, _ task: borrowing Directory, waits: Waits?,
    _ unknowns: Unknowns, where test: HolderSearch.Test
  ) -> Holder.Hold? {
    guard let number: CInt = name.bytes.number() else { return nil }
    do throws(SystemError) {
      for round in 1... {
        let waiting = try count(task.path(of: "fdinfo/\(number)"))
        guard waiting > 0 else { return nil }
        let copy = linux_get_descriptor(process, number)
        guard copy >= 0 else {
          note(errno, process, unknowns)
          return nil
        }
        // Not the socket that was counted, when the table of this thread is its own.
        let socket = Descriptor(owning: copy)
        guard try isSame(socket, task, number) else { return .sentUnseen(waiting) }
        let found = try look(at: socket.number, waiting, depth: depth, where: test)
        guard case .sentUnseen = found, round < 5, waits?.lasts() == true else { return found }
      }
    } catch {
      unknowns.add(error, about: task.path)
    }
    return nil
  }

  /// Notes why a descriptor of a process could not be copied, unless it was closed meanwhile.
  static func note(_ code: CInt, _ process: pid_t, _ unknowns: Unknowns) {
    guard code != EBADF else { return }
    unknowns.add(
      SystemError(operation: "pidfd_getfd", path: "/proc/\(process)", code: code),
      about: "/proc/\(process)")
  }

  private static func isSame(
    _ socket: borrowing Descriptor, _ task: borrowing Directory, _ number: CInt
  ) throws(SystemError) -> Bool {
    try socket.status().identity == task.status(behind: "fd/\(number)")?.identity
  }

  private static func look(
    at socket: CInt, _ waiting: Int, depth: Int, where test: HolderSearch.Test
  ) throws(SystemError) -> Holder.Hold? {
    var numbers = [CInt](repeating: -1, count: 253)  // SCM_MAX_FD
    let own = try Directory(opening: "/proc/\(getpid())/fd")
    let received = linux_peek_descriptors(socket, &numbers, CInt(numbers.count))
    // One that listens has its messages at connections that are not accepted yet; one with an offset
    // for peeking is left alone.
    guard received >= 0 else { return .sentUnseen(waiting) }
    var unseen = waiting - Int(received)
    var found: FilePath?
    // All are closed at the end, whatever happens to one.
    defer {
      for number in numbers.prefix(Int(received)) { close(number) }
    }
    for number in numbers.prefix(Int(received)) {
      if let status = try own.status(behind: "\(number)"), test(status, "\(number)", own) {
        found = found ?? shownPath(of: "\(number)", own)
      } else if case let inner = try count("/proc/\(getpid())/fdinfo/\(number)"), inner > 0 {
        // A socket that was sent can have been sent something itself.
        switch depth > 0 ? try look(at: number, inner, depth: depth - 1, where: test) : nil {
        case .sentFile(let path): found = found ?? path
        case nil where depth > 0: continue
        default: unseen += inner
        }
      }
    }
    return found.map { .sentFile($0) } ?? (unseen > 0 ? .sentUnseen(unseen) : nil)
  }

  /// How many wait at a socket.
  private static func count(_ path: FilePath) throws(SystemError) -> Int {
    let label = "scm_fds:".utf8
    let lines = try kernelFile(path).split(separator: UInt8(ascii: "\n"))
    guard let line = lines.first(where: { $0.starts(with: label) }) else { return 0 }
    return line.dropFirst(label.count).words.first?.number() ?? 0
  }
}
