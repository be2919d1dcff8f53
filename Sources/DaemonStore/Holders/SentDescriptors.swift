import CLinux
import Glibc
import Kernel

/// Descriptors that were sent over a UNIX socket and have not been received. They are open in no
/// process; the kernel tells their number (`scm_fds` in proc_pid_fdinfo(5), Linux 5.6), and gives
/// copies of those in the first message to whoever looks at it.
enum SentDescriptors {
  private static let depth = 4

  /// The time that is spent on waiting for messages to be received, at all sockets together: else
  /// whoever has many sockets keeps everybody waiting.
  final class Patience {
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
  /// - Parameter patience: to look again if need be: most messages are received at once. nil where
  ///   what is unseen does not count.
  static func held(
    at name: String, of process: pid_t, _ task: borrowing Directory, patience: Patience?,
    where test: HolderSearch.Test
  ) -> Holder.Hold? {
    guard let number = CInt(name) else { return nil }
    for round in 1... {
      let waiting = count(task.path(of: "fdinfo/\(number)"))
      guard waiting > 0 else { return nil }
      let copy = linux_get_descriptor(process, number)
      // Not the socket that was counted, when the table of this thread is its own.
      let socket = Descriptor(owning: copy)
      guard copy >= 0, isSame(socket, task, number) else { return .sentUnseen(waiting) }
      let found = look(at: socket, waiting, depth: depth, where: test)
      guard case .sentUnseen = found, round < 5, patience?.lasts() == true else { return found }
    }
    return nil
  }

  private static func isSame(
    _ socket: borrowing Descriptor, _ task: borrowing Directory, _ number: CInt
  ) -> Bool {
    let identity = (try? socket.status())?.identity
    return identity != nil && identity == task.status(behind: "fd/\(number)")?.identity
  }

  private static func look(
    at socket: borrowing Descriptor, _ waiting: Int, depth: Int, where test: HolderSearch.Test
  ) -> Holder.Hold? {
    var numbers = [CInt](repeating: -1, count: 253)  // SCM_MAX_FD
    guard let own = try? Directory(opening: "/proc/\(getpid())/fd") else {
      return .sentUnseen(waiting)
    }
    let received = linux_peek_descriptors(socket.number, &numbers, CInt(numbers.count))
    // One that listens has its messages at connections that nobody has accepted; one with an offset
    // for peeking is left alone.
    guard received >= 0 else { return .sentUnseen(waiting) }
    var unseen = waiting - Int(received)
    var held: String?
    for number in numbers.prefix(Int(received)) {
      let file = Descriptor(owning: number)
      if let status = own.status(behind: "\(number)"), test(status, "\(number)", own) {
        held = held ?? shownTarget(of: "\(number)", in: own)
      } else if case let inner = count("/proc/\(getpid())/fdinfo/\(number)"), inner > 0 {
        // A socket that was sent can have been sent something itself.
        switch depth > 0 ? look(at: file, inner, depth: depth - 1, where: test) : nil {
        case .sentFile(let path): held = held ?? path
        case nil where depth > 0: continue
        default: unseen += inner
        }
      }
    }
    return held.map { .sentFile($0) } ?? (unseen > 0 ? .sentUnseen(unseen) : nil)
  }

  /// How many wait at a socket.
  private static func count(_ path: String) -> Int {
    guard let text = try? kernelFile(path) else { return 0 }
    return text.field("scm_fds")?.number() ?? 0
  }
}
