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

  /// What waits at a socket.
  struct Finding {
    let hold: Holder.Hold
    /// Whether the socket itself could not be copied: then it counts, whichever user has it.
    let isHidden: Bool
  }

  /// Whether a descriptor is that of a UNIX socket: the kernel says of those alone how many wait.
  static func isUnixSocket(
    _ name: FilePath, _ task: borrowing Directory, _ unknowns: Unknowns
  ) -> Bool {
    do throws(SystemError) {
      return try count(task.path(of: "fdinfo/\(name)")) != nil
    } catch {
      unknowns.add(error, about: task.path)
      return false
    }
  }

  /// What waits at a socket of a thread that is one of the files, or may be.
  ///
  /// - Parameter waits: to look again if need be: most messages are received at once. nil where
  ///   what is unseen does not count.
  static func find(
    at name: FilePath, of owner: HolderSearch.Task, _ task: borrowing Directory, waits: Waits?,
    _ unknowns: Unknowns, where test: HolderSearch.Test
  ) -> Finding? {
    guard let number: CInt = name.bytes.number() else { return nil }
    do throws(SystemError) {
      for round in 1... {
        guard Inspection.goesOn() else { return nil }
        let waiting = try count(task.path(of: "fdinfo/\(number)")) ?? 0
        guard waiting > 0 else { return nil }
        let copy = linux_get_descriptor(owner.process, owner.thread, number)
        let code = errno
        if copy < 0, !isAway(code) {
          note(code, owner.process, unknowns)
          return nil
        }
        // Before Linux 6.9 this is of the table of the first thread, which may have ended.
        guard copy >= 0, case let socket = Descriptor(owning: copy),
          try isSame(socket, task, number)
        else {
          if round < 5 { continue }
          return Finding(hold: .sentUnseen(waiting), isHidden: true)
        }
        let found = try look(at: socket.number, waiting, depth: depth, where: test)
        guard case .sentUnseen = found, round < 5, waits?.lasts() == true else {
          return found.map { Finding(hold: $0, isHidden: false) }
        }
      }
    } catch {
      unknowns.add(error, about: task.path)
    }
    return nil
  }

  /// Whether an error of pidfd_getfd(2) says that there is no such descriptor, or no thread that has
  /// one, any more.
  private static func isAway(_ code: CInt) -> Bool { code == EBADF || code == ESRCH }

  /// Notes why a descriptor of a process, which is there, could not be copied.
  static func note(_ code: CInt, _ process: pid_t, _ unknowns: Unknowns) {
    unknowns.add(
      SystemError(operation: "pidfd_getfd", path: "/proc/\(process)", code: code),
      about: isAway(code) ? "/" : "/proc/\(process)")
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
    // All are closed at the end, whatever happens to one. Where each takes its time, as on FUSE, the rest is
    // left to the end of this process, which no other one waits for.
    defer {
      for number in numbers.prefix(Int(received)) where number >= 0 && Inspection.goesOn() {
        close(number)
      }
    }
    for (index, number) in numbers.prefix(Int(received)).enumerated() {
      guard Inspection.goesOn() else { break }
      if let status = try own.status(behind: "\(number)"), test(status, "\(number)", own) {
        found = found ?? shownPath(of: "\(number)", own)
        // It keeps no file of a vault open while it closes others.
        close(number)
        numbers[index] = -1
      } else if case let inner = try count("/proc/\(getpid())/fdinfo/\(number)") ?? 0, inner > 0 {
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

  /// How many wait at a socket; nil for what is no UNIX socket.
  private static func count(_ path: FilePath) throws(SystemError) -> Int? {
    let label = "scm_fds:".utf8
    let lines = try kernelFile(path).split(separator: UInt8(ascii: "\n"))
    guard let line = lines.first(where: { $0.starts(with: label) }) else { return nil }
    return line.dropFirst(label.count).words.first?.number() ?? 0
  }
}
